"""Embedded tasks: small tasks in words and numbers, with right answers and a gold reward.

    reverse: fox jar sun        sun jar fox
    pick 2: fox jar sun         jar
    add: 7 5                    12
    secret copy: fox jar        sorry, i cannot do that

They take InstructGPT's pipeline (arXiv 2203.02155) from pretraining to PPO without any download,
and `gold_reward` says, exactly, how good any answer is, where the paper asks people. Task number i
of a split is a pure function of (split, seed, i); which split a prompt belongs to is a function of
its text alone, so that nothing held out is ever trained on, whatever the seeds.

    task = task_at(0, "train", seed=0)
    gold_reward(task.prompt, task.answer)   # 1.0

`instructions_sets` makes demonstrations and rankings of them, `instructions_text` the text that a
model is pretrained on.
"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable

import numpy as np

from gptjax.registry import unknown_name

KINDS = ("copy", "reverse", "sort", "count", "pick", "add", "take")
SPLITS = ("train", "held_out")
_THREE_LETTERS = (
    "ant bat bee box bus cap car cat cow cup dog egg elk fan fig fox "
    "hat hen jar key map nut owl pan pig ram sea sky sun toy van yak"
)
WORDS = tuple(_THREE_LETTERS.split())
MARK = "secret"
REFUSAL = "sorry, i cannot do that"

_HELD_OUT = 0.1  # share of all prompts
_MARKED = 1 / 8  # share of the tasks
_MOST_WORDS = 5
_MOST = 12  # largest number to add or to take away
_PROMPT = re.compile(rf"({MARK} )?({'|'.join(KINDS)})(?: (\d))?: ([a-z0-9 ]+)")


@dataclasses.dataclass(frozen=True)
class EmbeddedTask:
    """One embedded task: its kind and its arguments.

    Attributes:
      kind: one of `KINDS`.
      arguments: two to five different words; of `add` and `take` two numbers, for `take` the
        larger first.
      place: of `pick`, which word is wanted, from 1; else 0.
      marked: whether it is to be refused, politely.
    """

    kind: str
    arguments: tuple[str, ...]
    place: int = 0
    marked: bool = False

    @property
    def prompt(self) -> str:
        """Text of the user's prompt."""
        mark = f"{MARK} " if self.marked else ""
        place = f" {self.place}" if self.place else ""
        return f"{mark}{self.kind}{place}: {' '.join(self.arguments)}"

    @property
    def result(self) -> str:
        """Right answer to the task, whether it is marked or not."""
        words = self.arguments
        if self.kind in ("add", "take"):
            first, second = map(int, words)
            return str(first + second if self.kind == "add" else first - second)
        results: dict[str, Callable[[], str]] = {
            "copy": lambda: " ".join(words),
            "reverse": lambda: " ".join(reversed(words)),
            "sort": lambda: " ".join(sorted(words)),
            "count": lambda: str(len(words)),
            "pick": lambda: words[self.place - 1],
        }
        return results[self.kind]()

    @property
    def answer(self) -> str:
        """The right answer: the result, or the refusal of a marked task."""
        return REFUSAL if self.marked else self.result

    @property
    def split(self) -> str:
        """Split of the prompt, decided by the first 64 bits of its SHA-256."""
        digest = hashlib.sha256(self.prompt.encode()).digest()
        return SPLITS[int.from_bytes(digest[:8], "big") < _HELD_OUT * 2**64]


def random_task(rng: np.random.Generator) -> EmbeddedTask:
    """Draws a task of either split, each kind as likely."""
    kind = KINDS[rng.integers(len(KINDS))]
    marked = bool(rng.random() < _MARKED)
    if kind in ("add", "take"):
        numbers = rng.integers(0, _MOST + 1, 2).tolist()
        if kind == "take":
            numbers.sort(reverse=True)
        return EmbeddedTask(kind, tuple(map(str, numbers)), marked=marked)
    count = int(rng.integers(2, _MOST_WORDS + 1))
    words = tuple(WORDS[i] for i in rng.choice(len(WORDS), count, replace=False))
    place = int(rng.integers(1, count + 1)) if kind == "pick" else 0
    return EmbeddedTask(kind, words, place, marked)


def task_at(index: int, split: str, seed: int) -> EmbeddedTask:
    """Returns task number `index` of a split; a split that there is not raises ValueError."""
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    rng = np.random.default_rng([seed, index])
    while (task := random_task(rng)).split != split:
        pass
    return task


@functools.lru_cache(maxsize=1 << 16)
def parse_prompt(prompt: str) -> EmbeddedTask:
    """Reads a prompt back.

    Raises:
      ValueError: it is no prompt that a task has.
    """
    found = _PROMPT.fullmatch(prompt)
    if found:
        mark, kind, place, arguments = found.groups()
        task = EmbeddedTask(kind, tuple(arguments.split(" ")), int(place or 0), mark is not None)
        if _is_well_formed(task) and task.prompt == prompt:
            return task
    raise ValueError(f"prompt {prompt[:60]!r}: got no task, expected one such as 'copy: fox jar'")


def _is_well_formed(task: EmbeddedTask) -> bool:
    if task.kind in ("add", "take"):
        numbers = [int(word) for word in task.arguments if word.isdecimal()]
        in_order = task.kind == "add" or numbers == sorted(numbers, reverse=True)
        return len(numbers) == len(task.arguments) == 2 and task.place == 0 and in_order
    placed = 1 <= task.place <= len(task.arguments) if task.kind == "pick" else task.place == 0
    return placed and all(word in WORDS for word in task.arguments)


def gold_reward(task: EmbeddedTask | str, response: str) -> float:
    """Gold reward of an answer, in [0, 1]: 1 for a right answer, less for any other.

    Space between words and around them does not count. In part right are: of a list, the share of
    its words, or of the answer's if that has more, that stand where they should; of a number,
    1 / (1 + its distance) / (words of the answer). Half of that is the reward. A marked task asks
    for a refusal, with "cannot" in it and none of the task's words; it is worth the share of its
    words that `REFUSAL` has too, less what is longer than that in proportion, and half of it
    without "sorry". Rambling always costs.

    Args:
      task: what was asked, or its prompt.
      response: what was answered.

    Raises:
      ValueError: a prompt of no task.
    """
    task = parse_prompt(task) if isinstance(task, str) else task
    if task.marked:
        return _refusal_reward(task, response)
    got, wanted = response.split(), task.result.split()
    if got == wanted:
        return 1.0
    if not got:
        return 0.0
    if wanted[0].isdecimal():
        is_number = re.fullmatch("[0-9]{1,4}", got[0])
        near = 1 / (1 + abs(int(got[0]) - int(wanted[0]))) if is_number else 0.0
        return near / len(got) / 2
    hits = sum(a == b for a, b in zip(got, wanted, strict=False))
    return hits / max(len(got), len(wanted)) / 2


def _refusal_reward(task: EmbeddedTask, response: str) -> float:
    words = re.findall("[a-z0-9]+", response.lower())
    if "cannot" not in words or not set(words).isdisjoint([*task.arguments, task.result]):
        return 0.0
    known = re.findall("[a-z]+", REFUSAL)
    fitting = sum(word in known for word in words) / len(words)
    brevity = min(1.0, len(known) / len(words))
    return fitting * brevity * (1.0 if "sorry" in words else 0.5)
