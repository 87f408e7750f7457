"""One of every registered attention pattern, for reports and benchmarks that leave none out.

patterns = registered_patterns(large=128, small=8)
"""

import dataclasses
import itertools
import typing

from gptjax.attention import PATTERNS, Pattern, parse


def registered_patterns(large: int, small: int) -> tuple[Pattern, ...]:
    """One pattern of each registered class, and one for each choice of its Literal fields.

    Args:
      large: the first field without a default: a window, stride, block or length, in positions.
      small: every other field without one: a summary, a dilation, a number of sinks.
    """
    made = []
    for name in PATTERNS:
        if name == "heads":
            made += parse(f"heads(strided(stride={large},part=1),strided(stride={large},part=2))")
            continue
        kind = PATTERNS.get(name)
        fields, hints = dataclasses.fields(kind), typing.get_type_hints(kind)
        needed = [field.name for field in fields if field.default is dataclasses.MISSING]
        values = {name: small if place else large for place, name in enumerate(needed)}
        choices = {
            field.name: typing.get_args(hints[field.name])
            for field in fields
            if typing.get_origin(hints[field.name]) is typing.Literal
        }
        for chosen in itertools.product(*choices.values()):
            made.append(kind(**values, **dict(zip(choices, chosen, strict=True))))
    return tuple(made)
