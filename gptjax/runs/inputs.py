"""Inputs of a run: its tokenizer, its tokenised corpus, and its sets of examples.

prepared = prepare_corpus(config, load_model_tokenizer(config))
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import jax
import numpy as np

from gptjax.batch_schedule import BatchShare
from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.loader import (
    ALL,
    evaluation_batches,
    evaluation_rows,
    train_batches,
)
from gptjax.data.batches.mixture import Mixture, Rows
from gptjax.data.batches.shards import PreparedCorpus, opened_corpus, prepare
from gptjax.data.batches.skipping import Ranges
from gptjax.data.batches.token_stream import HostBatch, TokenizedSplit
from gptjax.data.corpora.text import load_corpus
from gptjax.data.dialogue.chat_format import ChatTemplate, Conversation, plain_text
from gptjax.data.dialogue.held_out import hold_out
from gptjax.data.dialogue.records import Item, Records
from gptjax.data.prepared.rows import mixture_of
from gptjax.inference.samples import SamplePrompt
from gptjax.inference.text import whole_text
from gptjax.interop.huggingface_directory import Pretrained
from gptjax.registry import with_home
from gptjax.runs.caches import cache_directory
from gptjax.tokenization import Tokenizer, load_tokenizer
from gptjax.tokenization.loading import MARKED
from gptjax.training.processes import check_alike, on_first, together

PROMPT_TOKENS = 8  # of held-out text, from which samples go on
PREPARED = "prepared:"  # a corpus that `experiments.prepare_data` made
MOST_PROMPTS = 16  # of held-out conversations; samples go on from the first that fits


def tokenizer_named(spec: str) -> Tokenizer:
    """As `load_tokenizer`; `huggingface:DIR` names the tokenizer of a Hugging Face directory."""
    before, _, inner = spec.rpartition("huggingface:")
    marks = before.removesuffix(":")
    if "huggingface:" not in spec or marks not in ("", *MARKED):
        return load_tokenizer(spec)
    tokenizer = Pretrained(Path(with_home(inner))).tokenizer()
    return MARKED[marks](tokenizer) if marks else tokenizer


def load_model_tokenizer(config: ExperimentConfig) -> Tokenizer:
    """The tokenizer `config.data.tokenizer`, which must be the one the model was made for.

    Raises:
      ValueError: none is given, it cannot be read, or its vocabulary is not the model's.
    """
    if config.data.tokenizer is None:
        raise ValueError(
            "config.data.tokenizer: got none, expected bytes, gpt2:DIR (with the encoder.json and "
            "vocab.bpe that OpenAI published), gpt1:DIR, sentencepiece:FILE, wordpiece:DIR, "
            "huggingface:DIR, or a directory made by `python -m experiments.train_tokenizer`"
        )
    tokenizer = tokenizer_named(config.data.tokenizer)
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


class Hashed(Protocol):
    """What a hash of its content tells from others."""

    def content_hash(self) -> str: ...


def content_hashes(**contents: Hashed) -> dict[str, str]:
    """Hashes by name, of what all processes must have read alike; ValueError where they differ."""
    hashes = {name: content.content_hash() for name, content in contents.items()}
    check_alike(hashes)
    return hashes


def learned_and_held_out(
    load: Callable[[str], Records[Item]],
    learned: str,
    validation: str | None,
    conversation_of: Callable[[Item], Conversation],
    fraction: float,
) -> tuple[Records[Item], Records[Item]]:
    """Loads the set to learn from and the held-out set.

    Args:
      load: reads a set.
      learned: specification of the set to learn from.
      validation: specification of the held-out set; None: `hold_out` takes a fraction of the other.
      conversation_of: gives the conversation that an item begins with.
      fraction: share that is held out.

    Raises:
      ValueError: a set cannot be read or is empty.
    """
    records = load(learned)
    if validation is not None:
        return records, load(validation)
    return hold_out(records, conversation_of, fraction)


def prepare_corpus(config: ExperimentConfig, tokenizer: Tokenizer) -> PreparedCorpus:
    """Both splits of the corpus `config.data.corpus`, tokenised, to train on.

    Raises:
      ValueError: as `tokenised`, or the training split is shorter than a window.
    """
    prepared = tokenised(config, tokenizer, config.data.validation_fraction)
    prepared.train.full_windows(config.model.context_length)
    return prepared


def tokenised(
    config: ExperimentConfig, tokenizer: Tokenizer, validation_fraction: float
) -> PreparedCorpus:
    """Both splits of the corpus `config.data.corpus`, tokenised, however short.

    Args:
      config: names the corpus.
      tokenizer: of the model.
      validation_fraction: share of the documents that is held out; 1: all, for judging.

    Raises:
      ValueError: the corpus is not given, missing, empty or unreadable.
    """
    if config.data.corpus is None:
        raise ValueError(
            "config.data.corpus: got none, expected text:PATH or jsonl:PATH#field with the "
            "documents to train on, or python_docs or python_source to try things out"
        )
    spec = config.data.corpus
    corpus = load_corpus(spec, invalid_utf8=config.data.invalid_utf8)

    def make() -> PreparedCorpus:
        if spec.startswith(PREPARED):
            return opened_corpus(spec.removeprefix(PREPARED), tokenizer, validation_fraction)
        return prepare(corpus, tokenizer, cache_directory() / "tokens", validation_fraction)

    if jax.process_count() > 1:
        on_first(lambda: make().corpus_hash)  # where they share a cache, the others find it there
    prepared = together(make)
    check_alike(prepared.hashes)
    return prepared


def text_prompt(split: TokenizedSplit, tokenizer: Tokenizer) -> SamplePrompt:
    """The first tokens of a split, for a model to continue."""
    tokens = split.tokens[:PROMPT_TOKENS].astype(np.int32)
    return SamplePrompt(whole_text(tokenizer, tokens), tokens, tokenizer.end_of_text)


def chat_prompts(
    template: ChatTemplate, conversations: Iterable[Conversation]
) -> list[SamplePrompt]:
    """The first conversations up to the assistant's turn, for a model to take it."""
    end, banned = template.tokenizer.end_of_turn, template.tokenizer.outside_answers
    return [
        SamplePrompt(plain_text(each), template.prompt(each), end, banned)
        for each in itertools.islice(conversations, MOST_PROMPTS)
    ]


def prepared_mixture(config: ExperimentConfig, prepared: PreparedCorpus) -> Mixture | None:
    """The sources of prepared data by their weights; None of a corpus, which has no sources."""
    if prepared.opened is None:
        return None
    return mixture_of(
        prepared.opened,
        config.model.context_length,
        config.data.document_masking,
        config.training.seed,
    )


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

    `share` says which parts of each batch it makes, and of how many parts.
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
    """Makes, at each call, the batches of `rows` anew; see `validation_batches`."""

    def batches() -> Iterator[HostBatch]:
        whole = evaluation_rows(rows, config.training.batch_size, share=share)
        return itertools.islice(whole, config.training.eval_batches)

    return batches
