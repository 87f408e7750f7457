"""Predicates that answer for whole blocks exactly; the closed forms of `patterns.py` combine them.

FirstKeys(4) | FirstQueries(4)   # Longformer's global tokens
"""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from gptjax.attention.algebra import FULL, OfDistance, Pattern, Reach, Repeats, kinds


@dataclasses.dataclass(frozen=True)
class Everything(OfDistance):
    """All pairs."""

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Always."""
        return q_pos == q_pos

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        return np.int8(FULL)


@dataclasses.dataclass(frozen=True)
class Near(OfDistance):
    """Distances below `window`."""

    window: int

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """|i - j| < window."""
        return abs(q_pos - k_pos) < self.window

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        nearest, farthest = _distances(q_low, q_high, k_low, k_high)
        return kinds(nearest < self.window, farthest < self.window)

    @property
    def reach(self) -> Reach:
        return Reach(self.window)


@dataclasses.dataclass(frozen=True)
class SameBlock(Pattern):
    """Query and key in the same `block` positions."""

    block: int

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """i // block == j // block."""
        return q_pos // self.block == k_pos // self.block

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        q_first, q_last = q_low // self.block, q_high // self.block
        k_first, k_last = k_low // self.block, k_high // self.block
        same = (q_first == q_last) & (k_first == k_last) & (q_first == k_first)
        return kinds((k_first <= q_last) & (q_first <= k_last), same)

    @property
    def reach(self) -> Reach:
        return Reach(self.block)

    def repeats(self) -> Repeats:
        return Repeats(self.block)


@dataclasses.dataclass(frozen=True)
class BlockOrder(Pattern):
    """The key's block of `block` positions is the query's or an earlier one."""

    block: int
    states_order: ClassVar[bool] = True

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """j // block <= i // block."""
        return k_pos // self.block <= q_pos // self.block

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        size = self.block
        return kinds(k_low // size <= q_high // size, k_high // size <= q_low // size)

    def repeats(self) -> Repeats:
        return Repeats(self.block)


@dataclasses.dataclass(frozen=True)
class _FirstPositions(Pattern):
    """A predicate on the first `length` positions, of queries or of keys."""

    length: int

    @property
    def reach(self) -> Reach:
        return Reach(0, self.length)

    def repeats(self) -> Repeats:
        return Repeats(1, after=self.length)


@dataclasses.dataclass(frozen=True)
class FirstKeys(_FirstPositions):
    """The first `length` positions are attended from everywhere."""

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """J < length."""
        return k_pos < self.length

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        return kinds(k_low < self.length, k_high < self.length)


@dataclasses.dataclass(frozen=True)
class FirstQueries(_FirstPositions):
    """The first `length` positions attend to everything."""

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """I < length."""
        return q_pos < self.length

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        return kinds(q_low < self.length, q_high < self.length)


@dataclasses.dataclass(frozen=True)
class Multiples(OfDistance):
    """Distances that are multiples of `stride`."""

    stride: int

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """(i - j) mod stride = 0."""
        return (q_pos - k_pos) % self.stride == 0

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        low, high = q_low - k_high, q_high - k_low
        count = high // self.stride - (low - 1) // self.stride
        return kinds(count > 0, count == high - low + 1)


@dataclasses.dataclass(frozen=True)
class Columns(Pattern):
    """Keys at the places [low, high) of every `stride` positions."""

    stride: int
    low: int
    high: int

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Low <= j mod stride < high."""
        place = k_pos % self.stride
        return (place >= self.low) & (place < self.high)

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        def before(position: Any) -> Any:
            """Number of such keys before a position."""
            blocks, place = position // self.stride, position % self.stride
            width = self.high - self.low
            return blocks * width + np.clip(place - self.low, 0, width)

        count = before(k_high + 1) - before(k_low)
        return kinds(count > 0, count == k_high + 1 - k_low)

    def repeats(self) -> Repeats:
        return Repeats(self.stride)


@dataclasses.dataclass(frozen=True)
class PowersOfTwo(OfDistance):
    """Distances 1, 2, 4, 8, ..."""

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """|i - j| is a power of two."""
        d = abs(q_pos - k_pos)
        return (d > 0) & (d & (d - 1) == 0)

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        nearest, farthest = _distances(q_low, q_high, k_low, k_high)
        powers = 1 << np.arange(62)
        count = np.searchsorted(powers, farthest, "right") - np.searchsorted(powers, nearest)
        return kinds(count > 0, count == farthest - nearest + 1)


def _distances(q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> tuple[Any, Any]:
    """The least and the largest |i - j| in a block, which holds all between them."""
    nearest = np.maximum(np.maximum(k_low - q_high, q_low - k_high), 0)
    return nearest, np.maximum(k_high - q_low, q_high - k_low)
