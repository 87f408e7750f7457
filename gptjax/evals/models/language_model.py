"""A language model that answers the requests of evals, many at once.

    model = of_run(WorkDirectory("runs/lm"))
    for number, answer in model.answers(requests):   # in the order in which they are ready
        ...

An answer does not depend on the requests beside it, but for the rounding of another batch.

Continuations that follow equal contexts are scored together, so that a context is read once. A text
is divided as lm-evaluation-harness does it: context and continuation are one text to the tokenizer,
and the continuation begins where the tokens of the context alone would end.
"""

import collections
import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gptjax.data.pictures.picture import Picture
from gptjax.evals.models.prompts import Asked, Prompt, Question
from gptjax.evals.requests import (
    Answer,
    Generation,
    GenerationAnswer,
    Likelihood,
    LikelihoodAnswer,
    Request,
    Rolling,
    pictures_of,
    room_for_prompt,
    room_of,
    text_of,
)
from gptjax.inference.beam import BeamSearch, Hypothesis
from gptjax.inference.generate import Generator
from gptjax.inference.requests import Request as WrittenText
from gptjax.inference.sampling import Sampler, make_sampler
from gptjax.inference.scoring import Score, Scorer
from gptjax.inference.text import whole_text
from gptjax.models.decoder import Decoder
from gptjax.tokenization import Tokenizer

_AT_ONCE = 32  # batches that are scored before their answers are given
_AT_ONCE_WITH_IMAGES = 2  # the same, of which all pixels are held
_WAITING = 4  # batches of texts that are written, or wait for it
_LOOK = 16  # tokens between two looks for stop strings, which the device does not see

Numbered = Iterator[tuple[int, Answer]]


