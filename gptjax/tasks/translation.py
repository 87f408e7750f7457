"""Translation: an encoder and a decoder learn pairs of sentences.

ended = train("transformer_smoke", config, WorkDirectory("runs/transformer"))
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax

from gptjax.attention.algebra import Pattern
from gptjax.batch_schedule import BatchShare
from gptjax.config import batch_schedule
from gptjax.data.batches.loader import ALL, bucket_batches, evaluation_buckets
from gptjax.data.batches.pair_rows import (
    BucketOrder,
    TokenizedPairs,
    bucket_lengths,
    bucketed,
    tokenized,
)
from gptjax.data.batches.skipping import Ranges
from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.corpora.pairs import Pair, load_pairs
from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.records import Records
from gptjax.judging import bleu
from gptjax.models.costs import (
    encoder_decoder_flops_per_token,
    encoder_decoder_matmul_parameters,
    encoder_decoder_parameter_count,
)
from gptjax.models.encoder_decoder import EncoderDecoder, cross_cycle
from gptjax.models.transformer import attention_cycle, looks_ahead
from gptjax.runs import inputs
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import Costs, Shapes, array
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task
from gptjax.settings import Check
from gptjax.tasks.configs.translation import TranslationConfig
from gptjax.tasks.translated import Translations
from gptjax.tokenization import Tokenizer
from gptjax.training.evaluation import Evaluator, loss_evaluator
from gptjax.training.label_smoothing import translation
from gptjax.training.losses import Loss
from gptjax.training.partitioning import batch_share
from gptjax.training.processes import together


class Translation(Supervised[TranslationConfig]):
    r"""Translation: the Transformer, encoder and decoder, learns pairs of sentences.

    python -m experiments.train --experiment=transformer_smoke --workdir=runs/transformer
    python -m experiments.train --experiment=transformer_base --workdir=runs/base \
        --config.translation.pairs=files:train.en,train.de --config.data.tokenizer=runs/bpe
    echo "one hundred two" | python -m experiments.translate --workdir=runs/transformer

    A batch has pairs of about one length, and as many of them as have `training.batch_size` times
    `model.context_length` tokens a side, padding included. So the usual sentence should be several
    times shorter than the context. `loss` is smoothed, with its least value subtracted; `nats` and
    `perplexity` are without smoothing, by word piece.
    """

    config = TranslationConfig
    identity = (
        *("model.encoder_", "model.cross_attention", "translation.pairs", "translation.validation"),
        *("translation.past_context", "translation.buckets", "translation.label_smoothing"),
    )
    free = (
        *("translation.average", "translation.num_beams", "translation.length_penalty"),
        *("translation.more_tokens", "translation.scored_pairs", "translation.bleu_tokenizer"),
    )
    contents = (
        Content("translation.pairs", "pairs_hash"),
        Content("translation.validation", "validation_hash"),
    )
    takes = makes = "translation model"
    judged_on = ("translation.past_context", "translation.buckets")
    loss_fields = ("translation.label_smoothing",)
    chunks_loss = False
    shows_examples = True
    curves = (
        ("loss", "loss (nats per word piece, smoothed)"),
        ("nats", "nats per word piece"),
    )

    def model(self, config: TranslationConfig, **attributes: Any) -> EncoderDecoder:
        return EncoderDecoder(config.model, **attributes)

    def inputs(self, config: TranslationConfig) -> tuple[jax.ShapeDtypeStruct, ...]:
        """A source and a target."""
        return array(1, 1), array(1, 1)

    def loss(self, config: TranslationConfig, model: EncoderDecoder) -> Loss:
        return translation(model, config.translation.label_smoothing)

    def costs(self, config: TranslationConfig) -> Costs:
        dense, executed = encoder_decoder_flops_per_token(config.model)
        adapters, more = self.adapter_parameters(config), 0.0
        if adapters is not None:
            more = 3.0 * adapters - encoder_decoder_matmul_parameters(config.model)
        parameters = encoder_decoder_parameter_count(config.model)
        return Costs(parameters, dense + more, executed + more)

    def largest_batch(self, config: TranslationConfig) -> Shapes:
        """A batch of sentences as long as the context; others have more rows, not more tokens."""
        rows, length = config.training.batch_size, config.model.context_length
        sides = {name: array(rows, length) for name in ("sources", "tokens", "targets")}
        weights = {"loss_weights": array(rows, length, dtype=jax.numpy.float32)}
        return sides | weights | {"lengths": array(rows), "words": array(rows)}

    def rows(self, batch: Mapping[str, Any]) -> int:
        return len(batch["tokens"])

    def attention_calls(self, config: TranslationConfig) -> Sequence[Mapping[str, Any]]:
        """Those of the decoder to itself."""
        length = config.model.context_length
        return [{"num_queries": length, "num_keys": length}]

    def tokens(self, batch: Mapping[str, Any]) -> int:
        """Tokens of both sides."""
        return sum(math.prod(batch[name].shape) for name in ("sources", "tokens"))

    def checks(self, config: TranslationConfig) -> Iterable[Check]:
        yield from super().checks(config)
        model = config.model
        yield (
            "model.attention",
            not looks_ahead(model),
            "attention in which no token of a target sees a later one",
        )
        for field, cycle, layers in (
            ("encoder_attention", attention_cycle(model.encoder()), model.encoder_layers),
            ("cross_attention", cross_cycle(model), model.num_layers),
        ):
            yield f"model.{field}", *_fits(cycle, layers or 0, model.num_heads)
        yield (
            "translation.average",
            config.translation.average <= config.checkpoint.keep,
            f"at most {config.checkpoint.keep}, the checkpoints that checkpoint.keep keeps",
        )
        yield "parallelism.sequence", config.parallelism.sequence == 1, "1 for translation"
        for field in ("statistics_every", "batch_ramp_start"):
            given = getattr(config.training, field)
            yield f"training.{field}", given is None, "none for translation"

    def averaged(self, config: TranslationConfig) -> int:
        return config.translation.average

    def prepare(self, config: TranslationConfig) -> Task:
        """Reads the pairs; see `Kind.prepare`."""
        section, length = config.translation, config.model.context_length
        if section.scored_pairs:
            bleu.check_available()
        tokenizer = inputs.load_model_tokenizer(config)
        records, held_out = together(lambda: _read_pairs(config))
        cut = section.past_context == "cut"
        pairs, validation = together(
            lambda: tuple(
                tokenized(each, tokenizer, length, cut=cut) for each in (records, held_out)
            )
        )
        hashes = inputs.content_hashes(
            tokenizer_hash=tokenizer, pairs_hash=records, validation_hash=held_out
        )
        lengths = bucket_lengths(pairs.lengths, length, section.buckets)
        schedule = batch_schedule(config)
        order = BucketOrder(
            bucketed(pairs, lengths, length), schedule.batch_size, config.training.seed
        )
        judged = bucketed(validation, tuple(sorted({*lengths, length})), length)

        def batches(step: int, skipped: Ranges, share: BatchShare) -> Iterator[HostBatch]:
            return bucket_batches(order, schedule, step, share=share, skipped=skipped)

        def evaluators(program: Program) -> dict[str, Evaluator]:
            share, limit = batch_share(program.mesh), config.training.eval_batches
            means = loss_evaluator(
                program.loss,
                lambda: evaluation_buckets(judged, schedule.batch_size, limit, share=share),
                program.mesh,
            )
            scored = [held_out[int(i)] for i in validation.kept[: section.scored_pairs]]

            def evaluate(params: Any) -> dict[str, Any]:
                figures = means(params)
                nats, words = figures["nats"], figures.pop("words")
                figures["perplexity"] = _exp(nats)
                figures["perplexity_per_word"] = _exp(nats / words)
                if not scored:
                    return figures
                translate = Translations(self.model(config), params, tokenizer, section)
                return figures | translate.scored(scored)[1]

            return {"validation": evaluate}

        def final_metrics(*_: Any) -> dict[str, Any]:
            return {
                "epochs": config.training.num_steps / len(order),
                "padding": order.padding,
                "lengths": lengths,
                "past_context": {
                    "train": pairs.past_context,
                    "validation": validation.past_context,
                },
                "dropped": dict(records.dropped),
            }

        def examples(_: bool) -> Iterator[str]:
            for batch in batches(0, (), ALL):
                for source, target in zip(batch["sources"], batch["targets"], strict=True):
                    yield "\n".join(tokenizer.decode(side) for side in (source, target))

        return Task(
            config=config,
            data=_amount(pairs, validation, order, lengths),
            tokenizer=tokenizer,
            hashes=hashes,
            batches=batches,
            evaluators=evaluators,
            final_metrics=final_metrics,
            tokens_a_row=2 * length,
            examples=examples,
        )


def _fits(cycle: Sequence[Pattern], layers: int, heads: int) -> tuple[bool, str]:
    """Whether there are as many layers and heads as patterns, and what would fit."""
    fits = len(cycle) <= layers and max(len(each.per_head()) for each in cycle) <= heads
    return fits, f"at most {layers} patterns, as many as layers, of at most {heads} heads"


def _read_pairs(config: TranslationConfig) -> tuple[Records[Pair], Records[Pair]]:
    """The pairs to learn from, and the held-out ones: all targets of a source are on one side."""
    if config.translation.pairs is None:
        raise ValueError(
            "config.translation.pairs: got none, expected files:SOURCE,TARGET with a sentence a "
            "line, tsv:PATH, jsonl:PATH, or numbers to try it out"
        )
    return inputs.learned_and_held_out(
        load_pairs,
        config.translation.pairs,
        config.translation.validation,
        lambda pair: (Message("user", pair.source),),
        config.data.validation_fraction,
    )


def held_out_pairs(config: TranslationConfig, tokenizer: Tokenizer) -> list[Pair]:
    """The held-out pairs of a run that are evaluated, as they are now; ValueError as `prepare`."""
    _, held_out = _read_pairs(config)
    cut = config.translation.past_context == "cut"
    kept = tokenized(held_out, tokenizer, config.model.context_length, cut=cut).kept
    return [held_out[int(i)] for i in kept]


def _amount(
    pairs: TokenizedPairs, validation: TokenizedPairs, order: BucketOrder, lengths: Sequence[int]
) -> str:
    tokens = len(pairs.sources.tokens) + len(pairs.targets.tokens)
    past = pairs.past_context + validation.past_context
    return (
        f"{len(pairs):,} pairs, {tokens:,} tokens; held out: {len(validation):,}; past the "
        f"context: {past:,}; an epoch: {len(order):,} batches of {', '.join(map(str, lengths))} "
        f"tokens, {order.padding:.0%} padding"
    )


def _exp(nats: float) -> float:
    return math.inf if nats > 700 else math.exp(nats)


KIND = Translation()
