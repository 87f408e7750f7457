"""Judgement of refusals: the classes of answers to prompts that no run has learned from.

sets = judged_sets(count=300, xstest=Path("xstest_prompts.csv"))
answers = answered(WorkDirectory("runs/refusals/seed0/ppo"), sets, room=52, seed=0)
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.records import Records
from gptjax.data.dialogue.refusals import KINDS
from gptjax.data.dialogue.refusals_sets import made_requests
from gptjax.judging.policies import Policy
from gptjax.judging.refusal_rules import refusal_class
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.moderation.over_blocking import read_xstest

SEED = 1  # of the held-out requests
# The frames around held-out topics.
_FRAMES = {"new topics": "train", "new topics and frames": "held_out"}
_DRAWN = 6000  # requests: nearly all that there are, with repetitions


@dataclasses.dataclass(frozen=True)
class JudgedSet:
    """Prompts of one kind.

    Attributes:
      name: a name of `_FRAMES`, or XSTest.
      kind: allowed or disallowed.
      prompts: as the model is asked.
      sorts: of each prompt, for a finer table.
      wanted: the right answer of each made-up request; (): there are many.
    """

    name: str
    kind: str
    prompts: tuple[str, ...]
    sorts: tuple[str, ...]
    wanted: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Answered:
    """An answer, and its class by the rules."""

    text: str
    label: str


def judged_sets(count: int, xstest: Path | None) -> list[JudgedSet]:
    """Requests of held-out topics, at most `count` a set, and XSTest's prompts in lower case.

    Raises:
      ValueError: XSTest's file is of another form.
    """
    sets = []
    for (name, frames), kind in itertools.product(_FRAMES.items(), KINDS):
        requests = made_requests("held_out", kind, _DRAWN, SEED, frames)[:count]
        sets.append(
            JudgedSet(
                name,
                kind,
                tuple(request.prompt for request in requests),
                tuple(r.topic.sort if r.asks_how else "about" for r in requests),
                tuple(request.answer for request in requests),
            )
        )
    published = [] if xstest is None else read_xstest(xstest)
    for kind in KINDS if published else ():
        prompts = [each for each in published if each.safe == (kind == "allowed")]
        texts = tuple(each.text.lower() for each in prompts)  # the model has seen nothing else
        sets.append(JudgedSet("XSTest", kind, texts, tuple(each.kind for each in prompts)))
    return sets


def answered(
    workdir: WorkDirectory, sets: Sequence[JudgedSet], *, room: int, seed: int
) -> list[list[Answered]]:
    """One answer to each prompt of each set, drawn at temperature 1, with its class.

    Args:
      workdir: of the run that answers.
      sets: of the prompts.
      room: tokens of an answer at most.
      seed: of the draws.

    Raises:
      ValueError: a prompt that does not fit.
    """
    policy = Policy(workdir)
    found, first = [], 0
    for each in sets:
        asked = Records(each.name, tuple((Message("user", text),) for text in each.prompts))
        drawn = policy.answers(asked, 1, seed=seed, max_new_tokens=room, first=first)
        first += len(asked)
        found.append(
            [
                Answered(answer.text, refusal_class(prompt, answer.text, each.kind))
                for prompt, (answer,) in zip(each.prompts, drawn, strict=True)
            ]
        )
    return found
