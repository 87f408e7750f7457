"""Many patterns in one text, and so in one program."""

import dataclasses

import numpy as np

from gptjax.attention.patterns import Pattern, in_order
from tests.attention import oracle

# Every pattern alone, those of heads too, causality included.
ALONE = [in_order(part) for example in oracle.EXAMPLES for part in example.per_head()]


@dataclasses.dataclass(frozen=True)
class Sections(Pattern):
    """Each pattern holds in a section of `length` positions of its own."""

    patterns: tuple[Pattern, ...]
    length: int
    states_order = True

    def __call__(self, q_pos, k_pos):
        section, q, k = q_pos // self.length, q_pos % self.length, k_pos % self.length
        allowed = False
        for i, pattern in enumerate(self.patterns):
            allowed |= (section == i) & pattern(q, k)
        return allowed & (section == k_pos // self.length)


def every_pattern(length):
    """`ALONE` in sections of `length`, and who may attend by the oracle: bool [1, 1, T, T]."""
    size = length * len(ALONE)
    allowed = np.zeros((1, 1, size, size), bool)
    parts = [part for example in oracle.EXAMPLES for part in example.per_head()]
    for i, part in enumerate(parts):
        here = slice(i * length, (i + 1) * length)
        allowed[:, :, here, here] = oracle.effective(part, 1, length, length)
    return Sections(tuple(ALONE), length), allowed
