"""Fields of request bodies: one table says what is read, checked and documented.

    FIELDS = fields_of(Field("temperature", {"type": "number", "minimum": 0, "maximum": 2}, "..."))
    values = read(body, FIELDS)

A schema is JSON Schema's: type, enum, minimum, maximum, minLength, maxLength, minItems, maxItems,
items, properties, required, additionalProperties and anyOf. Every field that is not required may be
null, which is as if it were absent. What is not in the table is refused by name.
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from gptjax.serving.errors import APIError

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a body.

    Attributes:
      name: of the field.
      schema: what it may be.
      about: one sentence for the document of the API.
      required: whether it must be there.
      neutral: of a field that this server does not support, the values that ask for nothing; they
        are taken, and others refused by name. None: the field is supported.
    """

    name: str
    schema: Mapping[str, Any]
    about: str
    required: bool = False
    neutral: tuple[Any, ...] | None = None


def unsupported(name: str, *neutral: Any) -> Field:
    """A field of OpenAI's that is refused by name, unless it asks for nothing."""
    values = list(neutral)
    schema = {"enum": values} if values else {"type": "null"}
    return Field(name, schema, "Not supported: what asks for nothing is taken.", neutral=neutral)


def table(*groups: Field | Sequence[Field]) -> dict[str, Field]:
    """Fields by name; a later one of the same name takes the place of an earlier one."""
    named: dict[str, Field] = {}
    for group in groups:
        for field in [group] if isinstance(group, Field) else group:
            named[field.name] = field
    return named


def parsed(content: bytes) -> dict[str, Any]:
    """The JSON object of a body; APIError for anything else."""
    try:
        body = json.loads(content, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise APIError("body: got no JSON in UTF-8, expected a JSON object") from error
    if not isinstance(body, dict):
        raise APIError(f"body: got JSON of type {_kind(body)}, expected an object")
    return body


def _number(text: str) -> int | float:
    """A number, whole where its value is: to JSON Schema 1.0 is an integer."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def read(body: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    """The fields of a body that are there and not null, checked.

    Raises:
      APIError: what is unknown, unsupported, missing or of another form, by name.
    """
    for name, value in body.items():
        if name not in fields:
            near = difflib.get_close_matches(name[:40], fields, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise APIError(
                f"Unknown parameter: {name[:80]!r}{hint}.",
                param=name[:80],
                code="unknown_parameter",
            )
        neutral = fields[name].neutral
        if neutral is not None and value is not None and not _among(value, neutral):
            raise APIError(
                f"{name}: this server does not support it; leave it out",
                param=name,
                code="unsupported_parameter",
            )
    values = {
        name: value
        for name, value in body.items()
        if value is not None and fields[name].neutral is None
    }
    for name, field in fields.items():
        if field.required and name not in values:
            raise APIError(
                f"Missing required parameter: {name!r}.",
                param=name,
                code="missing_required_parameter",
            )
    for name, value in values.items():
        check(name, value, fields[name].schema)
    return values


def check(path: str, value: Any, schema: Mapping[str, Any]) -> None:
    """Raises APIError where `value`, which the client calls `path`, does not fit a schema."""
    problem = _problem(path, value, schema)
    if problem:
        raise APIError(problem, param=path.split("[")[0].split(".")[0], code="invalid_value")


def _problem(path: str, value: Any, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a value, and where; None where it fits."""
    if "anyOf" in schema:
        problems = [_problem(path, value, option) for option in schema["anyOf"]]
        if None in problems:
            return None
        meant = [
            problem
            for problem, option in zip(problems, schema["anyOf"], strict=True)
            if _is_meant(value, option)
        ]
        return meant[0] if len(meant) == 1 else _expected(path, value, schema)
    if not _fits(value, schema):
        return _expected(path, value, schema)
    if isinstance(value, list):
        for number, item in enumerate(value):
            if problem := _problem(f"{path}[{number}]", item, schema.get("items", {})):
                return problem
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                return f"{path}: got no {name!r}, expected it"
        for name, item in value.items():
            inner = properties.get(name, schema.get("additionalProperties", {}))
            if inner is False:
                return f"{path}: got {name!r}, expected {', '.join(properties) or 'no fields'}"
            if item is None and name not in schema.get("required", ()):
                continue
            if problem := _problem(f"{path}.{name}", item, inner):
                return problem
    return None


def _fits_type(value: Any, schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    if kind is None:
        return True
    if isinstance(value, bool) and kind in ("integer", "number"):
        return False
    return isinstance(value, _TYPES[kind])


def _is_meant(value: Any, option: Mapping[str, Any]) -> bool:
    """Whether a value is of an option's type, an object also of the `type` that it names."""
    named = option.get("properties", {}).get("type")
    return _fits_type(value, option) and (
        named is None or (isinstance(value, dict) and _fits(value.get("type"), named))
    )


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value by itself fits, what is in it aside."""
    if not _fits_type(value, schema):
        return False
    if "enum" in schema and not _among(value, schema["enum"]):
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        finite = not isinstance(value, float) or math.isfinite(value)
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        return finite and low <= value <= high
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return False
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf)
    if isinstance(value, list):
        return schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf)
    return True


def _among(value: Any, choices: Sequence[Any]) -> bool:
    """Whether a value is one of them; to JSON false is not 0."""
    return any(
        value == each and isinstance(value, bool) == isinstance(each, bool) for each in choices
    )


def _expected(path: str, value: Any, schema: Mapping[str, Any]) -> str:
    shown = json.dumps(value, ensure_ascii=True, default=str)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return f"{path}: got {shown}, expected {_said(schema)}"


def _said(schema: Mapping[str, Any]) -> str:
    """A schema in words."""
    if "anyOf" in schema:
        return " or ".join(_said(option) for option in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(value) for value in schema["enum"])
    kind = schema.get("type", "a value")
    if named := schema.get("properties", {}).get("type", {}).get("enum"):
        return "an object of type " + " or ".join(json.dumps(value) for value in named)
    article = "an" if kind[0] in "aeiou" else "a"
    unit = {"string": ("Length", "characters"), "array": ("Items", "items")}.get(kind)
    low, high = schema.get("minimum"), schema.get("maximum")
    if unit:
        low, high = schema.get(f"min{unit[0]}"), schema.get(f"max{unit[0]}")
    text = f"{article} {kind}" + (" in Unicode" if kind == "string" else "")
    if low is not None and high is not None:
        text += f" of {low} to {high}"
    elif low is not None:
        text += f" of {low} or more"
    elif high is not None:
        text += f" of at most {high}"
    return f"{text} {unit[1]}" if unit and (low, high) != (None, None) else text


def _kind(value: Any) -> str:
    return next(name for name, types in _TYPES.items() if isinstance(value, types))
