"""The algebra of attention patterns: what a predicate on positions is, how predicates combine.

A `Pattern` answers for pairs of positions and, where it can, for whole rectangles of them in
closed form; `&`, `|` and `Heads` combine both kinds of answer, `in_order` adds causality. The
patterns themselves are in `patterns.py`.

    pattern = in_order(Banded(256) | FirstKeys(4))
"""

import abc
import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gptjax.registry import Registry

PATTERNS: Registry[type["Pattern"]] = Registry("attention pattern")

UNKNOWN, EMPTY, PARTIAL, FULL = -1, 0, 1, 2


class Reach(NamedTuple):
    """Keys within reach of a causal query: those near it, and the first of the text.

    Attributes:
      near: keys less than `near` positions back, itself included; None is no bound.
      first: keys at positions below `first`, from anywhere.
    """

    near: int | None
    first: int = 0


class Repeats(NamedTuple):
    """Moving a query and a key by `every` positions changes nothing, from position `after` on."""

    every: int
    after: int = 0


def at_least(low: int, *, default: Any = dataclasses.MISSING, within_length: bool = False) -> Any:
    """A pattern's integer field, `low` or more; perhaps no more than the length of the text."""
    limits = {"low": low, "within_length": within_length}
    return dataclasses.field(default=default, metadata=limits)


@dataclasses.dataclass(frozen=True)
class Pattern(abc.ABC):
    """A predicate on positions; subclasses define `__call__` and, for long texts, `closed_form`.

    A pattern says nothing of causality unless it `states_order`; `in_order` adds it.
    """

    states_order: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, low = getattr(self, field.name), field.metadata.get("low")
            if low is not None and value < low:
                raise ValueError(f"{self}: got {field.name}={value}, expected {low} or more")

    @abc.abstractmethod
    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Whether each query may attend to each key.

        Args:
          q_pos: query positions, int32 of JAX or int64 of NumPy.
          k_pos: the same of key positions, broadcasting against `q_pos`.

        Returns:
          Boolean array that broadcasts to their common shape.
        """

    def closed_form(self) -> "Pattern | None":
        """The same predicate made of `primitives`, from which blocks and reach follow."""
        return None

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        """Classifies whole blocks of pairs without looking at each pair.

        Args:
          q_low: first query position of each block, an integer array; all four broadcast.
          q_high: last query position.
          k_low: first key position.
          k_high: last key position.

        Returns:
          EMPTY where no pair of the block may attend, FULL where every pair may, PARTIAL where
          some may and some may not, UNKNOWN where only a look at the pairs would tell.
        """
        form = self.closed_form()
        return UNKNOWN if form is None else form.block_kinds(q_low, q_high, k_low, k_high)

    @property
    def reach(self) -> Reach:
        """The keys a query may attend to under causality, or more of them."""
        form = self.closed_form()
        return Reach(None) if form is None else form.reach

    @property
    def looks_ahead(self) -> bool:
        """Whether some part states its own order, so that a query may see what comes after it."""
        return self.states_order

    def repeats(self) -> Repeats | None:
        """Period of the predicate along the diagonal; None where it is not known."""
        form = self.closed_form()
        return None if form is None else form.repeats()

    def per_head(self) -> tuple["Pattern", ...]:
        """The patterns that the query heads cycle through; one, but for `heads(...)`."""
        return (self,)

    def check(self, length: int) -> None:
        """Refuses a pattern made for longer texts than `length` positions, with a ValueError."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata.get("within_length") and value > length:
                raise ValueError(
                    f"{self}: got {field.name}={value}, expected at most the length, {length}"
                )

    def __and__(self, other: "Pattern") -> "Pattern":
        return _combine(And, self, other)

    def __or__(self, other: "Pattern") -> "Pattern":
        return _combine(Or, self, other)

    def __invert__(self) -> "Pattern":
        return Not(self)

    def __str__(self) -> str:
        """The expression that `parse` reads back."""
        fields = [f"{f.name}={getattr(self, f.name)}" for f in dataclasses.fields(self)]
        names = (name for name in PATTERNS if PATTERNS.get(name) is type(self))
        name = next(names, type(self).__name__)
        return f"{name}({','.join(fields)})" if fields else name


