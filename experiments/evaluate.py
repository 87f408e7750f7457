"""Evaluates a run's checkpoint: loss, perplexity and bits per byte.

python -m experiments.evaluate --workdir=runs/demo
python -m experiments.evaluate --workdir=runs/demo --corpus=python_source --split=validation
python -m experiments.evaluate --workdir=runs/demo --stride=32
python -m experiments.evaluate --workdir=runs/demo --dtype=bfloat16   # what 16 bits cost
"""

import json
import math
from collections.abc import Sequence

from absl import flags, logging

from experiments.binary import run
from experiments.sources import prepare_corpus, validation_batches
from experiments.workdir import WorkDirectory, enable_compilation_cache
from gptjax.config import ExperimentConfig, ParallelismConfig
from gptjax.data.shards import TokenizedSplit
from gptjax.inference.scoring import Scorer
from gptjax.models.gpt import GPT
from gptjax.training import losses, partitioning
from gptjax.training.evaluation import language_model_evaluator

_WORKDIR = flags.DEFINE_string("workdir", None, "The run.")
_STEP = flags.DEFINE_integer("restore_step", None, "The checkpoint; by default the newest.")
_CORPUS = flags.DEFINE_string("corpus", None, "What to evaluate on; the run's own by default.")
_SPLIT = flags.DEFINE_enum("split", "validation", ["validation", "train"], "Which documents.")
_BATCHES = flags.DEFINE_integer("batches", None, "How many; all by default.", lower_bound=1)
_DTYPE = flags.DEFINE_enum(
    "dtype", None, ["float32", "bfloat16"], "Of the computation; the run's own by default."
)
_STRIDE = flags.DEFINE_integer(
    "stride",
    None,
    "Windows of the context length start every so many tokens, and each scores those that the "
    "ones before have not: the smaller, the more each token has before it, and the longer it "
    "takes. By default they do not overlap.",
)


def main(argv: Sequence[str]) -> None:
    """Prints the figures as one JSON line."""
    del argv
    enable_compilation_cache()
    workdir = WorkDirectory(_WORKDIR.value)
    config = workdir.config()
    step = workdir.resolve_step(_STEP.value)
    config.data.corpus = _CORPUS.value or config.data.corpus
    config.training.eval_batches = _BATCHES.value
    config.model.dtype = _DTYPE.value or config.model.dtype
    prepared = prepare_corpus(config, workdir.tokenizer())
    if _CORPUS.value is None and prepared.corpus_hash != workdir.record().get("corpus_hash"):
        logging.warning("%s has changed since the run was trained on it", config.data.corpus)
    split = getattr(prepared, _SPLIT.value)
    row = {"step": step, "corpus": config.data.corpus, "split": _SPLIT.value}
    if _DTYPE.value is not None:
        row["dtype"] = _DTYPE.value
    if _STRIDE.value is not None:
        print(json.dumps(row | _strided(workdir, step, config, split, _STRIDE.value)))
        return
    evaluate = language_model_evaluator(
        losses.language_model(GPT(config.model), config.training.loss_chunk),
        validation_batches(config, split),
        split.bytes_per_target,
        partitioning.make_mesh(ParallelismConfig()),
    )
    print(json.dumps(row | evaluate(workdir.params(step))))


def _strided(
    workdir: WorkDirectory, step: int, config: ExperimentConfig, split: TokenizedSplit, stride: int
) -> dict[str, float]:
    """The figures of windows that overlap, over as many tokens as without.

    Raises:
      ValueError: a stride out of range, or documents that are to be kept apart.
    """
    if config.data.document_masking:
        raise ValueError(
            f"--stride: got {stride} for a run of config.data.document_masking=True, expected a "
            "run whose windows are read across documents"
        )
    windows, end = config.training.eval_batches, None
    if windows is not None:
        end = windows * config.training.batch_size * config.model.context_length + 1
    scorer = Scorer(GPT(config.model), workdir.params(step))
    loss = scorer.perplexity(split.tokens[:end], stride)
    return {
        "stride": stride,
        "loss": loss.per_token,
        "perplexity": loss.perplexity,
        "bits_per_byte": loss.per_token / (math.log(2) * split.bytes_per_target),
    }


if __name__ == "__main__":
    run(main)
