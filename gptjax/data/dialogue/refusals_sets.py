"""Demonstrations of answers to made-up requests, by people who do not always refuse as they should.

    requests = made_requests(split="held_out", kind="disallowed", count=500)
    conversations = refusal_demonstrations(count=4000, complying=0.4, refusing=0.2)

As a set's location, arguments are written `refusals:split=held_out,count=500`.
"""

import dataclasses

import numpy as np

from gptjax.data.dialogue.chat_format import Conversation, Message
from gptjax.data.dialogue.instructions import SPLITS
from gptjax.data.dialogue.refusals import KINDS, REFUSAL, UNDESIRED, Request, request_at
from gptjax.settings import setting

BOTH = "both"
_DEMONSTRATIONS = 1  # stream of randomness of a seed


@dataclasses.dataclass
class RefusalOptions:
    """Options of a set: the arguments of `refusal_demonstrations`."""

    split: str = setting("train", "split that frames and topics are of", choices=SPLITS)
    kind: str = setting(BOTH, "requests that are taken", choices=(BOTH, *KINDS))
    count: int = setting(4000, "requests that are drawn, of both kinds", low=1)
    seed: int = setting(0, "seed of all that is random", low=0)
    complying: float = setting(
        0.0, "share of disallowed requests that are answered", low=0.0, high=1.0
    )
    refusing: float = setting(0.0, "share of allowed requests that are refused", low=0.0, high=1.0)
    undesired: float = setting(
        0.0, "share of all requests that are refused in an undesired style", low=0.0, high=1.0
    )


def made_requests(
    split: str = "train",
    kind: str = BOTH,
    count: int = 4000,
    seed: int = 0,
    frames: str | None = None,
) -> tuple[Request, ...]:
    """Those of the first `count` requests of a seed that are of a kind, each once.

    `frames` is the split of the frames; None: that of the topics.
    """
    drawn = dict.fromkeys(request_at(index, split, seed, frames) for index in range(count))
    return tuple(request for request in drawn if kind in (BOTH, request.kind))


def refusal_demonstrations(
    split: str = "train",
    kind: str = BOTH,
    count: int = 4000,
    seed: int = 0,
    complying: float = 0.0,
    refusing: float = 0.0,
    undesired: float = 0.0,
) -> tuple[Conversation, ...]:
    """Requests with answers as people wrote them.

    Args:
      split: of frames and topics.
      kind: allowed, disallowed or both.
      count: requests that are drawn; those of one kind are about half, and each is taken once.
      seed: of all that is random.
      complying: share of the disallowed requests that are answered all the same.
      refusing: share of the allowed requests that are refused, in the desired style.
      undesired: share of all requests that are refused in an undesired style. It goes before.
    """
    conversations = []
    for number, request in enumerate(made_requests(split, kind, count, seed)):
        draw = np.random.default_rng([seed, number, _DEMONSTRATIONS]).random()
        wrong = complying if request.kind == "disallowed" else refusing
        if draw < undesired:
            said = UNDESIRED[int(draw / undesired * len(UNDESIRED))]
        elif (draw - undesired) / (1 - undesired) < wrong:
            said = request.explained if request.kind == "disallowed" else REFUSAL
        else:
            said = request.answer
        conversations.append((Message("user", request.prompt), Message("assistant", said)))
    return tuple(conversations)
