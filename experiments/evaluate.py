"""Evaluates a run's checkpoint: by the run's own evaluators, or as a language model on text.

python -m experiments.evaluate --workdir=runs/demo
python -m experiments.evaluate --workdir=runs/sft          # held-out conversations, and text beside
python -m experiments.evaluate --workdir=runs/demo --corpus=python_source --split=validation
python -m experiments.evaluate --workdir=runs/demo --stride=32
python -m experiments.evaluate --workdir=runs/demo --dtype=bfloat16   # what 16 bits cost

It prints one JSON line a split. Without --corpus, --split and --stride the figures are those that
training wrote at its evaluations, over the whole validation sets unless --batches says how much.
"""

import json
from collections.abc import Sequence

from absl import flags

from experiments.flags.command_line import run
from gptjax.config import ParallelismConfig
from gptjax.runs.caches import enable_compilation_cache
from gptjax.runs.evaluations import evaluated_as_trained, evaluated_on_text
from gptjax.runs.workdir import WorkDirectory

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_STEP = flags.DEFINE_integer("restore_step", None, "The checkpoint; by default the run's choice.")
_CORPUS = flags.DEFINE_string("corpus", None, "Text to evaluate on; data.corpus by default.")
_SPLIT = flags.DEFINE_enum("split", None, ["validation", "train"], "Which documents of the text.")
_BATCHES = flags.DEFINE_integer("batches", None, "How many; all by default.", lower_bound=1)
_DTYPE = flags.DEFINE_enum(
    "dtype", None, ["float32", "bfloat16"], "Of the computation; the run's own by default."
)
_STRIDE = flags.DEFINE_integer(
    "stride",
    None,
    "Windows of the context length start every so many tokens of the text, and each scores those "
    "that the ones before have not: the smaller, the more each token has before it, and the longer "
    "it takes. By default they do not overlap.",
)


def main(argv: Sequence[str]) -> None:
    """Prints the figures, a JSON line a split."""
    del argv
    enable_compilation_cache()
    workdir = WorkDirectory(_WORKDIR.value)
    config, step = workdir.config(), workdir.resolve_step(_STEP.value)
    config.training.eval_batches = _BATCHES.value
    config.model.dtype = _DTYPE.value or config.model.dtype
    config.parallelism = ParallelismConfig()
    on_text = (_CORPUS.value, _SPLIT.value, _STRIDE.value) != (None, None, None)
    if on_text:
        text = (_CORPUS.value, _SPLIT.value or "validation", _STRIDE.value)
        rows = evaluated_on_text(workdir, config, step, *text)
    else:
        rows = evaluated_as_trained(workdir, config, step)
    for row in rows:
        dtype = {} if _DTYPE.value is None else {"dtype": _DTYPE.value}
        print(json.dumps({"step": step, **dtype, **row}))


if __name__ == "__main__":
    run(main)
