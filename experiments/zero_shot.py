r"""Figures of a task that a language model was never trained on, at its checkpoints.

    python -m experiments.zero_shot --workdir=runs/lm --experiment=gpt1_sst2 \
        --config.task.train=tsv:train.tsv --config.task.validation=tsv:dev.tsv \
        --config.task.text=1 --config.task.label=2 --words=negative,positive
    python -m experiments.zero_shot --workdir=runs/lm --experiment=gpt1_choice \
        --config.task.train=jsonl:train.jsonl --config.task.validation=jsonl:valid.jsonl

The experiment and its flags say what the examples are, as for fine-tuning. GPT-1's heuristics
(section 5) are chosen by them: candidates are compared by the mean log-probability of their tokens;
with --words a word for each label is, behind the text and --suffix; else the text's own mean
log-probability is above a threshold, which is learned from `task.train`, or not.

Each checkpoint gives a line of JSON: its step, and metrics of the held-out examples with their 95%
intervals. Keep more of them with `--config.checkpoint.keep` when the model is trained.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.examples import Example
from gptjax.runs.caches import enable_compilation_cache
from gptjax.tasks.classification.config import LabelledConfig
from gptjax.tokenization import Tokenizer

if TYPE_CHECKING:
    from gptjax.tasks.classification import zero_shot

FLAGS = flags.FLAGS
_WORKDIR = define_path("workdir", None, "Work directory of a language model. It must be given.")
_WORDS = flags.DEFINE_list("words", [], "A word for each label, in the order of task.labels.")
_SUFFIX = flags.DEFINE_string("suffix", " very", "What stands between a text and a word.")


def main(argv: Sequence[str]) -> None:
    """Prints a line for each checkpoint."""
    from gptjax.inference.scoring import Scorer
    from gptjax.runs.kind import kind_of
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.tasks.classification import zero_shot
    from gptjax.tasks.classification.labelled import LabelledTask, labelled_examples

    del argv
    enable_compilation_cache()
    workdir, config = WorkDirectory(_WORKDIR.value), FLAGS.config
    model, tokenizer = workdir.model(), workdir.tokenizer()
    kind = kind_of(config)
    if not isinstance(kind, LabelledTask):
        raise ValueError(
            f"--experiment: got one of kind {kind.name}, expected one with labelled examples, such "
            "as gpt1_sst2"
        )
    names = _labels(config)
    learned, held_out = labelled_examples(config)
    predict = _heuristic(config, tokenizer, model.config.context_length, learned)
    with workdir.checkpoints() as checkpoints:
        steps = checkpoints.steps()
    for step in steps:
        scorer = Scorer(model, workdir.params(step), batch_size=config.training.batch_size)
        figures = zero_shot.zero_shot(predict, scorer, held_out, len(names))
        print(json.dumps({"step": step, **figures}), flush=True)


def _labels(config: LabelledConfig) -> Sequence[str]:
    names = config.task.names
    if names is None or config.task.form not in ("classification", "choice"):
        raise ValueError(
            f"config.task.form: got {config.task.form} with labels {config.task.labels}, expected "
            "classification or choice with labels that are names"
        )
    if _WORDS.value and (config.task.form == "choice" or len(_WORDS.value) != len(names)):
        raise ValueError(
            f"--words: got {','.join(_WORDS.value)}, expected one for each of the labels "
            f"{config.task.labels}, and none with task.form=choice"
        )
    if config.task.form == "classification" and not _WORDS.value and len(names) != 2:
        raise ValueError(f"--words: got none with labels {config.task.labels}, expected as many")
    return names


def _heuristic(
    config: LabelledConfig, tokenizer: Tokenizer, length: int, learned: Records[Example]
) -> "zero_shot.Predict":
    from gptjax.tasks.classification import zero_shot

    if config.task.form == "choice":
        return zero_shot.by_candidates(tokenizer, length)
    if _WORDS.value:
        return zero_shot.by_words(tokenizer, length, _WORDS.value, _SUFFIX.value)
    return zero_shot.by_threshold(tokenizer, length, config.task.metric, learned)


if __name__ == "__main__":
    run(main, with_experiment=True)
