"""Evaluates a run's checkpoint: loss, perplexity and bits per byte.

python -m experiments.evaluate --workdir=runs/demo
python -m experiments.evaluate --workdir=runs/demo --corpus=python_source --split=validation
"""

import json
from collections.abc import Sequence

from absl import flags, logging

from experiments.binary import run
from experiments.sources import prepare_corpus, validation_batches
from experiments.workdir import WorkDirectory, enable_compilation_cache
from gptjax.config import ParallelismConfig
from gptjax.training import losses, partitioning
from gptjax.training.evaluation import language_model_evaluator

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_STEP = flags.DEFINE_integer("restore_step", None, "The checkpoint; by default the newest.")
_CORPUS = flags.DEFINE_string("corpus", None, "What to evaluate on; the run's own by default.")
_SPLIT = flags.DEFINE_enum("split", "validation", ["validation", "train"], "Which documents.")
_BATCHES = flags.DEFINE_integer("batches", None, "How many; all by default.", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    """Prints the figures as one JSON line."""
    del argv
    enable_compilation_cache()
    workdir = WorkDirectory(_WORKDIR.value)
    config = workdir.config()
    step = workdir.resolve_step(_STEP.value)
    config.data.corpus = _CORPUS.value or config.data.corpus
    config.training.eval_batches = _BATCHES.value
    prepared = prepare_corpus(config, workdir.tokenizer())
    if _CORPUS.value is None and prepared.corpus_hash != workdir.record().get("corpus_hash"):
        logging.warning("%s has changed since the run was trained on it", config.data.corpus)
    split = getattr(prepared, _SPLIT.value)
    evaluate = language_model_evaluator(
        losses.language_model(workdir.model(), config.training.loss_chunk),
        validation_batches(config, split),
        split.bytes_per_target,
        partitioning.make_mesh(ParallelismConfig()),
    )
    row = {"step": step, "corpus": config.data.corpus, "split": _SPLIT.value}
    print(json.dumps(row | evaluate(workdir.params(step))))


if __name__ == "__main__":
    run(main)
