"""Figures of a run's checkpoint: by the run's own evaluators, or on text.

for row in evaluated_as_trained(workdir, workdir.config(), step=100):
    print(row["split"], row["loss"])
"""

import math
from collections.abc import Iterator
from typing import Any

from absl import logging

from gptjax.config import ExperimentConfig
from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.inference.scoring import Scorer
from gptjax.runs.inputs import tokenised, validation_batches
from gptjax.runs.kind import kind_of
from gptjax.runs.replay import changes_since, prepared_in
from gptjax.runs.workdir import WorkDirectory
from gptjax.training import losses, partitioning
from gptjax.training.evaluation import language_model_evaluator


def evaluated_as_trained(
    workdir: WorkDirectory, config: ExperimentConfig, step: int
) -> Iterator[dict[str, Any]]:
    """The figures of the run's own evaluators, each under the name of its split.

    If data has changed since the training, a warning says so.

    Args:
      workdir: of the run.
      config: the run's, but for what computes and how many batches are judged.
      step: of a checkpoint.

    Raises:
      ValueError: data of the evaluators cannot be read, or the run has no evaluators.
    """
    kind = kind_of(config)
    prepared = prepared_in(workdir, config)
    for change in changes_since(workdir, prepared.hashes):
        logging.warning("%s", change)
    learner = kind.learner(prepared, workdir)
    if not learner.evaluators:
        raise ValueError(
            f"{workdir.given_as}: got {workdir.path} of kind {kind.name}, which has no evaluators "
            "of its own, expected --corpus with text to evaluate on"
        )
    learner.on_start()
    params = workdir.restored(step)
    for split, evaluate in learner.evaluators.items():
        yield {"split": split, **evaluate(params)}


def evaluated_on_text(
    workdir: WorkDirectory,
    config: ExperimentConfig,
    step: int,
    corpus: str | None,
    split_name: str | None,
    stride: int | None,
) -> Iterator[dict[str, Any]]:
    """The figures of a language model on a split of a corpus.

    Args:
      workdir: of the run.
      config: the run's, but for what computes and how many batches are judged.
      step: of a checkpoint.
      corpus: as `data.corpus`; None: the run's own.
      split_name: "train" or "validation"; None: the whole `corpus`, or of the run's own the
        validation split.
      stride: tokens between the starts of windows; None: they do not overlap.

    Raises:
      ValueError: the run has no language model, or the text cannot be read.
    """
    model: Any = workdir.model().clone(config=config.model)
    config.data.corpus = corpus or config.data.corpus
    whole = corpus is not None and split_name is None
    fraction = 1.0 if whole else config.data.validation_fraction
    prepared = tokenised(config, workdir.tokenizer(), fraction)
    trained_on = workdir.record().get("corpus_hash")
    if corpus is None and prepared.corpus_hash != (trained_on or prepared.corpus_hash):
        logging.warning("%s has changed since the run was trained on it", config.data.corpus)
    if whole and prepared.corpus_hash == trained_on:
        logging.warning("the run was trained on %s; --split=validation was held out", corpus)
    split, params = getattr(prepared, split_name or "validation"), workdir.params(step)
    split.check_targets()
    row = {"corpus": config.data.corpus, "split": "all" if whole else split_name or "validation"}
    if stride is not None:
        yield row | _strided(Scorer(model, params), config, split, stride)
        return
    mesh = partitioning.make_mesh(config.parallelism)
    evaluate = language_model_evaluator(
        losses.language_model(model, config.training.loss_chunk),
        validation_batches(config, split),
        split.bytes_per_target,
        mesh,
        split.bytes_of,
    )
    yield row | partitioning.traced_on(mesh, evaluate)(params)


def _strided(
    scorer: Scorer, config: ExperimentConfig, split: TokenizedSplit, stride: int
) -> dict[str, Any]:
    """The figures of overlapping windows, over as many tokens as without overlap.

    Raises:
      ValueError: a stride out of range, or a run that hides documents from each other.
    """
    if config.data.document_masking:
        raise ValueError(
            f"--stride: got {stride} for a run of config.data.document_masking=True, expected a "
            "run with document_masking=False"
        )
    windows, end = config.training.eval_batches, None
    if windows is not None:
        end = windows * config.training.batch_size * config.model.context_length + 1
    loss = scorer.perplexity(split.tokens[:end], stride)
    return {
        "stride": stride,
        "loss": loss.per_token,
        "perplexity": loss.perplexity,
        "bits_per_byte": loss.per_token / (math.log(2) * split.bytes_per_target),
        "bytes_of": split.bytes_of,
    }
