"""Conversations or rankings held out, by what a user says first.

train, validation = hold_out(load_rankings("hh:harmless"), lambda ranking: ranking.prompt, 0.05)
"""

import collections
import hashlib
from collections.abc import Callable

from gptjax.data.corpora.division import held_out_rule
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.data.dialogue.records import Item, Records


def hold_out(
    records: Records[Item], conversation_of: Callable[[Item], Conversation], fraction: float
) -> tuple[Records[Item], Records[Item]]:
    """Splits a set so that all that begins alike is on one side, whatever else is in the set.

    Args:
      records: the set.
      conversation_of: what one of its items begins with.
      fraction: share that is held out; what is at one fraction is at every larger one. Where that
        leaves a side empty, one is held out, or one is not, see `held_out_rule`.

    Returns:
      What is left, with the counts of what was dropped before, and what is held out.

    Raises:
      ValueError: all begin alike, so that one of them is empty.
    """

    def number(item: Item) -> int:
        messages = conversation_of(item)
        first = next((m.content for m in messages if m.role == "user"), messages[0].content)
        return int.from_bytes(hashlib.sha256(first.encode()).digest()[:8], "big")

    numbers = [number(item) for item in records]
    apart = list(map(held_out_rule(collections.Counter(numbers), fraction), numbers))
    left = [item for item, held in zip(records, apart, strict=True) if not held]
    held_out = [item for item, held in zip(records, apart, strict=True) if held]
    for items, side in ((left, "left"), (held_out, "held out")):
        if not items:
            raise ValueError(
                f"{records.name!r}: got {len(records)} rows, none of them {side} at a fraction of "
                f"{fraction}, expected two at least that begin in different ways"
            )
    return (
        Records(records.name, tuple(left), records.dropped),
        Records(f"{records.name} (held out)", tuple(held_out)),
    )
