"""Input forms of GPT-1 and BERT: a structured task as token sequences, padded to one shape.

GPT-1, Radford et al. 2018, section 3.3 and figure 1:

    classification   start text extract
    entailment       start premise delimiter hypothesis extract
    similarity       start a delimiter b extract, and start b delimiter a extract
    choice           start context delimiter candidate extract, a sequence for each candidate

An example is K sequences: two of a similarity, as many as there are candidates of a choice, else
one. As in the authors' code (finetune-transformer-lm, train.py), each part of a pair is cut to
context // 2 - 2 tokens, and batches are as long as the longest sequence, not as the context.

BERT, Devlin et al. 2018, figure 4: `[CLS] text [SEP]`, or `[CLS] text [SEP] second text [SEP]`. The
second text and the [SEP] behind it have the token type 1. A pair that is too long loses tokens at
the end of the text that is longer at the time (google-research/bert, run_classifier.py).

    rows = task_rows(examples, tokenizer, "entailment", context_length=512, width=1)
    rows = bert_rows(examples, wordpiece, "entailment", context_length=512, width=1)
    batch = rows.batch(np.arange(8))
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import numpy as np
from absl import logging

from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.choices import FORMS
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.examples import Example
from gptjax.tokenization import TaskTokenizer, WordPiece
from gptjax.tokenization.wordpiece import SEPARATOR, START

SHORTEST = 6  # context that leaves each part of a pair one token


@dataclasses.dataclass(frozen=True)
class TaskRows:
    """Examples of a task, encoded; all batches have the same shapes.

    Attributes:
      examples: what was encoded.
      sequences: of each example, its K sequences of tokens, or fewer of a choice.
      width: K, the sequences that batches hold of an example.
      truncated: parts of examples that were cut.
      separator: the token that ends each text, behind the first of which the token type is 1; None:
        there are no token types.
    """

    examples: Records[Example]
    sequences: tuple[tuple[np.ndarray, ...], ...]
    width: int
    truncated: int
    separator: int | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @functools.cached_property
    def length(self) -> int:
        """Tokens of the longest sequence."""
        return max(len(ids) for several in self.sequences for ids in several)

    @functools.cached_property
    def _targets(self) -> np.ndarray:
        targets = np.array([example.target for example in self.examples])
        return targets.astype(np.int32 if targets.dtype.kind == "i" else np.float32)

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Gathers examples, given by number, in any order.

        Args:
          indices: which examples, [B] int64; those past the last are padding.

        Returns:
          tokens: [B, K, T] int32, padding on the right; T is the length of the longest of all.
          lengths: [B, K] int32, tokens that are not padding, extract the last of them; 0 where
            there is no sequence.
          targets: [B] int32, the class or the right candidate; or float32, the number.
          weights: [B] float32, 1, or 0 of padding.
          token_types: [B, K, T] int32, if there are some; 1 behind a sequence's first part.
        """
        tokens = np.zeros((len(indices), self.width, self.length), np.int32)
        lengths = np.zeros((len(indices), self.width), np.int32)
        targets = np.zeros(len(indices), self._targets.dtype)
        weights = np.zeros(len(indices), np.float32)
        for row, index in enumerate(indices.tolist()):
            if index >= len(self):
                continue
            targets[row], weights[row] = self._targets[index], 1.0
            for place, ids in enumerate(self.sequences[index]):
                tokens[row, place, : len(ids)] = ids
                lengths[row, place] = len(ids)
        batch = {"tokens": tokens, "lengths": lengths, "targets": targets, "weights": weights}
        if self.separator is not None:
            ends = tokens == self.separator
            before = ends.cumsum(-1) - ends
            real = np.arange(self.length) < lengths[..., None]
            batch["token_types"] = ((before > 0) & real).astype(np.int32)
        return batch


