"""What may attend: an attention pattern is one predicate on (query, key) positions.

Everything else follows from the predicate: the dense reference, the block map of the fast path,
decoding from a cache. To add a pattern, register one frozen dataclass:

    @PATTERNS.register("even")
    @dataclasses.dataclass(frozen=True)
    class Even(Pattern):
        def __call__(self, q_pos, k_pos):
            return (q_pos - k_pos) % 2 == 0

Sources: banded (GPT-3's "locally banded sparse") is arXiv 2005.14165, section 2.1, after the
Sparse Transformer, arXiv 1904.10509.

    banded_or_even = parse("banded(window=256)|even")[0]
"""

import abc
import ast
import dataclasses
import typing
from typing import Any, ClassVar

from gptjax.registry import Registry

PATTERNS: Registry[type["Pattern"]] = Registry("attention pattern")


@dataclasses.dataclass(frozen=True)
class Pattern(abc.ABC):
    """A predicate on positions; subclasses define `__call__` and, for long texts, `bounds`.

    A pattern says nothing of causality unless it `states_order`; `in_order` adds it.
    """

    states_order: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Whether each query may attend to each key.

        Args:
            q_pos: integer array (NumPy or JAX) of query positions.
            k_pos: the same of key positions, broadcasting against `q_pos`.

        Returns:
            Boolean array of the broadcast shape.
        """

    def bounds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> tuple[Any, Any]:
        """What is known of whole blocks without looking at their pairs.

        Args:
            q_low: first query position of each block, an integer array; all four broadcast.
            q_high: last query position.
            k_low: first key position.
            k_high: last key position.

        Returns:
            (possible, certain): `possible` is False only where no pair of the block may attend,
            `certain` True only where every pair may. (True, False) claims nothing.
        """
        return True, False

    def __and__(self, other: "Pattern") -> "Pattern":
        return And(self, other)

    def __or__(self, other: "Pattern") -> "Pattern":
        return Or(self, other)

    def __str__(self) -> str:
        """The expression that `parse` reads back."""
        fields = [f"{f.name}={getattr(self, f.name)}" for f in dataclasses.fields(self)]
        name = next(name for name in PATTERNS if PATTERNS.get(name) is type(self))
        return f"{name}({','.join(fields)})" if fields else name


@dataclasses.dataclass(frozen=True)
class And(Pattern):
    """Pairs that both patterns allow; states an order if either does."""

    left: Pattern
    right: Pattern

    @property
    def states_order(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether either part does."""
        return self.left.states_order or self.right.states_order

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Allowed by both."""
        return self.left(q_pos, k_pos) & self.right(q_pos, k_pos)

    def bounds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> tuple[Any, Any]:
        """Possible where both are, certain where both are."""
        left = self.left.bounds(q_low, q_high, k_low, k_high)
        right = self.right.bounds(q_low, q_high, k_low, k_high)
        return left[0] & right[0], left[1] & right[1]

    def __str__(self) -> str:
        sides = (f"({p})" if isinstance(p, Or) else str(p) for p in (self.left, self.right))
        return "&".join(sides)


@dataclasses.dataclass(frozen=True)
class Or(Pattern):
    """Pairs that either pattern allows."""

    left: Pattern
    right: Pattern

    @property
    def states_order(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether each part does."""
        return self.left.states_order and self.right.states_order

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Allowed by either."""
        return self.left(q_pos, k_pos) | self.right(q_pos, k_pos)

    def bounds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> tuple[Any, Any]:
        """Possible where either is, certain where either is."""
        left = self.left.bounds(q_low, q_high, k_low, k_high)
        right = self.right.bounds(q_low, q_high, k_low, k_high)
        return left[0] | right[0], left[1] | right[1]

    def __str__(self) -> str:
        return f"{self.left}|{self.right}"


@dataclasses.dataclass(frozen=True)
class Causal(Pattern):
    """A query attends to itself and what came before; `in_order` adds it, never a config."""

    states_order: ClassVar[bool] = True

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """k_pos <= q_pos."""
        return k_pos <= q_pos

    def bounds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> tuple[Any, Any]:
        """Decided by the corners of the block."""
        return k_low <= q_high, k_high <= q_low

    def __str__(self) -> str:
        return "causal"


def in_order(pattern: Pattern) -> Pattern:
    """Adds causality to every part of `pattern` that does not state its own order."""
    if pattern.states_order:
        return pattern
    if isinstance(pattern, Or):
        return Or(in_order(pattern.left), in_order(pattern.right))
    return And(pattern, Causal())


@PATTERNS.register("dense")
@dataclasses.dataclass(frozen=True)
class Dense(Pattern):
    """Every query attends to every key."""

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """Always."""
        return abs(q_pos - k_pos) >= 0

    def bounds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> tuple[Any, Any]:
        """Every block is full."""
        return True, True


@PATTERNS.register("banded")
@dataclasses.dataclass(frozen=True)
class Banded(Pattern):
    """A query attends to keys nearer than `window` positions; itself counts as one."""

    window: int

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"banded: got window={self.window}, expected 1 or more")

    def __call__(self, q_pos: Any, k_pos: Any) -> Any:
        """|q_pos - k_pos| < window."""
        return abs(q_pos - k_pos) < self.window

    def bounds(self, q_low: Any, q_high: Any, k_low: Any, k_high: Any) -> tuple[Any, Any]:
        """Decided by the nearest and the farthest pair of the block."""
        possible = (k_low - q_high < self.window) & (q_low - k_high < self.window)
        certain = (k_high - q_low < self.window) & (q_high - k_low < self.window)
        return possible, certain


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
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        column = (error.offset or 1) - 1
        raise _unreadable(text, column, "patterns such as dense,banded(window=256)") from None
    parts = body.elts if isinstance(body, ast.Tuple) else [body]
    return tuple(_pattern(part, text.strip()) for part in parts)


def _pattern(node: ast.expr, text: str) -> Pattern:
    """The pattern that one expression of `parse` stands for."""
    match node:
        case ast.BinOp(left, ast.BitAnd(), right):
            return _pattern(left, text) & _pattern(right, text)
        case ast.BinOp(left, ast.BitOr(), right):
            return _pattern(left, text) | _pattern(right, text)
        case ast.Name(name):
            kind, arguments = name, []
        case ast.Call(ast.Name(name), [], keywords):
            kind, arguments = name, keywords
        case _:
            names = ", ".join(PATTERNS)
            raise _unreadable(text, node.col_offset, f"name or name(field=value) of: {names}")
    where = f"attention {text!r}, column {node.col_offset + 1}"
    try:
        pattern = PATTERNS.get(kind)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    types = typing.get_type_hints(pattern)
    fields = {f.name: types[f.name] for f in dataclasses.fields(pattern)}
    form = f"{kind}({', '.join(f'{n}: {t.__name__}' for n, t in fields.items())})"
    values = {}
    for argument in arguments:
        value = argument.value
        literal = value.value if isinstance(value, ast.Constant) else getattr(value, "id", None)
        if argument.arg not in fields or type(literal) is not fields[argument.arg]:
            raise _unreadable(text, argument.col_offset, form)
        values[argument.arg] = literal
    required = {f.name for f in dataclasses.fields(pattern) if f.default is dataclasses.MISSING}
    if not required <= values.keys():
        raise _unreadable(text, node.col_offset, form)
    try:
        return pattern(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _unreadable(text: str, column: int, expected: str) -> ValueError:
    got = text[column : column + 20] or "the end"
    return ValueError(f"attention {text!r}, column {column + 1}: got {got!r}, expected {expected}")
