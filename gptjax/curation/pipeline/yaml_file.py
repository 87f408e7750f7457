"""Configurations from files of YAML, checked field by field.

config = read_config(Path("prepare.yaml"))
path.write_text(as_yaml(config))
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from gptjax.curation.pipeline.configuration import PrepareConfig
from gptjax.registry import unknown_name
from gptjax.settings import expected, fits

C = TypeVar("C")


def read_config(path: Path) -> PrepareConfig:
    """The configuration in a file.

    Raises:
      ValueError: the file cannot be read or is no YAML, or names a field that there is not, or
        gives one a value that it cannot have; the nearest name is suggested.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}, expected a YAML file") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{path}: got no YAML ({said}), expected a mapping of fields") from error
    return checked(PrepareConfig, values, str(path))


def checked(kind: type[C], values: Any, origin: str) -> C:
    """Builds the config dataclass `kind` from plain values; `origin` begins every message."""
    return _section(kind, values, origin, "")


def as_yaml(config: Any) -> str:
    """The configuration as YAML, every field of it."""
    return yaml.safe_dump(_plain(dataclasses.asdict(config)), sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [*map(_plain, value)] if isinstance(value, (tuple, list)) else value


def _section(kind: Any, values: Any, origin: str, path: str) -> Any:
    if not isinstance(values, Mapping):
        raise ValueError(f"{_at(origin, path)}: got {values!r}, expected fields with values")
    hints, fields = typing.get_type_hints(kind), dataclasses.fields(kind)
    dotted = f"{path}." if path else ""
    for name in values:
        if name not in hints:
            error = unknown_name("field", f"{dotted}{name}", [dotted + hint for hint in hints])
            raise ValueError(f"{origin}: {error}")
    built = {}
    for field in fields:
        at = f"{dotted}{field.name}"
        if field.name in values:
            built[field.name] = _value(
                hints[field.name], values[field.name], field.metadata, origin, at
            )
        elif field.default is field.default_factory is dataclasses.MISSING:
            meaning = field.metadata.get("meaning", "a value")
            raise ValueError(f"{_at(origin, at)}: got none, expected {meaning}")
    return kind(**built)


def _value(hint: Any, value: Any, limits: Mapping[str, Any], origin: str, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _section(hint, value, origin, path)
    outer, inner = typing.get_origin(hint), typing.get_args(hint)
    if value == "none" and types.NoneType in inner:  # as flags have it
        return None
    if outer is dict:
        return _named(inner[1], value, origin, path)
    if outer is tuple:
        items = value if isinstance(value, (list, tuple)) else None
        if items is None or not all(fits(item, inner[0], {}) for item in items):
            raise ValueError(
                f"{_at(origin, path)}: got {value!r}, expected a list of {inner[0].__name__}"
            )
        return tuple(items)
    if not fits(value, hint, limits):
        raise ValueError(f"{_at(origin, path)}: got {value!r}, expected {expected(hint, limits)}")
    # A whole number may stand for a float, and must make the same configuration.
    floats = float in (typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,))
    return float(value) if floats and value is not None else value


def _named(inner: Any, value: Any, origin: str, path: str) -> dict[str, Any]:
    """A mapping from names to values of one kind."""
    if value is None:  # `name:` and nothing behind it
        value = {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{_at(origin, path)}: got {value!r}, expected names with values")
    if inner is Any:
        return dict(value)
    return {name: _value(inner, each, {}, origin, f"{path}.{name}") for name, each in value.items()}


def _at(origin: str, path: str) -> str:
    return f"{origin}: {path}" if path else origin
