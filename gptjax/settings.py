"""Settings: dataclass fields with a meaning and a range, and functions of any dataclass of them.

Command-line overrides set fields in place and check nothing, hence `validate`.

    rate: float = setting(0.1, "share of the entries that are dropped", low=0.0, below=1.0)
"""

import dataclasses
import functools
import inspect
import math
import types
import typing
from collections.abc import Collection
from typing import Any, TypeVar

from gptjax.registry import unknown_name, with_home

C = TypeVar("C")

Check = tuple[str, bool, str]  # a field by its path, whether its value fits, and what would

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
    gives_way_to: str | None = None,
    formerly: str | None = None,
    before: Any = None,
) -> Any:
    """A dataclass field with its meaning and its range.

    Args:
      default: its value where none is given, or `REQUIRED`.
      meaning: one phrase that says what the value does, with its unit, and what None stands for.
      low, high, above, below: low <= x <= high, above < x < below.
      choices: all values that a string may have.
      gives_way_to: the field beside it; a command line that gives that one, and not this one, makes
        this one None.
      formerly: the name that it had before, which configurations on disk may have.
      before: its value in configurations on disk that were written before it was a field; None:
        the default.
    """
    limits = {"low": low, "high": high, "above": above, "below": below, "choices": choices}
    history = {"formerly": formerly, "before": before}
    metadata = {"meaning": meaning, "gives_way_to": gives_way_to, **history, **limits}
    return dataclasses.field(default=default, metadata=metadata)


@functools.cache
def type_hints(kind: type) -> typing.Mapping[str, Any]:
    """The types of a dataclass's fields; `typing` makes them anew at each call, in 0.1 ms."""
    return types.MappingProxyType(typing.get_type_hints(kind))


def fields(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a config dataclass, by dotted path: {"model.num_layers": 12, ...}."""
    leaves: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value, path = getattr(config, field.name), prefix + field.name
        leaves.update(
            fields(value, path + ".") if dataclasses.is_dataclass(value) else {path: value}
        )
    return leaves


def take_home(config: Any) -> None:
    """Puts the home in place of ~ where a text in `config` has a path that begins with it."""
    for path, value in fields(config).items():
        if isinstance(value, str):
            *sections, name = path.split(".")
            setattr(functools.reduce(getattr, sections, config), name, with_home(value))


def check_field(config: Any, path: str) -> None:
    """Refuses (ValueError, with the nearest name) a dotted `path` that is no leaf of `config`."""
    leaves, section = list(fields(config)), path.partition(".")[0]
    sections = list(dict.fromkeys(leaf.partition(".")[0] for leaf in leaves))
    if section not in sections:
        meant = (leaf for leaf in leaves if leaf.rpartition(".")[2] == path)
        raise unknown_name("config section", section, sections, next(meant, None))
    if path not in leaves:
        fields_there = [leaf for leaf in leaves if leaf.startswith(f"{section}.")]
        before = {limits_of(config, leaf)[1].get("formerly"): leaf for leaf in fields_there}
        meant = before.get(path.partition(".")[2])
        raise unknown_name("config field", path, fields_there, meant)


def drop_replaced(config: Any, given: Collection[str]) -> None:
    """Drops, in place, the value of a field that gives way to one of the paths `given`."""
    leaves = fields(config)
    for path in leaves.keys() - given:
        section, _, name = path.rpartition(".")
        beside = f"{section}.{limits_of(config, path)[1].get('gives_way_to')}"
        if beside in given and leaves[beside] is not None:
            setattr(getattr(config, section), name, None)


def from_text(text: str, hint: Any) -> Any:
    """The value of type `hint` that `text` writes, as "none", "true", "12" or "0.5".

    Raises:
      ValueError: `text` is no such value.
    """
    options = typing.get_args(hint) or (hint,)
    if text == "none" and types.NoneType in options:
        return None
    if bool in options:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"got {text!r}, expected true or false")
        return text.lower() == "true"
    return next(option for option in (int, float, str) if option in options)(text)


def limits_of(config: Any, path: str) -> tuple[Any, typing.Mapping[str, Any]]:
    """The type hint of the leaf at dotted `path`, and its metadata: its range and its meaning."""
    section, _, rest = path.partition(".")
    if rest:
        return limits_of(getattr(config, section), rest)
    field = next(field for field in dataclasses.fields(config) if field.name == path)
    return type_hints(type(config))[path], field.metadata


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


def fits(value: Any, hint: Any, limits: typing.Mapping[str, Any]) -> bool:
    """Whether a value is of the type `hint`, and within the `limits` of its field's metadata."""
    if isinstance(hint, types.UnionType):
        return any(fits(value, option, limits) for option in typing.get_args(hint))
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
    hints = type_hints(type(config))
    for field in dataclasses.fields(config):
        value, path = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            validate(value, path + ".")
        elif not fits(value, hints[field.name], field.metadata):
            allowed = expected(hints[field.name], field.metadata)
            raise ValueError(f"{path}: got {value!r}, expected {allowed}")


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as nested plain values, for JSON."""
    return dataclasses.asdict(config)


def from_dict(kind: type[C], values: typing.Mapping[str, Any], prefix: str = "config.") -> C:
    """Builds config dataclass `kind` from what `to_dict` gave; unknown fields raise ValueError.

    A field may have the name that it had before, and one that is missing has the value that it
    had before it was a field (`setting`).
    """
    hints = type_hints(kind)
    if not isinstance(values, typing.Mapping):
        raise ValueError(f"{prefix.rstrip('.')}: got {values!r}, expected a section of fields")
    declared = dataclasses.fields(typing.cast(Any, kind))
    renamed = {field.metadata.get("formerly"): field.name for field in declared}
    before = {
        f.name: f.metadata["before"] for f in declared if f.metadata.get("before") is not None
    }
    values = before | {str(renamed.get(name, name)): value for name, value in values.items()}
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