def task_rows(
    examples: Records[Example],
    tokenizer: TaskTokenizer,
    form: str,
    *,
    context_length: int,
    width: int,
) -> TaskRows:
    """Encodes examples; parts that are too long are cut at their ends, counted and logged.

    Args:
      examples: of that form.
      tokenizer: of the model.
      form: one of `FORMS`.
      context_length: of the model, at least `SHORTEST`.
      width: K, sequences of an example; of a choice the largest number of candidates.
    """
    assert form in FORMS and context_length >= SHORTEST, (form, context_length)
    most = context_length - 2 if form == "classification" else context_length // 2 - 2
    texts = tokenizer.encode_batch([text for example in examples for text in example.texts])
    parts = iter([ids[:most] for ids in texts])
    arranged = _ARRANGED[form]
    sequences = tuple(
        tuple(
            _sequence(tokenizer, *ordered)
            for ordered in arranged(*itertools.islice(parts, len(example.texts)))
        )
        for example in examples
    )
    truncated = sum(len(ids) > most for ids in texts)
    if truncated:
        logging.warning("%s: cut %d texts to %d tokens", examples.name, truncated, most)
    return TaskRows(examples, sequences, width, truncated)


def bert_rows(
    examples: Records[Example],
    tokenizer: WordPiece,
    form: str,
    *,
    context_length: int,
    width: int,
) -> TaskRows:
    """Encodes examples for BERT; a similarity is one sequence. Others as of `task_rows`.

    Args:
      examples: of that form.
      tokenizer: with [CLS] and [SEP].
      form: one of `FORMS`.
      context_length: of the model, at least `SHORTEST`.
      width: K, sequences of an example.
    """
    assert form in FORMS and context_length >= SHORTEST, (form, context_length)
    start, separator = (tokenizer.special_tokens[name] for name in (START, SEPARATOR))
    arranged = _ARRANGED["entailment" if form == "similarity" else form]
    texts = iter(tokenizer.encode_batch([text for example in examples for text in example.texts]))
    truncated, sequences = 0, []
    for example in examples:
        of_example = []
        for ordered in arranged(*itertools.islice(texts, len(example.texts))):
            kept = _lengths_that_fit([len(ids) for ids in ordered], context_length - 1)
            parts = [[*ids[:n], separator] for ids, n in zip(ordered, kept, strict=True)]
            of_example.append(np.concatenate([[start], *parts]).astype(np.int32))
            truncated += sum(len(ids) > n for ids, n in zip(ordered, kept, strict=True))
        sequences.append(tuple(of_example))
    if truncated:
        cut = "%s: cut %d texts, so that a sequence has at most %d tokens"
        logging.warning(cut, examples.name, truncated, context_length)
    return TaskRows(examples, tuple(sequences), width, truncated, separator)


def _lengths_that_fit(lengths: list[int], room: int) -> list[int]:
    """Lengths of texts, each with a separator behind it, cut one by one from the longer text."""
    lengths = list(lengths)
    while sum(lengths) + len(lengths) > room:
        longest = 0 if lengths[0] > lengths[-1] else len(lengths) - 1
        lengths[longest] -= 1
    return lengths


# What each form makes of the texts of an example: the texts of each of its sequences.
_ARRANGED: dict[str, Callable[..., list[tuple[np.ndarray, ...]]]] = {
    "classification": lambda text: [(text,)],
    "entailment": lambda premise, hypothesis: [(premise, hypothesis)],
    "similarity": lambda a, b: [(a, b), (b, a)],
    "choice": lambda context, *candidates: [(context, candidate) for candidate in candidates],
}


def _sequence(tokenizer: TaskTokenizer, first: np.ndarray, *second: np.ndarray) -> np.ndarray:
    """Start, one text or two with the delimiter between them, extract."""
    ids = [[tokenizer.start], first]
    for text in second:
        ids += [[tokenizer.delimiter], text]
    return np.concatenate([*ids, [tokenizer.extract]]).astype(np.int32)
