"""Reply policies: how a reply to a prompt is chosen. One interface: `ReplyPolicy`.

    asked = Asked(prompt, stop_token=marks.end_of_turn, banned=marks.outside_answers, seed=1)
    (draft,) = Sampling(temperature=0.7).drafts(model, model.generator, asked)
    for piece in draft.text(): ...

Sampling streams as it draws. Beam search and the best of n give their text when they have chosen.
A policy draws through a `Writer`, such as the model's generator, so that a server may put its own
running batch there.
"""

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from gptjax.chat.chat_model import ChatModel
from gptjax.chat.drafts import Asked, Draft, Writer, Written, together
from gptjax.inference.sampling import Sampler, alike_sampler, make_sampler
from gptjax.inference.text import whole_text


class RankerFailed(ValueError):
    """What ranks replies gave no finite number for one of them."""


class ReplyPolicy(Protocol):
    """A way to choose replies."""

    def drafts(
        self, model: ChatModel, writer: Writer, asked: Asked, count: int = 1
    ) -> Sequence[Draft]:
        """`count` different replies; ValueError for options that do not fit the model."""
        ...

    def __str__(self) -> str:
        """What people read, such as "temperature=0.7"."""
        ...


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Draws tokens one by one; attributes are arguments of `make_sampler`."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)

    def sampler(self, model: ChatModel, banned: Sequence[int]) -> Sampler:
        """The sampler for a model; ValueError for what is out of range."""
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        vocab_size = model.config.vocab_size
        banned = [token for token in banned if token < vocab_size]
        return alike_sampler(**options, banned_tokens=banned, vocab_size=vocab_size)

    def drafts(
        self, model: ChatModel, writer: Writer, asked: Asked, count: int = 1
    ) -> Sequence[Draft]:
        """`count` draws, of sample indices 0, 1, 2, ..."""
        sampler = self.sampler(model, asked.banned)
        drafts: list[Draft] = []
        try:
            for index in range(count):
                drafts.append(
                    writer.submit(
                        asked.prompt,
                        max_new_tokens=asked.max_new_tokens,
                        sampler=sampler,
                        seed=asked.seed,
                        sample_index=index,
                        stop_token=asked.stop_token,
                        stop=asked.stop,
                        alternatives=asked.alternatives,
                        images=asked.images,
                    )
                )
        except BaseException:
            for draft in drafts:
                draft.cancel()
            raise
        return drafts

    def __str__(self) -> str:
        return _changed(self)


@dataclasses.dataclass(frozen=True)
class Beams:
    """The best texts of a beam search.

    Attributes:
      num_beams: texts that are followed at the same time.
      length_penalty: exponent of the length in a score; above 0 favours long texts.
      repetition_penalty, presence_penalty, frequency_penalty, logit_bias: as of `Sampling`.
    """

    num_beams: int = 4
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)

    def drafts(
        self, model: ChatModel, writer: Writer, asked: Asked, count: int = 1
    ) -> Sequence[Draft]:
        """The best `count` of the beams, the best first; the search begins with the first read."""
        del writer
        if count > self.num_beams:
            raise ValueError(f"n: got {count} with {self.num_beams} beams, expected no more of it")
        if asked.alternatives:
            raise ValueError("logprobs: got them with num_beams, expected one or the other")
        vocab_size = model.config.vocab_size
        banned = [token for token in asked.banned if token < vocab_size]
        shared = _shared_fields(self)
        sampler = make_sampler(0.0, **shared, banned_tokens=banned, vocab_size=vocab_size)
        unwanted = threading.Event()

        def search() -> list[Written]:
            (found,) = model.beam_search(
                [asked.prompt],
                num_beams=self.num_beams,
                num_best=count,
                max_new_tokens=asked.max_new_tokens,
                stop_token=asked.stop_token,
                stop=asked.stop,
                length_penalty=self.length_penalty,
                sampler=sampler,
                unwanted=unwanted.is_set,
                images=[asked.images],
            )
            texts = [_written(model, asked, text.tokens) for text in found]
            return texts + [texts[-1]] * (count - len(texts))

        return together(search, count, unwanted.set)

    def __str__(self) -> str:
        return _changed(self, always=("num_beams",))


@dataclasses.dataclass(frozen=True)
class BestOf:
    """The best of several draws, by a ranker or by the mean log-probability of their tokens.

    Attributes:
      draws: how many.
      ranker: name of what ranks them; None: the most probable on average.
      sampling: how they are drawn.
    """

    draws: int = 4
    ranker: str | None = None
    sampling: Sampling = dataclasses.field(default_factory=Sampling)

    def drafts(
        self, model: ChatModel, writer: Writer, asked: Asked, count: int = 1
    ) -> Sequence[Draft]:
        """The best `count` of the draws, the best first, and the first of equals."""
        if count > self.draws:
            raise ValueError(f"best_of: got {self.draws}, expected at least n, {count}")
        rank = None if self.ranker is None else model.ranker(self.ranker)
        if rank is not None and asked.images is not None:
            raise ValueError("rank_by: got it with pictures, which rankers do not see")
        drafts = self.sampling.drafts(model, writer, asked, self.draws)

        def choose() -> list[Written]:
            texts = [
                Written("".join(draft.text()), draft.tokens, draft.log_probs, draft.alternatives)
                for draft in drafts
            ]
            for text, draft in zip(texts, drafts, strict=True):
                text.finished = draft.finished
            if rank is None:
                scores = [float(np.mean(text.log_probs or [-np.inf])) for text in texts]
            else:
                prompts = [asked.messages] * len(texts)
                try:
                    ranked = rank(prompts, [asked.begun + text.shown for text in texts])
                except ValueError as error:
                    raise RankerFailed(f"rank_by: {error}") from error
                scores = np.asarray(ranked, np.float64).tolist()
            order = sorted(range(len(texts)), key=lambda i: -scores[i])
            best = [texts[i] for i in order[:count]]
            best[0].discarded = sum(len(texts[i].tokens) for i in order[count:])
            return best

        return together(choose, count, lambda: [draft.cancel() for draft in drafts])

    def __str__(self) -> str:
        by = f", rank_by={self.ranker}" if self.ranker else ""
        return f"best_of={self.draws}{by}, {self.sampling}"


def _written(model: ChatModel, asked: Asked, tokens: np.ndarray) -> Written:
    """A text that a search found."""
    text = whole_text(model.tokenizer, tokens, asked.stop, asked.stop_token)
    whole = whole_text(model.tokenizer, tokens, (), asked.stop_token)
    ended = tokens.size and tokens[-1] == asked.stop_token
    reason = "stop" if text != whole else "stop_token" if ended else "length"
    return Written(text, tokens.tolist(), finished=reason)


def _shared_fields(policy: Beams) -> dict[str, Any]:
    named = {field.name for field in dataclasses.fields(Sampling)}
    return {
        field.name: getattr(policy, field.name)
        for field in dataclasses.fields(policy)
        if field.name in named
    }


def _changed(policy: Any, always: Sequence[str] = ("temperature",)) -> str:
    """The fields that are not as they are by default, and some that are always said."""
    shown = [
        f"{field.name}={getattr(policy, field.name):g}"
        for field in dataclasses.fields(policy)
        if field.name in always
        or (field.name != "logit_bias" and getattr(policy, field.name) != field.default)
    ]
    return ", ".join(shown)
