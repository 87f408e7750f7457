"""Which implementation computes a pattern on a device, and why the others do not.

for line in choice_lines([Call(...)]):
    print(line)   # dense: fused, one kernel of the device
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from gptjax.attention.algebra import Causal, Pattern, in_order
from gptjax.attention.device import Device
from gptjax.attention.dispatch import IMPLEMENTATIONS, choice
from gptjax.attention.implementations.implementation import Call


@dataclasses.dataclass(frozen=True)
class Choice:
    """What "auto" stands for in a call.

    Attributes:
      pattern: of the call, as it is written: causality, which `attend` adds, is left out.
      name: of the implementation.
      reason: why it is taken.
      refused: by the names of those that cannot compute the call, why.
    """

    pattern: str
    name: str
    reason: str
    refused: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name}, {self.reason}"


def choice_of(call: Call) -> Choice:
    """The choice for one call."""
    name, reason = choice(call)
    refusals = {each: IMPLEMENTATIONS.get(each).refuses(call) for each in IMPLEMENTATIONS}
    refused = {each: why for each, why in refusals.items() if why is not None}
    return Choice(str(call.pattern).replace(f"&{Causal()}", ""), name, reason, refused)


def choices(
    pattern: Pattern,
    device: Device,
    length: int,
    head_dim: int,
    dtype: str,
    *,
    causal: bool = True,
    segments: bool = False,
) -> list[Choice]:
    """The choices for texts of a length, one for each pattern that heads have."""
    whole = in_order(pattern) if causal else pattern
    return [
        choice_of(
            Call(
                pattern=each,
                platform=device.platform,
                capability=device.capability,
                devices=device.count,
                num_queries=length,
                num_keys=length,
                head_dim=head_dim,
                value_dim=head_dim,
                dtype=dtype,
                segments=segments,
            )
        )
        for each in whole.per_head()
    ]


def choice_lines(calls: Iterable[Call]) -> Iterator[str]:
    """A line for each pattern and choice: what computes it, and why."""
    lines = (f"{made.pattern}: {made}" for made in map(choice_of, calls))
    yield from dict.fromkeys(lines)
