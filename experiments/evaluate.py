"""Evaluates a run's checkpoint: by the run's own evaluators, or as a language model on text.

python -m experiments.evaluate --workdir=runs/demo
python -m experiments.evaluate --workdir=runs/sft          # held-out conversations, and text beside
python -m experiments.evaluate --workdir=runs/demo --corpus=text:test.txt   # the whole of it
python -m experiments.evaluate --workdir=runs/demo --split=train
python -m experiments.evaluate --workdir=runs/demo --stride=32
python -m experiments.evaluate --workdir=runs/demo --dtype=bfloat16   # what 16 bits cost

It prints one JSON line a split. Without --corpus, --split and --stride the figures are those that
training wrote at its evaluations, over the whole validation sets unless --batches says how much.
`bits_per_byte` counts the bytes that `bytes_of` names: those of the documents, or, where the
tokenizer loses some of the text, those of the text that the tokens decode to.
"""

import json
from collections.abc import Sequence

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.config import ParallelismConfig
from gptjax.runs.caches import enable_compilation_cache

_WORKDIR = define_path("workdir", None, "Work directory of the run. It must be given.")
_STEP = flags.DEFINE_integer(
    "restore_step", None, "Checkpoint to read. By default the run chooses."
)
_CORPUS = define_path(
    "corpus",
    None,
    "Text to evaluate on, such as text:PATH, all of it. By default it is the run's data.corpus, of "
    "which the validation split is taken.",
)
_SPLIT = flags.DEFINE_enum(
    "split",
    None,
    ["validation", "train"],
    "Part of the text to evaluate on, as data.validation_fraction divides its documents.",
)
_BATCHES = flags.DEFINE_integer(
    "batches", None, "Number of batches to evaluate on. By default all are taken.", lower_bound=1
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    None,
    ["float32", "bfloat16"],
    "Number format of the computation. By default it is the run's own.",
)
_STRIDE = flags.DEFINE_integer(
    "stride",
    None,
    "Number of tokens from the start of one window of the text to the next. Each window scores "
    "only the tokens that earlier windows have not scored. A smaller stride gives each token "
    "more context and takes longer. By default windows do not overlap.",
)


def main(argv: Sequence[str]) -> None:
    """Prints the figures, a JSON line a split."""
    from gptjax.runs.evaluations import evaluated_as_trained, evaluated_on_text
    from gptjax.runs.workdir import WorkDirectory

    del argv
    enable_compilation_cache()
    workdir = WorkDirectory(_WORKDIR.value)
    config, step = workdir.config(), workdir.resolve_step(_STEP.value)
    config.training.eval_batches = _BATCHES.value
    config.model.dtype = _DTYPE.value or config.model.dtype
    config.parallelism = ParallelismConfig()
    on_text = (_CORPUS.value, _SPLIT.value, _STRIDE.value) != (None, None, None)
    if on_text:
        text = (_CORPUS.value, _SPLIT.value, _STRIDE.value)
        rows = evaluated_on_text(workdir, config, step, *text)
    else:
        rows = evaluated_as_trained(workdir, config, step)
    for row in rows:
        dtype = {} if _DTYPE.value is None else {"dtype": _DTYPE.value}
        print(json.dumps({"step": step, **dtype, **row}))


if __name__ == "__main__":
    run(main)