@dataclasses.dataclass(frozen=True)
class Not(Pattern):
    """Pairs that a pattern does not allow."""

    pattern: Pattern

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Allowed where `pattern` is not."""
        return ~self.pattern(q_pos, k_pos)

    def repeats(self) -> Repeats | None:
        return self.pattern.repeats()

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        known = self.pattern.block_kinds(q_low, q_high, k_low, k_high)
        return np.where(known == FULL, EMPTY, np.where(known == EMPTY, FULL, known))


@dataclasses.dataclass(frozen=True)
class _Pair(Pattern):
    """Two patterns made one."""

    left: Pattern
    right: Pattern

    def repeats(self) -> Repeats | None:
        left, right = self.left.repeats(), self.right.repeats()
        if left is None or right is None:
            return None
        return Repeats(math.lcm(left.every, right.every), max(left.after, right.after))

    def check(self, length: int) -> None:
        self.left.check(length)
        self.right.check(length)


@dataclasses.dataclass(frozen=True)
class And(_Pair):
    """Pairs that both patterns allow; states an order if either does."""

    @property
    def states_order(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether either part states its own order."""
        return self.left.states_order or self.right.states_order

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Allowed by both."""
        return self.left(q_pos, k_pos) & self.right(q_pos, k_pos)

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        left = self.left.block_kinds(q_low, q_high, k_low, k_high)
        right = self.right.block_kinds(q_low, q_high, k_low, k_high)
        return _joined(left, right, neutral=FULL, decisive=EMPTY)

    @property
    def reach(self) -> Reach:
        left, right = self.left.reach, self.right.reach
        if left.near is None or right.near is None:
            return right if left.near is None else left
        return Reach(min(left.near, right.near), max(left.first, right.first))

    def __str__(self) -> str:
        sides = (f"({p})" if isinstance(p, Or) else str(p) for p in (self.left, self.right))
        return "&".join(sides)


@dataclasses.dataclass(frozen=True)
class Or(_Pair):
    """Pairs that either pattern allows; states an order if both do."""

    @property
    def states_order(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both parts state their own order."""
        return self.left.states_order and self.right.states_order

    @property
    def looks_ahead(self) -> bool:
        return self.left.looks_ahead or self.right.looks_ahead

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Allowed by either."""
        return self.left(q_pos, k_pos) | self.right(q_pos, k_pos)

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        left = self.left.block_kinds(q_low, q_high, k_low, k_high)
        right = self.right.block_kinds(q_low, q_high, k_low, k_high)
        return _joined(left, right, neutral=EMPTY, decisive=FULL)

    @property
    def reach(self) -> Reach:
        return _farther(self.left.reach, self.right.reach)

    def __str__(self) -> str:
        return f"{self.left}|{self.right}"


@dataclasses.dataclass(frozen=True)
class Heads(Pattern):
    """Patterns that differ between heads: query head h has `patterns[h % len(patterns)]`.

    Called, it answers whether any head may attend; `attend` takes it apart before that.
    """

    patterns: tuple[Pattern, ...]

    def __post_init__(self) -> None:
        if not self.patterns or any(isinstance(part, Heads) for part in self.patterns):
            raise ValueError(
                f"{self}: expected one or more patterns that are the same in all heads"
            )

    @property
    def states_order(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the pattern of every head states its own order."""
        return all(part.states_order for part in self.patterns)

    @property
    def looks_ahead(self) -> bool:
        return any(part.looks_ahead for part in self.patterns)

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Allowed in some head."""
        allowed = self.patterns[0](q_pos, k_pos)
        for part in self.patterns[1:]:
            allowed = allowed | part(q_pos, k_pos)
        return allowed

    @property
    def reach(self) -> Reach:
        reach = self.patterns[0].reach
        for part in self.patterns[1:]:
            reach = _farther(reach, part.reach)
        return reach

    def per_head(self) -> tuple[Pattern, ...]:
        return self.patterns

    def check(self, length: int) -> None:
        for part in self.patterns:
            part.check(length)

    def __str__(self) -> str:
        return f"heads({','.join(map(str, self.patterns))})"


@dataclasses.dataclass(frozen=True)
class OfDistance(Pattern):
    """A predicate on i - j alone."""

    def repeats(self) -> Repeats:
        return Repeats(1)


@dataclasses.dataclass(frozen=True)
class Causal(OfDistance):
    """A query attends to itself and what came before; `in_order` adds it, never a config."""

    states_order: ClassVar[bool] = True

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """k_pos <= q_pos."""
        return k_pos <= q_pos

    def block_kinds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> Any:
        return kinds(k_low <= q_high, k_high <= q_low)


def in_order(pattern: Pattern) -> Pattern:
    """Adds causality to every part of `pattern` that does not state its own order."""
    if pattern.states_order:
        return pattern
    if isinstance(pattern, Heads):
        return Heads(tuple(in_order(part) for part in pattern.patterns))
    if isinstance(pattern, Or):
        return Or(in_order(pattern.left), in_order(pattern.right))
    return And(pattern, Causal())


def kinds(any_pair: Any, every_pair: Any) -> Any:
    """Block kinds from two exact answers: whether some pair, and whether every pair, may attend."""
    return np.where(every_pair, FULL, np.where(any_pair, PARTIAL, EMPTY))


def _joined(left: Any, right: Any, *, neutral: int, decisive: int) -> Any:
    """Kinds of a combination: `neutral` on one side leaves the other's, `decisive` settles it."""
    settled = np.where((left == decisive) | (right == decisive), decisive, UNKNOWN)
    return np.where(left == neutral, right, np.where(right == neutral, left, settled))


def _farther(left: Reach, right: Reach) -> Reach:
    first = max(left.first, right.first)
    if left.near is None or right.near is None:
        return Reach(None, first)
    return Reach(max(left.near, right.near), first)


def _combine(kind: type[_Pair], left: Pattern, right: Pattern) -> Pattern:
    """`kind(left, right)`, head by head where either differs between heads."""
    cycles = left.per_head(), right.per_head()
    if len(cycles[0]) == len(cycles[1]) == 1:
        return kind(left, right)
    period = math.lcm(len(cycles[0]), len(cycles[1]))
    pairs = ((cycles[0][h % len(cycles[0])], cycles[1][h % len(cycles[1])]) for h in range(period))
    return Heads(tuple(kind(*pair) for pair in pairs))
