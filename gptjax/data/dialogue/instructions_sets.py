"""Demonstrations and rankings of the embedded tasks, by simulated people.

    conversations = demonstrations(count=4000, seed=0)
    rankings = ranked_tasks(count=4000, seed=0, answers=4, annotators=3)

Demonstrators may slip. Annotators rank K answers by what they perceive of the gold reward: with
noise of Gumbel's distribution, orders are Plackett-Luce, and of two answers i is put above j with
probability sigmoid((gold_i - gold_j) / temperature), as Bradley and Terry have it. Differences too
small to see are ties.

As a set's location, arguments are written `split=held_out,count=500`; see `parse_options`.
"""

import dataclasses
import typing
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from gptjax.data.dialogue.chat_format import Conversation, Message
from gptjax.data.dialogue.instructions import (
    KINDS,
    REFUSAL,
    SPLITS,
    WORDS,
    EmbeddedTask,
    gold_reward,
    task_at,
)
from gptjax.data.dialogue.rankings import Ranking
from gptjax.registry import unknown_name
from gptjax.settings import expected, limits_of, setting, validate

Options = TypeVar("Options")

_DEMONSTRATIONS, _RANKINGS = 1, 2  # streams of randomness of one seed
_SLIPS = (0.4, 0.4, 0.2)  # how likely an answer to rank has none, one or two
_LONGEST_RAMBLE = 4  # words


@dataclasses.dataclass
class DemonstrationOptions:
    """Options of a set of conversations: the arguments of `demonstrations`."""

    split: str = setting("train", "split that the prompts are of", choices=SPLITS)
    count: int = setting(4000, "conversations in the set", low=1)
    seed: int = setting(0, "seed of all that is random", low=0)
    sloppiness: float = setting(0.0, "share of the answers with a slip", low=0.0, high=1.0)


@dataclasses.dataclass
class RankingOptions:
    """Options of a set of rankings: the arguments of `ranked_tasks`."""

    split: str = setting("train", "split that the prompts are of", choices=SPLITS)
    count: int = setting(4000, "rankings in the set", low=1)
    seed: int = setting(0, "seed of all that is random", low=0)
    answers: int = setting(4, "answers in a ranking", low=2, high=32)
    annotators: int = setting(3, "annotators who rank each", low=1)
    temperature: float = setting(
        0.2, "gold reward that is worth a factor e in preference", above=0.0
    )
    tie_margin: float = setting(
        0.5, "perceived difference, in temperatures, that is a tie", low=0.0
    )


def parse_options(spec: str, location: str, kind: type[Options]) -> Options:
    """Reads `name=value,...` as the fields of a dataclass of settings.

    Args:
      spec: the whole specification, for messages.
      location: the part to read.
      kind: of the options; what is not named is as there.

    Raises:
      ValueError: another form, a name that `kind` does not have, or a value that is not of its
        field's type and range.
    """
    options, hints = kind(), typing.get_type_hints(kind)
    for part in filter(None, location.split(",")):
        name, equals, text = part.partition("=")
        if not equals:
            raise ValueError(f"{spec!r}: got {part!r}, expected name=value,...")
        if name not in hints:
            raise unknown_name(f"option of {spec!r}:", name, hints)
        try:
            setattr(options, name, hints[name](text))
        except ValueError:
            allowed = expected(*limits_of(options, name))
            raise ValueError(f"{spec!r}: {name}: got {text!r}, expected {allowed}") from None
    validate(options, prefix=f"{spec!r}: ")
    return options


def user_prompt(task: EmbeddedTask) -> Conversation:
    """A task as a user asks it."""
    return (Message("user", task.prompt),)


def demonstrations(
    split: str = "train", count: int = 4000, seed: int = 0, sloppiness: float = 0.0
) -> tuple[Conversation, ...]:
    """Tasks with answers as people wrote them.

    Args:
      split: of the prompts.
      count: how many.
      seed: of all that is random; the first n of a larger count are those of n.
      sloppiness: share of the answers with a slip, which may leave them right.

    Raises:
      ValueError: no such split.
    """
    conversations = []
    for index in range(count):
        task = task_at(index, split, seed)
        rng = np.random.default_rng([seed, index, _DEMONSTRATIONS])
        words = task.answer.split()
        if rng.random() < sloppiness:
            words = _slip(task, words, rng)
        answer = Message("assistant", " ".join(words))
        conversations.append((*user_prompt(task), answer))
    return tuple(conversations)


