"""Attention patterns: each is one predicate on (query, key) positions.

Everything else follows from the predicate: the reference, the block map of the fast path, decoding
from a cache, cost estimates and pictures. To add a pattern, register one frozen dataclass:

    @PATTERNS.register("even")
    @dataclasses.dataclass(frozen=True)
    class Even(Pattern):
        def __call__(self, q_pos, k_pos):
            return (q_pos - k_pos) % 2 == 0

Below, i is the query, j the key, d = |i - j|; causality is added by `attend`. Sources: strided and
fixed, Sparse Transformer, arXiv 1904.10509, section 4.3; banded, GPT-3's "locally banded sparse",
arXiv 2005.14165, section 2.1; dilated and longformer, arXiv 2004.05150, section 3.1; sinks, arXiv
2309.17453, section 3.2; logsparse, arXiv 1907.00235, section 4.2; prefix, arXiv 1910.10683,
section 3.2.3.

    banded_or_sinks = parse("banded(window=256)|sinks(window=1,sinks=4)")[0]
"""

import dataclasses
import functools
from typing import Any, ClassVar, Literal

from gptjax.attention.algebra import PATTERNS, Causal, Heads, Pattern, at_least, in_order
from gptjax.attention.expressions import read
from gptjax.attention.primitives import (
    BlockOrder,
    Columns,
    Everything,
    FirstKeys,
    FirstQueries,
    Multiples,
    Near,
    PowersOfTwo,
    SameBlock,
)

__all__ = ["PATTERNS", "Pattern", "in_order", "parse", "parse_one"]

PATTERNS.register("heads")(Heads)

Part = Literal[1, 2, "both"]


def parse(text: str) -> tuple[Pattern, ...]:
    """Reads the patterns that a model cycles over its layers.

    Args:
      text: pattern expressions joined by commas. An expression is a registered name with its
        fields as keywords, `&`, `|` and parentheses: "dense,banded(window=256)".

    Returns:
      One pattern for each expression, in order.

    Raises:
      ValueError: in one line, with where in `text` and what was expected.
    """
    return read(text, PATTERNS, "attention")


@functools.cache
def parse_one(text: str) -> Pattern:
    """Reads one pattern from an expression such as "banded(window=256)"; errors as of `parse`."""
    first, *others = parse(text)
    if others:
        raise ValueError(
            f"attention {text!r}: got {1 + len(others)} patterns, expected one (commas make a "
            "list, which a model cycles over its layers)"
        )
    return first


@PATTERNS.register("dense")
@dataclasses.dataclass(frozen=True)
class Dense(Pattern):
    """Every query attends to every key."""

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Always."""
        return abs(q_pos - k_pos) >= 0

    def closed_form(self) -> Pattern:
        return Everything()


@PATTERNS.register("banded")
@dataclasses.dataclass(frozen=True)
class Banded(Pattern):
    """A query attends to keys nearer than `window` positions; itself counts as one."""

    window: int = at_least(1)

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """d < window."""
        return abs(q_pos - k_pos) < self.window

    def closed_form(self) -> Pattern:
        return Near(self.window)


@PATTERNS.register("block_local")
@dataclasses.dataclass(frozen=True)
class BlockLocal(Pattern):
    """A query attends within its own block of `block` positions."""

    block: int = at_least(1)

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """The same block."""
        return q_pos // self.block == k_pos // self.block

    def closed_form(self) -> Pattern:
        return SameBlock(self.block)


@PATTERNS.register("strided")
@dataclasses.dataclass(frozen=True)
class Strided(Pattern):
    """The last `stride` positions (part 1), every `stride`-th position (part 2), or both."""

    stride: int = at_least(1, within_length=True)
    part: Part = "both"

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Part 1: d <= stride; part 2: d mod stride = 0."""
        near, apart = abs(q_pos - k_pos) <= self.stride, (q_pos - k_pos) % self.stride == 0
        return _part(self.part, near, apart)

    def closed_form(self) -> Pattern:
        return _part(self.part, Near(self.stride + 1), Multiples(self.stride))


