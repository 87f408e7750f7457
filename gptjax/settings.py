"""Settings: dataclass fields with a meaning and a range, and functions of any dataclass of them.

Command-line overrides set fields in place and check nothing, hence `validate`.

    rate: float = setting(0.1, "share of the entries that are dropped", low=0.0, below=1.0)
"""

import dataclasses
import inspect
import math
import types
import typing
from typing import Any, TypeVar

from gptjax.registry import unknown_name

C = TypeVar("C")

REQUIRED: Any = dataclasses.MISSING  # the default of a setting that has none


def setting(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    instead_of: str | None = None,
) -> Any:
    """A dataclass field with its meaning and its range.

    Args:
      default: its value where none is given, or `REQUIRED`.
      meaning: one phrase that says what the value does, with its unit, and what None stands for.
      low, high, above, below: low <= x <= high, above < x < below.
      choices: all values that a string may have.
      instead_of: the field beside it whose value a command line that gives this one drops.
    """
    limits = {"low": low, "high": high, "above": above, "below": below, "choices": choices}
    metadata = {"meaning": meaning, "instead_of": instead_of, **limits}
    return dataclasses.field(default=default, metadata=metadata)


def fields(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a config dataclass, by dotted path: {"model.num_layers": 12, ...}."""
    leaves: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value, path = getattr(config, field.name), prefix + field.name
        leaves.update(
            fields(value, path + ".") if dataclasses.is_dataclass(value) else {path: value}
        )
    return leaves


def limits_of(config: Any, path: str) -> tuple[Any, typing.Mapping[str, Any]]:
    """The type hint of the leaf at dotted `path`, and its metadata: its range and its meaning."""
    section, _, rest = path.partition(".")
    if rest:
        return limits_of(getattr(config, section), rest)
    field = next(field for field in dataclasses.fields(config) if field.name == path)
    return typing.get_type_hints(type(config))[path], field.metadata


def meaning(config: Any, path: str) -> str:
    """The meaning of the leaf at dotted `path`; of a section, or of all at "", its class docstring.

    Returns:
      Plain text; "" where the dataclass says nothing.
    """
    section, _, rest = path.partition(".")
    at = getattr(config, section) if section else config
    if dataclasses.is_dataclass(at):
        if rest:
            return meaning(at, rest)
        text = inspect.cleandoc(type(at).__doc__ or "")
        return "" if text.startswith(f"{type(at).__name__}(") else text  # dataclass made that one
    return limits_of(config, path)[1].get("meaning", "")


def expected(hint: Any, limits: typing.Mapping[str, Any]) -> str:
    """Describes the accepted values of a field in words: "int or none >= 1"."""
    if limits.get("choices"):
        return "one of " + ", ".join(limits["choices"])
    options = typing.get_args(hint) or (hint,)
    named = ["none" if option is types.NoneType else option.__name__ for option in options]
    signs = {"low": ">=", "above": ">", "high": "<=", "below": "<"}
    bounds = [f"{sign} {limits[k]:.10g}" for k, sign in signs.items() if limits.get(k) is not None]
    return " or ".join(named) + ("" if not bounds else " " + " and ".join(bounds))


def _fits(value: Any, hint: Any, limits: typing.Mapping[str, Any]) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, option, limits) for option in typing.get_args(hint))
    if value is None or hint is types.NoneType:
        return value is None and hint is types.NoneType
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        return False
    if limits.get("choices"):
        return value in limits["choices"]
    checks = (
        ("low", lambda bound: value >= bound),
        ("above", lambda bound: value > bound),
        ("high", lambda bound: value <= bound),
        ("below", lambda bound: value < bound),
    )
    return all(check(limits[k]) for k, check in checks if limits.get(k) is not None)


def validate(config: Any, prefix: str = "config.") -> None:
    """Checks every field of a config dataclass against its type hint and range.

    Raises:
      ValueError: one line naming the field, what it got and what is expected.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, path = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            validate(value, path + ".")
        elif not _fits(value, hints[field.name], field.metadata):
            allowed = expected(hints[field.name], field.metadata)
            raise ValueError(f"{path}: got {value!r}, expected {allowed}")


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as nested plain values, for JSON."""
    return dataclasses.asdict(config)


def from_dict(kind: type[C], values: typing.Mapping[str, Any], prefix: str = "config.") -> C:
    """Builds config dataclass `kind` from what `to_dict` gave; unknown fields raise ValueError."""
    hints = typing.get_type_hints(kind)
    if not isinstance(values, typing.Mapping):
        raise ValueError(f"{prefix.rstrip('.')}: got {values!r}, expected a section of fields")
    for name in values:
        if name not in hints:
            raise unknown_name("field", prefix + name, [prefix + hint for hint in hints])
    built = {
        name: from_dict(hints[name], value, f"{prefix}{name}.")
        if dataclasses.is_dataclass(hints[name])
        else value
        for name, value in values.items()
    }
    return kind(**built)


def differences(ours: Any, theirs: Any, sections: tuple[str, ...]) -> list[str]:
    """The leaves under the dotted prefixes `sections` in which two configs differ, one line each.

    Each line reads "path: value in `ours`, not value in `theirs`".
    """
    mine, other = fields(ours), fields(theirs)
    return [
        f"{path}: {value!r}, not {other[path]!r}"
        for path, value in mine.items()
        if path.startswith(sections) and value != other[path]
    ]
