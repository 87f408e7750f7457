"""BERT's pretraining: masked tokens are predicted from both sides, and whether sentences follow.

python -m experiments.train --experiment=bert_smoke --workdir=runs/bert
python -m experiments.fill_mask --workdir=runs/bert --text="The [MASK] is returned."
"""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from gptjax.batch_schedule import BatchShare
from gptjax.config import batch_schedule
from gptjax.data.batches.loader import mixture_batches
from gptjax.data.batches.masked import MaskedEpochs, MaskedRows, Masking
from gptjax.data.batches.skipping import Ranges
from gptjax.data.batches.token_stream import HostBatch
from gptjax.models.bert import Bert
from gptjax.models.costs import (
    bert_executed_training_flops_per_token,
    bert_parameter_count,
    bert_training_flops_per_token,
)
from gptjax.runs import inputs
from gptjax.runs.planning.costs import Costs, Shapes, array
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task
from gptjax.settings import Check
from gptjax.tasks.configs.masked_lm import MaskedLMConfig
from gptjax.tasks.encoders import wordpiece_of
from gptjax.tokenization.sentences import SentenceTokenizer
from gptjax.tokenization.wordpiece import SEPARATOR
from gptjax.training.evaluation import Evaluator, loss_evaluator
from gptjax.training.losses import Loss, masked_language_model
from gptjax.training.partitioning import batch_share
from gptjax.training.processes import check_alike


class MaskedLanguageModelling(Supervised[MaskedLMConfig]):
    r"""BERT's pretraining: an encoder learns masked tokens, and whether two parts belong together.

    python -m experiments.train --experiment=bert_smoke --workdir=runs/bert
    python -m experiments.train --experiment=bert_smoke --workdir=runs/bert_without_pairs \
        --config.model.heads=masked_lm

    With model.heads=masked_lm there is no next-sentence prediction, and a row is one part. It may
    start from the parameters of another run of BERT's or of a BERT directory of Hugging Face's.
    Held-out text has the same masks at every evaluation. Later commands take its newest checkpoint.
    """

    config = MaskedLMConfig
    identity = ("masked_lm.", "model.")
    judged_on = ("masked_lm.", "model.heads")
    makes = takes = "masked language model"
    chunks_loss = False
    curves = (
        ("loss", "loss (nats)"),
        ("masked_lm_accuracy", "accuracy (share of masked tokens)"),
    )

    def model(self, config: MaskedLMConfig, **attributes: Any) -> Bert:
        return Bert(config.model, **attributes)

    def loss(self, config: MaskedLMConfig, model: Bert) -> Loss:
        return masked_language_model(model)

    def costs(self, config: MaskedLMConfig) -> Costs:
        model, row = config.model, (config.row_tokens, config.row_masked)
        return Costs(
            bert_parameter_count(model),
            bert_training_flops_per_token(model, *row),
            bert_executed_training_flops_per_token(model, *row),
        )

    def largest_batch(self, config: MaskedLMConfig) -> Shapes:
        rows, masked = config.training.batch_size, config.row_masked
        whole = ("tokens", "token_types", "segment_ids")
        batch = {name: array(rows, config.row_tokens) for name in whole} | {
            "masked_positions": array(rows, masked),
            "targets": array(rows, masked),
            "loss_weights": array(rows, masked, dtype="float32"),
        }
        return batch | ({"is_random": array(rows)} if _has_pairs(config) else {})

    def checks(self, config: MaskedLMConfig) -> Iterable[Check]:
        yield from super().checks(config)
        model, section, length = config.model, config.masked_lm, config.model.context_length
        trained = "pretraining or masked_lm, whose heads a run can train"
        yield "model.heads", model.heads != "encoder", trained
        yield "model.tied_embeddings", model.tied_embeddings, "True for the kind of run masked_lm"
        fits = length >= config.row_tokens
        yield "masked_lm.max_tokens", fits, f"at most context_length = {length}"
        fits = config.row_tokens >= 8
        yield "model.context_length", fits, "at least 8 for the kind of run masked_lm"
        fits = (section.max_masked or 0) <= config.row_tokens
        yield "masked_lm.max_masked", fits, f"at most the {config.row_tokens} tokens in a row"
        fits = section.mask_share + section.random_share <= 1
        yield "masked_lm.random_share", fits, f"at most 1 - mask_share = {1 - section.mask_share:g}"
        fits = config.parallelism.sequence == 1
        yield "parallelism.sequence", fits, "1 for the kind of run masked_lm"

    def prepare(self, config: MaskedLMConfig) -> Task:
        """Reads the corpus; see `Kind.prepare`."""
        tokenizer = wordpiece_of(config)
        ended = SentenceTokenizer(tokenizer, SEPARATOR, lines=config.masked_lm.sentences == "lines")
        prepared = inputs.prepare_corpus(config, ended)
        hashes = prepared.hashes | {"tokenizer_hash": tokenizer.content_hash()}
        check_alike(hashes)
        section = config.masked_lm
        make_rows = functools.partial(
            MaskedRows,
            tokenizer=tokenizer,
            masking=Masking(
                section.mask_rate,
                config.row_masked,
                section.mask_share,
                section.random_share,
                section.whole_words,
            ),
            max_tokens=config.row_tokens,
            pairs=_has_pairs(config),
            seed=config.training.seed,
            short=section.short_share,
        )
        train, held_out = make_rows(prepared.train), make_rows(prepared.validation)
        schedule = batch_schedule(config)

        def batches(step: int, skipped: Ranges, share: BatchShare) -> Iterator[HostBatch]:
            stream = MaskedEpochs(train)
            return mixture_batches(stream, schedule, step, share=share, skipped=skipped)

        def evaluators(program: Program) -> dict[str, Evaluator]:
            held = inputs.row_batches(config, held_out, batch_share(program.mesh))
            return {"validation": loss_evaluator(program.loss, held, program.mesh)}

        return Task(
            config=config,
            data=f"{len(train):,} rows in an epoch; held out: {len(held_out):,}",
            tokenizer=tokenizer,
            hashes=hashes,
            batches=batches,
            evaluators=evaluators,
            tokens_a_row=config.row_tokens,
        )


def _has_pairs(config: MaskedLMConfig) -> bool:
    return config.model.heads == "pretraining"


KIND = MaskedLanguageModelling()
