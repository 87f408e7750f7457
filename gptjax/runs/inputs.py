"""Inputs of a run: its tokenizer, its tokenised corpus, and its sets of examples.

prepared = prepare_corpus(config, load_model_tokenizer(config))
"""

import itertools
from collections.abc import Callable, Iterator

import jax

from gptjax.batch_schedule import BatchShare
from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.loader import (
    ALL,
    evaluation_batches,
    evaluation_rows,
    train_batches,
)
from gptjax.data.batches.mixture import Rows
from gptjax.data.batches.shards import HostBatch, PreparedCorpus, TokenizedSplit, prepare
from gptjax.data.batches.skipping import Ranges
from gptjax.data.corpora.text import load_corpus
from gptjax.data.dialogue.chat_format import ChatTemplate, Conversation
from gptjax.data.dialogue.held_out import hold_out
from gptjax.data.dialogue.records import Item, Records
from gptjax.runs.caches import cache_directory
from gptjax.tokenization import Tokenizer, load_tokenizer
from gptjax.training.processes import check_alike, on_first, together


def load_model_tokenizer(config: ExperimentConfig) -> Tokenizer:
    """The tokenizer `config.data.tokenizer`, which must be the one the model was made for.

    Raises:
      ValueError: none is given, it cannot be read, or its vocabulary is not the model's.
    """
    if config.data.tokenizer is None:
        raise ValueError(
            "config.data.tokenizer: got none, expected bytes, gpt2:DIR (with the encoder.json and "
            "vocab.bpe that OpenAI published), gpt1:DIR, sentencepiece:FILE, or a directory made "
            "by `python -m experiments.train_tokenizer`"
        )
    tokenizer = load_tokenizer(config.data.tokenizer)
    if tokenizer.vocab_size != config.model.vocab_size:
        raise ValueError(
            f"config.model.vocab_size: got {config.model.vocab_size}, expected "
            f"{tokenizer.vocab_size}, the vocabulary of the tokenizer {config.data.tokenizer!r}"
        )
    return tokenizer


def load_chat_template(config: ExperimentConfig) -> ChatTemplate:
    """The template of conversations in the tokenizer `config.data.tokenizer`, of the kind `chat`.

    Raises:
      ValueError: as `load_model_tokenizer`, or it is of another kind.
    """
    tokenizer = load_model_tokenizer(config)
    try:
        return ChatTemplate(tokenizer)
    except ValueError as error:
        raise ValueError(f"config.data.{error}") from error


def learned_and_held_out(
    load: Callable[[str], Records[Item]],
    learned: str,
    validation: str | None,
    conversation_of: Callable[[Item], Conversation],
    fraction: float,
) -> tuple[Records[Item], Records[Item]]:
    """The set to learn from, and one to judge by.

    Args:
      load: reads a set.
      learned: the specification of what is learned from.
      validation: that of what is held out; None: a fraction of the other, by `hold_out`.
      conversation_of: what an item begins with.
      fraction: share that is held out.

    Raises:
      ValueError: there is no such set, or nothing in one.
    """
    records = load(learned)
    if validation is not None:
        return records, load(validation)
    return hold_out(records, conversation_of, fraction)


def prepare_corpus(config: ExperimentConfig, tokenizer: Tokenizer) -> PreparedCorpus:
    """Both splits of the corpus `config.data.corpus`, tokenised.

    Raises:
      ValueError: the corpus is not given, missing, empty, unreadable, or too short.
    """
    if config.data.corpus is None:
        raise ValueError(
            "config.data.corpus: got none, expected text:PATH or jsonl:PATH#field with the "
            "documents to train on, or python_docs or python_source to try things out"
        )
    corpus = load_corpus(config.data.corpus, invalid_utf8=config.data.invalid_utf8)

    def make() -> PreparedCorpus:
        return prepare(
            corpus, tokenizer, cache_directory() / "tokens", config.data.validation_fraction
        )

    if jax.process_count() > 1:
        on_first(lambda: make().corpus_hash)  # where they share a cache, the others find it there
    prepared = together(make)
    check_alike(prepared.hashes)
    prepared.train.full_windows(config.model.context_length)
    return prepared


def training_batches(
    config: ExperimentConfig,
    split: TokenizedSplit,
    start_step: int,
    skipped: Ranges = (),
    share: BatchShare = ALL,
) -> Iterator[HostBatch]:
    """Yields a share of the rows of the batch of `start_step` and of every later step.

    Args:
      config: resolved.
      split: what to train on.
      start_step: steps taken before.
      skipped: ranges of examples that the run leaves out.
      share: which parts of each batch, and of how many.
    """
    return train_batches(
        split,
        batch_schedule(config),
        config.training.seed,
        start_step,
        share=share,
        document_masking=config.data.document_masking,
        skipped=skipped,
    )


def validation_batches(
    config: ExperimentConfig, split: TokenizedSplit, share: BatchShare = ALL
) -> Callable[[], Iterator[HostBatch]]:
    """Makes, at each call, the batches of `split` anew: `training.eval_batches` of them, or all.

    Of the rows of each it makes a `share`: which parts, and of how many.
    """

    def batches() -> Iterator[HostBatch]:
        whole = evaluation_batches(
            split,
            config.model.context_length,
            config.training.batch_size,
            share=share,
            document_masking=config.data.document_masking,
        )
        return itertools.islice(whole, config.training.eval_batches)

    return batches


def row_batches(
    config: ExperimentConfig, rows: Rows, share: BatchShare = ALL
) -> Callable[[], Iterator[HostBatch]]:
    """Makes, at each call, the batches of `rows` anew, as `validation_batches` those of a split."""

    def batches() -> Iterator[HostBatch]:
        whole = evaluation_rows(rows, config.training.batch_size, share=share)
        return itertools.islice(whole, config.training.eval_batches)

    return batches
