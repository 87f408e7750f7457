r"""The three kinds of question that an eval asks of a language model.

    Likelihood("The capital of France is", " Paris")   # how probable is a continuation?
    Rolling("A whole text.")                           # how probable is a text of any length?
    Generation("Q: 2 + 2\nA:", stop=("\n",))           # what does the model write?

Each is text, numbers and pictures, so that its hash stands for it: `key(request)`. Where there are
pictures, each stands where its text has `<image>`.
"""

import dataclasses
import hashlib
import json
from typing import Any

from gptjax.data.pictures.picture import Picture


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Asks for the log-probability of a continuation.

    Attributes:
      context: text before it; empty: the start of a document. Of one that does not fit, the end is
        taken. White space at its end is read as the continuation's.
      continuation: text, not empty.
      pictures: of the context, which then must fit, and is divided from the continuation as it is.
    """

    context: str
    continuation: str
    pictures: tuple[Picture, ...] = ()


@dataclasses.dataclass(frozen=True)
class Rolling:
    """Asks for the log-probability of a text of any length, as a document's first to last token.

    Attributes:
      text: not empty.
      stride: tokens between two windows, 1 to the context length; None: the context length, where
        windows do not overlap.
    """

    text: str
    stride: int | None = None


@dataclasses.dataclass(frozen=True)
class Generation:
    """Asks for what follows a prompt.

    Attributes:
      prompt: text. Of one that leaves no room for an answer, the end is taken.
      stop: strings that end the answer and are no part of it.
      max_new_tokens: most tokens of the answer; None: as many as fit the context.
      num_beams: 1: one text, drawn or greedy; more: beam search.
      num_best: texts that are wanted, at most `num_beams`.
      length_penalty: alpha of the beam search (Wu et al. 2016, equation 14).
      temperature: 0: the most probable tokens; with beams it is 0.
      seed: of the draws, with temperatures above 0.
      draw: equal prompts with other draws have other answers.
      pictures: of the prompt, which then must fit.
    """

    prompt: str
    stop: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    num_beams: int = 1
    num_best: int = 1
    length_penalty: float = 0.6
    temperature: float = 0.0
    seed: int = 0
    draw: int = 0
    pictures: tuple[Picture, ...] = ()


Request = Likelihood | Rolling | Generation


def pictures_of(request: Request) -> tuple[Picture, ...]:
    """The pictures of a request; () of one that has no place for any."""
    return () if isinstance(request, Rolling) else request.pictures


def text_of(request: Likelihood | Generation) -> str:
    """The text that has to fit the context."""
    is_prompt = isinstance(request, Generation)
    return request.prompt if is_prompt else request.context + request.continuation


def room_of(request: Likelihood | Generation, context_length: int) -> int:
    """Tokens of `text_of` that fit; of a continuation the last one is not read."""
    if isinstance(request, Likelihood):
        return context_length + 1
    return room_for_prompt(context_length, request.max_new_tokens)


def room_for_prompt(context_length: int, max_new_tokens: int | None) -> int:
    """Tokens of a prompt that are read: what the answer leaves, half of the context at least."""
    return max(context_length - (max_new_tokens or 1), context_length // 2)


@dataclasses.dataclass(frozen=True)
class LikelihoodAnswer:
    """What a model says to a `Likelihood` or a `Rolling`.

    Attributes:
      log_prob: of the continuation or text, in nats.
      tokens: that it has, by the model's tokenizer.
      greedy: whether greedy decoding would have written the continuation.
      cut: whether the context was cut to fit.
    """

    log_prob: float
    tokens: int
    greedy: bool = False
    cut: bool = False


@dataclasses.dataclass(frozen=True)
class GenerationAnswer:
    """What a model writes after a prompt.

    Attributes:
      text: without the stop string.
      cut: whether the prompt was cut to leave room.
      others: the next best texts, if `num_best` asks for them; there may be fewer.
    """

    text: str
    cut: bool = False
    others: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, the best first."""
        return (self.text, *self.others)


Answer = LikelihoodAnswer | GenerationAnswer


def key(request: Request) -> str:
    """The SHA-256, in hexadecimal, of the kind of a request and all its fields."""
    fields = {"kind": type(request).__name__, **vars(request)}
    if pictures := fields.pop("pictures", ()):
        fields["pictures"] = [picture.digest for picture in pictures]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def as_row(answer: Answer) -> dict[str, Any]:
    """An answer as JSON, to be read by `of_row`."""
    return dataclasses.asdict(answer)


def of_row(row: dict[str, Any]) -> Answer:
    """The answer that `as_row` made `row` of."""
    if "text" in row:
        return GenerationAnswer(**{**row, "others": tuple(row["others"])})
    return LikelihoodAnswer(**row)