def ranked_tasks(
    split: str = "train",
    count: int = 4000,
    seed: int = 0,
    answers: int = 4,
    annotators: int = 3,
    temperature: float = 0.2,
    tie_margin: float = 0.5,
) -> tuple[Ranking, ...]:
    """Tasks with answers of all qualities, ranked.

    Args:
      split: of the prompts.
      count: how many rankings.
      seed: of all that is random; the first n of a larger count are those of n.
      answers: K, different ones, 2 or more.
      annotators: how many rank each.
      temperature: gold reward whose difference makes a preference e times as likely as not.
      tie_margin: see `annotate`.

    Raises:
      ValueError: no such split, fewer than two answers, or no annotator.
    """
    rankings = []
    for index in range(count):
        task = task_at(index, split, seed)
        rng = np.random.default_rng([seed, index, _RANKINGS])
        texts = candidates(task, answers, rng)
        ranks = annotate(task, texts, rng, annotators, temperature, tie_margin)
        rankings.append(Ranking(user_prompt(task), texts, ranks))
    return tuple(rankings)


def candidates(task: EmbeddedTask, count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """`count` different answers to a task: right, nearly right, wrong, rambling, out of place."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        words = task.answer.split()
        for _ in range(rng.choice(len(_SLIPS), p=_SLIPS)):
            words = _slip(task, words, rng)
        texts[" ".join(words)] = None
    return tuple(texts)


def annotate(
    task: EmbeddedTask | str,
    responses: Sequence[str],
    rng: np.random.Generator,
    annotators: int = 3,
    temperature: float = 0.2,
    tie_margin: float = 0.5,
) -> tuple[tuple[int, ...], ...]:
    """Ranks answers as noisy annotators do.

    Args:
      task: what was asked, or its prompt.
      responses: K answers, from anywhere.
      rng: where the noise comes from.
      annotators: A.
      temperature: see `ranked_tasks`; above 0.
      tie_margin: of two answers next to each other in an annotator's order, how much better the
        first must be perceived not to be a tie, in units of `temperature`; 0: no ties.

    Returns:
      For each annotator a rank for each answer, 1 the best.
    """
    gold = np.array([gold_reward(task, response) for response in responses])
    all_ranks = []
    for _ in range(annotators):
        perceived = gold / temperature + rng.gumbel(size=len(gold))
        order = np.argsort(-perceived)
        is_worse = -np.diff(perceived[order]) > tie_margin
        ranks = np.empty(len(gold), int)
        ranks[order] = 1 + np.concatenate([[0], np.cumsum(is_worse)])
        all_ranks.append(tuple(ranks.tolist()))
    return tuple(all_ranks)


def _slip(task: EmbeddedTask, words: list[str], rng: np.random.Generator) -> list[str]:
    """An answer with something wrong in it, most likely."""
    words = list(words)
    number = next((i for i, word in enumerate(words) if word.isdecimal()), None)
    if number is not None and rng.random() < 0.5:
        words[number] = str(abs(int(words[number]) + int(rng.choice([-3, -2, -1, 1, 2, 3]))))
        return words
    choice = rng.integers(6)
    if choice == 0 and len(words) > 1:
        del words[rng.integers(len(words))]
    elif choice == 1 and len(words) > 1:
        at = rng.integers(len(words) - 1)
        words[at : at + 2] = words[at + 1], words[at]
    elif choice == 2 and words:
        words[rng.integers(len(words))] = _word(rng)
    elif choice == 3:
        words = (task.result if task.marked else REFUSAL).split()
    elif choice == 4 and task.kind not in ("add", "take"):
        kind = KINDS[rng.integers(4)]
        words = EmbeddedTask(kind, task.arguments).result.split()
    else:
        words += [_word(rng) for _ in range(rng.integers(1, _LONGEST_RAMBLE + 1))]
    return words


def _word(rng: np.random.Generator) -> str:
    return WORDS[rng.integers(len(WORDS))]
