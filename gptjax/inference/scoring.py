"""Scoring: how probable given texts are, alone, as answers to one question, or as long texts.

Texts are sorted by length and padded to powers of two; results come in the order of the input.
Logits are made for the tokens that are scored only.

    scorer = Scorer(model, params)
    scores = scorer.score([(prefix, continuation), ...])
    best = max(scorer.score_answers(question, answers), key=lambda score: score.total)
    scorer.perplexity(tokens, stride=512).per_token

Source: GPT-3 chooses answers by the log-probability of their tokens, also over their number
(arXiv 2005.14165, section 2.4); GPT-2's perplexity over windows that overlap is the strided
evaluation of `transformers`.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from gptjax.attention.cache import check_decodable
from gptjax.attention.sight import out_of_sight
from gptjax.compiled import compiled
from gptjax.finite import check_finite
from gptjax.inference.decoding import checked_params
from gptjax.inference.log_probs import (
    Score,
    TextLoss,
    alternatives_whole,
    log_probs_after,
    log_probs_whole,
)
from gptjax.inference.prefill import PIECE, Prefill, bucket, padded_images
from gptjax.inference.requests import check_number, check_tokens
from gptjax.models.decoder import Decoder
from gptjax.models.transformer import attention_cycle

T = TypeVar("T")
Images = Sequence[np.ndarray | None] | None  # [N, H, W, C] uint8 of each text


class Scorer:
    """Scores with one model; it holds compiled programs, so keep it."""

    def __init__(self, model: Decoder, params: Any, *, batch_size: int = 8, piece: int = PIECE):
        """A scorer.

        Args:
          model: what scores.
          params: its parameters.
          batch_size: texts that are scored at the same time.
          piece: most tokens that are fed at once of a prefix that answers share.

        Raises:
          ValueError: no batch, or parameters of another model.
        """
        check_number("batch_size", batch_size, 1)
        self._params = checked_params(model, params)
        self._model, self._batch_size = model, batch_size
        self._prefill = Prefill(model, piece)
        self._whole = compiled(log_probs_whole, model)
        self._shared = compiled(log_probs_after, model)
        self._places = compiled(alternatives_whole, model, static_argnames="count")

    def score(
        self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], images: Images = None
    ) -> list[Score]:
        """The scores of continuations, each after a prefix of its own.

        Args:
          pairs: (prefix, continuation) token ids [m], [n], one token or more each; m + n is at most
            the context length + 1, since the last token is not read.
          images: uint8 [N, H, W, C] of each prefix, or None; None: no prefix has any.

        Raises:
          ValueError: tokens or images that do not fit, or a pattern that looks ahead into a
            continuation.
        """
        shown = self._images(images, [prefix for prefix, _ in pairs])
        texts = [self._checked(prefix, continuation) for prefix, continuation in pairs]
        for (prefix, _), (tokens, _) in zip(pairs, texts, strict=True):
            self._check_order(len(prefix), tokens.size - 1)
        return self._score_all(texts, shown)

    def score_answers(self, prefix: np.ndarray, answers: Sequence[np.ndarray]) -> list[Score]:
        """Scores answers [n] to one question [m], which is read once."""
        return self.score_questions([(prefix, answers)])[0]

    def score_questions(
        self,
        questions: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]],
        images: Images = None,
    ) -> list[list[Score]]:
        """Scores several questions, each with answers of its own; `images` are those of `score`.

        Raises:
          ValueError: tokens or images that do not fit, no answer, or a pattern that looks ahead
            past the last but one token of a question, since the last one is read with the answers.
        """
        shown = self._images(images, [prefix for prefix, _ in questions])
        tasks: list[tuple[int, np.ndarray, list[tuple[int, np.ndarray]]]] = []
        for number, (prefix, answers) in enumerate(questions):
            if not answers:
                raise ValueError("answers: got none, expected one or more")
            whole = [self._checked(prefix, answer)[0] for answer in answers]
            self._check_order(len(prefix) - 1, max(text.size for text in whole) - 1)
            order = sorted(range(len(answers)), key=lambda i: whole[i].size)
            for start in range(0, len(order), self._batch_size):
                part = order[start : start + self._batch_size]
                size = len(prefix)
                tasks.append((number, whole[0][:size], [(i, whole[i][size:]) for i in part]))
        results: list[dict[int, Score]] = [{} for _ in questions]
        tasks.sort(key=lambda task: (_rows(len(task[2])), task[1].size), reverse=True)
        for beside, alike in itertools.groupby(tasks, lambda task: _rows(len(task[2]))):
            for batch, rows in _batches(list(alike), max(self._batch_size // beside, 1)):
                scores = self._score_shared(
                    [(prefix, [a for _, a in part]) for _, prefix, part in batch],
                    rows,
                    padded_images([shown[number] for number, _, _ in batch], rows),
                )
                for (number, _, part), made in zip(batch, scores, strict=True):
                    results[number] |= {i: score for (i, _), score in zip(part, made, strict=True)}
        return [[made[i] for i in range(len(made))] for made in results]

    def perplexity(self, tokens: np.ndarray, stride: int | None = None) -> TextLoss:
        """The loss of one text; see `losses`."""
        return self.losses([tokens], stride)[0]

    def losses(self, texts: Sequence[np.ndarray], stride: int | None = None) -> list[TextLoss]:
        """The losses of texts of any length, each token but the first scored once.

        Under attention that looks ahead, tokens that earlier ones of their window may see are left
        out.

        Windows of `context_length` tokens start every `stride` tokens; each scores those that the
        ones before have not. So all tokens but those of the first window are scored with more than
        `context_length - stride` tokens before them.

        Args:
          texts: ids [n] of each, two or more.
          stride: 1 to the context length, which is the default: windows do not overlap.

        Raises:
          ValueError: tokens or a stride out of range, or attention under which no token is left.
        """
        context = self._model.config.context_length
        stride = context if stride is None else stride
        if not 1 <= stride <= context:
            raise ValueError(f"stride: got {stride}, expected 1 to {context}, the context length")
        hidden = out_of_sight(attention_cycle(self._model.config), context + 1)
        windows: list[tuple[np.ndarray, int]] = []
        counted: list[list[np.ndarray]] = []
        for tokens in map(np.asarray, texts):
            check_tokens("tokens", tokens, self._model.config.vocab_size)
            if tokens.size < 2:
                raise ValueError(
                    "tokens: got one, expected two or more: the first has none before it"
                )
            own = list(_windows(tokens, context, stride))
            counted.append([hidden[window.size - count : window.size] for window, count in own])
            if not any(map(np.any, counted[-1])):
                raise ValueError(
                    f"attention {self._model.config.attention}: got a text of {tokens.size} "
                    "tokens, each of which an earlier one may see, expected one that is out of "
                    "sight"
                )
            windows += own
        scores = iter(self._score_all(windows))
        losses = []
        for of in counted:
            nats = [float(next(scores).log_probs[each].sum(dtype=np.float64)) for each in of]
            losses.append(TextLoss(-math.fsum(nats), int(sum(map(np.count_nonzero, of)))))
        return losses

    def alternatives(self, tokens: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
        """What could stand at each place but the first of one text.

        Args:
          tokens: ids [n], at most the context length.
          count: most probable tokens of each place, 1 or more.

        Returns:
          Float32 log-probabilities [n - 1] of the tokens that stand there; and of the most
          probable ones int32 ids and float32 log-probabilities [n - 1, count], the best first.

        Raises:
          ValueError: tokens that do not fit, or a pattern that looks ahead.
          NotFinite: the model's logits are not.
        """
        text, _ = self._checked(tokens[:1], tokens[1:]) if len(tokens) > 1 else (tokens, 0)
        self._check_order(1, text.size)
        size = min(bucket(text.size), self._model.config.context_length)
        padded = np.zeros((1, size), np.int32)
        padded[0, : text.size] = text
        lengths = np.array([text.size], np.int32)
        made = jax.device_get(self._places(self._params, padded, lengths, count=count))
        found = tuple(part[0, : text.size - 1] for part in made)
        check_finite(found[0], "logits")
        return found

    def _checked(self, prefix: np.ndarray, continuation: np.ndarray) -> tuple[np.ndarray, int]:
        """A whole text, and how many tokens at its end are scored."""
        prefix, continuation = np.asarray(prefix), np.asarray(continuation)
        check_tokens("prefix", prefix, self._model.config.vocab_size)
        check_tokens("continuation", continuation, self._model.config.vocab_size)
        size, context = prefix.size + continuation.size, self._model.config.context_length
        if size > context + 1:
            raise ValueError(
                f"prefix and continuation: got {size} tokens, expected at most {context + 1}, one "
                "more than the context length"
            )
        return np.concatenate([prefix, continuation]).astype(np.int32), continuation.size

    def _check_order(self, known: int, length: int) -> None:
        """Refuses patterns that let a token be seen before it is scored."""
        for pattern in attention_cycle(self._model.config):
            check_decodable(pattern, known, length)

    def _images(self, images: Images, prefixes: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """The images of each prefix, which must have places for them."""
        shown = [None] * len(prefixes) if images is None else list(images)
        for prefix, each in zip(prefixes, shown, strict=True):
            self._model.config.check_images(np.asarray(prefix), 0 if each is None else len(each))
        return [None if each is None or not len(each) else each for each in shown]

    def _score_all(
        self, texts: Sequence[tuple[np.ndarray, int]], images: Images = None
    ) -> list[Score]:
        """Scores of the last tokens of texts, so many of each."""
        order = sorted(range(len(texts)), key=lambda i: (texts[i][0].size, texts[i][1]))
        results: list[Score | None] = [None] * len(texts)
        context = self._model.config.context_length
        for part, rows in _batches(order, self._batch_size):
            size = min(bucket(max(texts[i][0].size for i in part) - 1), context)
            scored = min(bucket(max(texts[i][1] for i in part)), size)
            inputs, targets, at = _empty_rows(rows, size, scored)
            for row, i in enumerate(part):
                tokens, count = texts[i]
                inputs[row, : tokens.size - 1] = tokens[:-1]
                targets[row, :count] = tokens[-count:]
                at[row, :count] = np.arange(tokens.size - 1 - count, tokens.size - 1)
            lengths = np.zeros(inputs.shape[0], np.int32)
            lengths[: len(part)] = [texts[i][0].size - 1 for i in part]
            shown = None if images is None else padded_images([images[i] for i in part], rows)
            log_probs, best = jax.device_get(
                self._whole(self._params, inputs, lengths, targets, at, shown)
            )
            for row, i in enumerate(part):
                results[i] = _score_of(log_probs, best, row, texts[i][1])
        return [score for score in results if score is not None]

    def _score_shared(
        self,
        questions: Sequence[tuple[np.ndarray, Sequence[np.ndarray]]],
        rows: int,
        images: np.ndarray | None,
    ) -> list[list[Score]]:
        """Scores of the answers to questions, in one batch of so many rows."""
        beside = _rows(max(len(answers) for _, answers in questions))
        longest = max(answer.size for _, answers in questions for answer in answers)
        total = max(p.size + max(a.size for a in answers) for p, answers in questions) - 1
        size = min(bucket(total), self._model.config.context_length)
        chunk = min(bucket(longest), size)
        prefixes = np.zeros((rows, size), np.int32)
        counts = np.zeros(rows, np.int32)
        inputs, targets, at = _empty_rows(rows * beside, chunk, chunk)
        positions = np.full_like(inputs, -1)
        for q, (prefix, answers) in enumerate(questions):
            counts[q] = prefix.size - 1
            prefixes[q, : prefix.size] = prefix
            for a, answer in enumerate(answers):
                row, n = q * beside + a, answer.size
                inputs[row, :n] = np.concatenate([prefix[-1:], answer[:-1]])
                positions[row, :n] = np.arange(prefix.size - 1, prefix.size - 1 + n)
                targets[row, :n] = answer
                at[row, :n] = np.arange(n)
        cache = self._prefill(self._params, prefixes, counts, chunk, images=images)
        log_probs, best = jax.device_get(
            self._shared(self._params, cache, inputs, positions, targets, at)
        )
        return [
            [
                _score_of(log_probs, best, q * beside + a, answer.size)
                for a, answer in enumerate(answers)
            ]
            for q, (_, answers) in enumerate(questions)
        ]


def _windows(tokens: np.ndarray, context: int, stride: int) -> Iterator[tuple[np.ndarray, int]]:
    """Windows of a text, and how many tokens at the end of each the ones before have not."""
    done = 1
    for start in range(0, max(tokens.size - 1 - context, 0) + stride, stride):
        end = min(start + context + 1, tokens.size)
        yield tokens[start:end], end - done
        done = end


def _batches(items: Sequence[T], most: int) -> Iterator[tuple[Sequence[T], int]]:
    """Batches of `most` items, and the rows of each: alike, so that one program serves them all."""
    rows = most if len(items) > most else _rows(len(items))
    for start in range(0, len(items), most):
        yield items[start : start + most], rows


def _rows(count: int) -> int:
    """`count` rounded up to a power of two."""
    return 1 << (count - 1).bit_length()


def _empty_rows(rows: int, size: int, scored: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs [rows, size], targets and where they are predicted [rows, scored]; all int32."""
    shapes = (rows, size), (rows, scored), (rows, scored)
    inputs, targets, at = (np.zeros(shape, np.int32) for shape in shapes)
    return inputs, targets, at


def _score_of(log_probs: np.ndarray, best: np.ndarray, row: int, count: int) -> Score:
    check_finite(log_probs[row, :count], "logits")
    return Score(log_probs[row, :count], bool(best[row, :count].all()))
