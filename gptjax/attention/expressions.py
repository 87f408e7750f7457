"""Short expressions in configurations: registered names with their fields as keywords.

    read("banded(window=256)|dense", PATTERNS, "attention")

A class of the registry is a dataclass whose fields are int, float, Literal, or one tuple of further
expressions: "heads(dense,banded(window=4))".
"""

import ast
import dataclasses
import typing
from typing import Any

from gptjax.registry import Registry


def read(text: str, registry: Registry[Any], what: str) -> tuple[Any, ...]:
    """Reads the objects that expressions joined by commas stand for.

    Args:
      text: each expression is a name with its fields as keywords; `&`, `|` and parentheses
        combine objects that define them.
      registry: dataclasses by name.
      what: what the text is called in errors: "attention".

    Returns:
      One object for each expression, in order.

    Raises:
      ValueError: in one line, with where in `text` and what was expected.
    """
    return _Reader(text.strip(), registry, what).read()


@dataclasses.dataclass(frozen=True)
class _Reader:
    text: str
    registry: Registry[Any]
    what: str

    def read(self) -> tuple[Any, ...]:
        self.refuse_unpaired_parentheses()
        try:
            body = ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            names = ", ".join(self.registry)
            raise self.unreadable((error.offset or 1) - 1, f"expressions of: {names}") from None
        parts = body.elts if isinstance(body, ast.Tuple) else [body]
        if not parts:
            raise self.unreadable(0, f"expressions of: {', '.join(self.registry)}")
        return tuple(self.expression(part) for part in parts)

    def refuse_unpaired_parentheses(self) -> None:
        opened: list[int] = []
        for column, character in enumerate(self.text):
            if character == "(":
                opened.append(column)
            elif character == ")":
                if not opened:
                    raise self.unreadable(column, "a '(' before it")
                opened.pop()
        if opened:
            raise self.unreadable(opened[-1], "a ')' that closes this '('")

    def expression(self, node: ast.expr) -> Any:
        match node:
            case ast.BinOp(left, ast.BitAnd() | ast.BitOr() as operator, right):
                sides = self.expression(left), self.expression(right)
                name = "__and__" if isinstance(operator, ast.BitAnd) else "__or__"
                if not hasattr(sides[0], name):
                    raise self.unreadable(node.col_offset, "one name, not a combination")
                return getattr(sides[0], name)(sides[1])
            case ast.Name(name):
                return self.call(node, name, [], [])
            case ast.Call(ast.Name(name), positional, keywords):
                return self.call(node, name, positional, keywords)
        names = ", ".join(self.registry)
        raise self.unreadable(node.col_offset, f"name or name(field=value) of: {names}")

    def call(
        self, node: ast.expr, name: str, positional: list[ast.expr], keywords: list[ast.keyword]
    ) -> Any:
        try:
            kind = self.registry.get(name)
        except ValueError as error:
            raise ValueError(f"{self.where(node.col_offset)}: {error}") from None
        hints = typing.get_type_hints(kind)
        hints = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
        several = next((f for f, hint in hints.items() if typing.get_origin(hint) is tuple), None)
        form = f"{name}({', '.join(f'{f}: {_words(hint)}' for f, hint in hints.items())})"
        values: dict[str, Any] = {}
        if several is not None:
            form = f"{name}(expression, expression, ...)"
            values[several] = tuple(self.expression(part) for part in positional)
        elif positional:
            raise self.unreadable(positional[0].col_offset, form)
        for keyword in keywords:
            value = _literal(keyword.value)
            if keyword.arg not in hints or not _fits(value, hints[keyword.arg]):
                raise self.unreadable(keyword.col_offset, form)
            values[keyword.arg] = value
        required = {f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING}
        if not required <= values.keys():
            raise self.unreadable(node.col_offset, form)
        try:
            return kind(**values)
        except ValueError as error:
            raise ValueError(f"{self.where(node.col_offset)}: {error}") from None

    def where(self, column: int) -> str:
        return f"{self.what} {self.text!r}, column {column + 1}"

    def unreadable(self, column: int, expected: str) -> ValueError:
        got = self.text[column : column + 20] or "the end"
        return ValueError(f"{self.where(column)}: got {got!r}, expected {expected}")


def _literal(node: ast.expr) -> Any:
    """The number a node holds, or the bare word; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) is typing.Literal:
        return any(value == option and type(value) is type(option) for option in hint.__args__)
    return type(value) is hint or (hint is float and type(value) is int)


def _words(hint: Any) -> str:
    return "|".join(map(str, typing.get_args(hint))) or hint.__name__