@PATTERNS.register("fixed")
@dataclasses.dataclass(frozen=True)
class Fixed(Pattern):
    """A query's own block of `stride` (part 1), a summary of every block (part 2), or both.

    The summary is the last `summary` positions of a block, or the sub-block `offset` before them:
    heads over offsets are the paper's better variant.
    """

    stride: int = at_least(1, within_length=True)
    summary: int = at_least(1)
    part: Part = "both"
    offset: int = at_least(0, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.columns.low < 0:
            raise ValueError(
                f"{self}: got summary={self.summary} with offset={self.offset}, expected "
                "summary * (offset + 1) to be at most the stride"
            )

    @property
    def columns(self) -> Columns:
        """The keys of part 2."""
        low = self.stride - self.summary * (self.offset + 1)
        return Columns(self.stride, low, low + self.summary)

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Part 1: the same block; part 2: low <= j mod stride < low + summary."""
        same, place = q_pos // self.stride == k_pos // self.stride, k_pos % self.stride
        summary = (place >= self.columns.low) & (place < self.columns.high)
        return _part(self.part, same, summary)

    def closed_form(self) -> Pattern:
        return _part(self.part, SameBlock(self.stride), self.columns)


@PATTERNS.register("dilated")
@dataclasses.dataclass(frozen=True)
class Dilated(Pattern):
    """`window` positions, `dilation` apart."""

    window: int = at_least(1)
    dilation: int = at_least(1)

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """d is a multiple of dilation and below window * dilation."""
        d = abs(q_pos - k_pos)
        return (d % self.dilation == 0) & (d < self.window * self.dilation)

    def closed_form(self) -> Pattern:
        return Multiples(self.dilation) & Near(self.window * self.dilation)


@PATTERNS.register("sinks")
@dataclasses.dataclass(frozen=True)
class Sinks(Pattern):
    """A band, and the first `sinks` positions from everywhere."""

    window: int = at_least(1)
    sinks: int = at_least(0)

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """d < window, or j < sinks."""
        return (abs(q_pos - k_pos) < self.window) | (k_pos < self.sinks)

    def closed_form(self) -> Pattern:
        return Near(self.window) | FirstKeys(self.sinks)


@PATTERNS.register("longformer")
@dataclasses.dataclass(frozen=True)
class Longformer(Pattern):
    """A band, and `global_tokens` first positions that attend to all and are attended by all."""

    window: int = at_least(1)
    global_tokens: int = at_least(0)

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """d < window, or j < global_tokens, or i < global_tokens."""
        near = abs(q_pos - k_pos) < self.window
        return near | (k_pos < self.global_tokens) | (q_pos < self.global_tokens)

    def closed_form(self) -> Pattern:
        first = FirstKeys(self.global_tokens) | FirstQueries(self.global_tokens)
        return Near(self.window) | first


@PATTERNS.register("logsparse")
@dataclasses.dataclass(frozen=True)
class LogSparse(Pattern):
    """A band, and distances that are powers of two."""

    window: int = at_least(1)

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """d < window, or d a power of two."""
        d = abs(q_pos - k_pos)
        return (d < self.window) | ((d > 0) & (d & (d - 1) == 0))

    def closed_form(self) -> Pattern:
        return Near(self.window) | PowersOfTwo()


@PATTERNS.register("prefix")
@dataclasses.dataclass(frozen=True)
class Prefix(Pattern):
    """A prefix LM: causal, but the first `length` positions see each other."""

    length: int = at_least(0)
    states_order: ClassVar[bool] = True

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """j <= i, or both i and j < length."""
        return (k_pos <= q_pos) | ((q_pos < self.length) & (k_pos < self.length))

    def closed_form(self) -> Pattern:
        return Causal() | FirstKeys(self.length) & FirstQueries(self.length)


@PATTERNS.register("block_causal")
@dataclasses.dataclass(frozen=True)
class BlockCausal(Pattern):
    """Causal between blocks of `block` positions, everything within one."""

    block: int = at_least(1)
    states_order: ClassVar[bool] = True

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Block of j <= block of i."""
        return k_pos // self.block <= q_pos // self.block

    def closed_form(self) -> Pattern:
        return BlockOrder(self.block)


def _part(part: Part, first: Any, second: Any) -> Any:
    """Combines two predicates' answers, or two patterns, as `part` says."""
    return first | second if part == "both" else first if part == 1 else second