class LanguageModel:
    """Answers requests with one model; it holds compiled programs, so keep it.

    Attributes:
      content_hash: stands for all that an answer depends on but the request.
      tokenizer: of its texts.
      context_length: tokens that it reads at most.
      start: the token before a document's first.
    """

    def __init__(
        self,
        model: Decoder,
        params: Any,
        tokenizer: Tokenizer,
        *,
        content_hash: str,
        batch_size: int = 32,
    ):
        """A model that is ready to be asked.

        Args:
          model: a decoder.
          params: its parameters.
          tokenizer: its own; a text starts behind its end-of-text, or behind a line end if there
            is none.
          content_hash: see the class.
          batch_size: texts that are scored, or written, at the same time.

        Raises:
          ValueError: no batch, or parameters of another model.
        """
        self.content_hash, self.tokenizer = content_hash, tokenizer
        start = tokenizer.end_of_text
        self.start = int(tokenizer.encode("\n")[-1]) if start is None else start
        self._start = np.array([self.start], np.int32)
        self.context_length = model.config.context_length
        self._batch_size = batch_size
        self._scorer = Scorer(model, params, batch_size=batch_size)
        self._generator = Generator(model, params, tokenizer, slots=batch_size)
        self._model, self._params = model, params
        self._beams: BeamSearch | None = None

    def answers(self, requests: Sequence[Request]) -> Numbered:
        """Yields each request's number and answer, as soon as a few are ready.

        Raises:
          ValueError: an empty continuation or text, or attention that cannot answer; pictures, of
            which this class reads none, or that do not fit.
        """
        self.check(requests)
        kinds: dict[type, list[tuple[int, Any]]] = defaultdict(list)
        for number, request in enumerate(requests):
            kinds[type(request)].append((number, request))
        yield from self._likelihoods(kinds[Likelihood])
        yield from self._rolling(kinds[Rolling])
        yield from self._generations(kinds[Generation])

    def all_answers(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers, in the order of the requests."""
        found = dict(self.answers(requests))
        return [found[number] for number in range(len(requests))]

    def log_probs(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[float]:
        """Log-probabilities, in nats, of tokens [n] behind others [m], which fit the context."""
        return [score.total for score in self._scorer.score(pairs)]

    def check(self, requests: Iterable[Request]) -> None:
        """Refuses (ValueError) requests that the model cannot read, whatever their length."""
        if any(map(pictures_of, requests)):
            raise ValueError(
                "pictures: got a request with some, expected text: the model reads text alone"
            )

    def fit(self, requests: Sequence[Likelihood | Generation]) -> list[bool]:
        """Whether each can be answered without that what it shows is cut."""
        self.check(requests)
        counts = map(len, self.tokenizer.encode_batch(list(map(text_of, requests))))
        room = [room_of(request, self.context_length) for request in requests]
        return [count <= most for count, most in zip(counts, room, strict=True)]

    def _likelihoods(self, requests: Sequence[tuple[int, Likelihood]]) -> Numbered:
        """Scores continuations; those of equal contexts as answers to one question."""
        questions: dict[tuple[bytes, tuple[Picture, ...]], Question] = {}
        pictures = {number: request.pictures for number, request in requests}
        for _, request in requests:
            if not request.continuation:
                raise ValueError(
                    f"continuation: got none after {request.context[-40:]!r}, expected text"
                )
        for number, prefix, continuation in self._divided(requests):
            if continuation.size > self.context_length:
                yield number, self._in_pieces(prefix, continuation)
                continue
            room = self.context_length + 1 - continuation.size
            key = prefix[-room:].tobytes(), pictures[number]
            question = questions.setdefault(key, Question(prefix[-room:], pictures[number]))
            question.numbers.append(number)
            question.answers.append(continuation)
            question.cut.append(prefix.size > room)
        several = [question for question in questions.values() if len(question.numbers) > 1]
        single = [question for question in questions.values() if len(question.numbers) == 1]
        for part in _parts(several, self._batch_size):
            scores = self._scorer.score_questions(
                [(each.prefix, each.answers) for each in part], self._images(part)
            )
            yield from _numbered(part, scores)
        for part in _parts(single, self._batch_size):
            scores = self._scorer.score(
                [(each.prefix, each.answers[0]) for each in part], self._images(part)
            )
            yield from _numbered(part, [[score] for score in scores])

    def _images(self, asked: Iterable[Asked]) -> list[np.ndarray | None]:
        """Images [N, H, W, C] of what is asked, or None; this class reads none."""
        return [None for _ in asked]

    def _divided(
        self, requests: Sequence[tuple[int, Likelihood]]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The number, the tokens of the context and those of the continuation of each request."""
        contexts, wholes = [], []
        for _, request in requests:
            contexts.append(request.context.rstrip())
            wholes.append(request.context + request.continuation)
        first = self.tokenizer.encode_batch(contexts)
        whole = self.tokenizer.encode_batch(wholes)
        for (number, _), context, tokens in zip(requests, first, whole, strict=True):
            tokens = np.asarray(tokens, np.int32)
            at = min(len(context), tokens.size - 1)
            yield number, tokens[:at] if at else self._start, tokens[at:]

    def _in_pieces(self, prefix: np.ndarray, continuation: np.ndarray) -> LikelihoodAnswer:
        """Scores what is longer than the context, each piece behind the last token before it."""
        text = np.concatenate([prefix[-1:], continuation])
        starts = range(1, text.size, self.context_length)
        scores = self._scorer.score(
            [(text[at - 1 : at], text[at : at + self.context_length]) for at in starts]
        )
        return LikelihoodAnswer(
            sum(score.total for score in scores),
            continuation.size,
            all(score.greedy for score in scores),
            cut=True,
        )

    def _rolling(self, requests: Sequence[tuple[int, Rolling]]) -> Numbered:
        encoded = self.tokenizer.encode_batch([request.text for _, request in requests])
        by_stride: dict[int | None, list[tuple[int, np.ndarray]]] = defaultdict(list)
        for (number, request), tokens in zip(requests, encoded, strict=True):
            if not len(tokens):
                raise ValueError("text: got an empty one, expected some to score")
            text = np.concatenate([self._start, tokens]).astype(np.int32)
            by_stride[request.stride].append((number, text))
        for stride, texts in by_stride.items():
            for part in _runs(texts, self._batch_size * _AT_ONCE * self.context_length):
                losses = self._scorer.losses([text for _, text in part], stride)
                for (number, _), loss in zip(part, losses, strict=True):
                    yield number, LikelihoodAnswer(-loss.nats, loss.tokens)

    def _generations(self, requests: Sequence[tuple[int, Generation]]) -> Numbered:
        searches: dict[Generation, list[tuple[int, Prompt]]] = defaultdict(list)
        waiting: collections.deque[tuple[int, Generation]] = collections.deque()
        for number, request in requests:
            if request.num_beams == 1:
                waiting.append((number, request))
                continue
            alike = dataclasses.replace(request, prompt="", draw=0, pictures=())
            searches[alike].append((number, self._prompt(request)))
        yield from self._written(waiting)
        for request, prompts in searches.items():
            prompts.sort(key=lambda each: each[1].tokens.size, reverse=True)
            for start in range(0, len(prompts), self._batch_size):
                part = prompts[start : start + self._batch_size]
                found = self._searched(request, [prompt for _, prompt in part])
                for (number, prompt), best in zip(part, found, strict=True):
                    texts = [self._text(request, each.tokens) for each in best]
                    yield number, GenerationAnswer(texts[0], prompt.cut, tuple(texts[1:]))

    def _written(self, waiting: collections.deque[tuple[int, Generation]]) -> Numbered:
        """Writes texts in one running batch, which always has others waiting for a place."""
        jobs: list[tuple[int, Generation, bool, WrittenText]] = []
        while waiting or jobs:
            while waiting and len(jobs) < _WAITING * self._batch_size:
                number, request = waiting.popleft()
                prompt = self._prompt(request)
                jobs.append((number, request, prompt.cut, self._submitted(request, prompt)))
            stops = any(request.stop for _, request, _, _ in jobs)
            self._generator.step(_LOOK if stops else self.context_length)
            ended = [job for job in jobs if not job[-1].writing]
            jobs = [job for job in jobs if job[-1].writing]
            for number, request, cut, job in ended:
                yield number, GenerationAnswer(self._text(request, job.result()), cut)

    def _prompt(self, request: Generation) -> Prompt:
        """The end of a prompt that leaves room for the answer."""
        tokens = self.tokenizer.encode(request.prompt) if request.prompt else self._start
        most = room_for_prompt(self.context_length, request.max_new_tokens)
        return Prompt(tokens[-most:], tokens.size > most)

    def _sampler(self, temperature: float) -> Sampler:
        return make_sampler(temperature)

    def _submitted(self, request: Generation, prompt: Prompt) -> WrittenText:
        (images,) = self._images([prompt])
        return self._generator.submit(
            prompt.tokens,
            images=images,
            max_new_tokens=request.max_new_tokens,
            sampler=self._sampler(request.temperature),
            seed=request.seed,
            sample_index=request.draw,
            stop_token=self.tokenizer.end_of_text,
            stop=request.stop,
        )

    def _searched(self, request: Generation, prompts: Sequence[Prompt]) -> list[list[Hypothesis]]:
        if self._beams is None:
            self._beams = BeamSearch(
                self._model, self._params, self.tokenizer, batch_size=self._batch_size
            )
        return self._beams(
            [prompt.tokens for prompt in prompts],
            images=self._images(prompts),
            num_beams=request.num_beams,
            num_best=request.num_best,
            max_new_tokens=request.max_new_tokens,
            stop_token=self.tokenizer.end_of_text,
            stop=request.stop,
            length_penalty=request.length_penalty,
            normalization="gnmt",
            sampler=self._sampler(0.0),
        )

    def _text(self, request: Generation, tokens: np.ndarray) -> str:
        return whole_text(self.tokenizer, tokens, request.stop, self.tokenizer.end_of_text)


def _parts(questions: Iterable[Question], batch_size: int) -> Iterator[list[Question]]:
    """Questions, the longest first, a few batches at a time."""
    ordered = sorted(questions, key=lambda each: each.size, reverse=True)
    shown = any(each.pictures for each in ordered)
    most = batch_size * (_AT_ONCE_WITH_IMAGES if shown else _AT_ONCE)
    for start in range(0, len(ordered), most):
        yield ordered[start : start + most]


def _runs(
    texts: Sequence[tuple[int, np.ndarray]], most: int
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Texts in their order, as many together as have `most` tokens or a few more."""
    run: list[tuple[int, np.ndarray]] = []
    for each in texts:
        run.append(each)
        if sum(text.size for _, text in run) >= most:
            yield run
            run = []
    if run:
        yield run


def _numbered(questions: Sequence[Question], scores: Sequence[Sequence[Score]]) -> Numbered:
    for question, made in zip(questions, scores, strict=True):
        for number, cut, score in zip(question.numbers, question.cut, made, strict=True):
            yield (
                number,
                LikelihoodAnswer(score.total, score.log_probs.size, score.greedy, cut),
            )
