r"""Configurations for people: every field with its value, what is allowed, and its meaning.

print("\n".join(explained(resolve(ExperimentConfig()))))
"""

import itertools
import textwrap
from collections.abc import Collection, Iterator
from typing import Any

from gptjax.settings import expected, fields, limits_of, meaning

WIDTH = 100  # characters of a line
_VALUE = 16  # characters; longer values push aside what follows in their own line alone


def explained(config: Any, paths: Collection[str] | None = None) -> Iterator[str]:
    """Explains the fields of a config dataclass, section by section.

    A section begins with its path and its meaning. A field has its path, its value and what is
    allowed in one line, and its meaning in the next.

    Args:
      config: resolved or not.
      paths: the fields to explain; None: all.

    Yields:
      Lines of text.
    """
    values = {path: _shown(value) for path, value in fields(config).items()}
    if paths is not None:
        values = {path: value for path, value in values.items() if path in paths}
    widest = max(map(len, values), default=0)
    value_width = max((len(value) for value in values.values() if len(value) <= _VALUE), default=0)
    started: set[str] = set()
    # Fields of no section come first, whatever stands before them in the dataclass.
    ordered = sorted(values, key=lambda path: "." in path)
    for section, leaves in itertools.groupby(ordered, lambda path: path.rpartition(".")[0]):
        yield ""
        for heading in _upwards(section):
            if heading not in started:
                started.add(heading)
                yield from _wrapped(f"{heading}: {meaning(config, heading)}", 0)
        for path in leaves:
            allowed = expected(*limits_of(config, path))
            yield f"  {path:{widest}}  {values[path]:{value_width}}  {allowed}"
            yield from _wrapped(meaning(config, path), 6)


def _shown(value: Any) -> str:
    """A value as a command line has it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _upwards(section: str) -> Iterator[str]:
    """Paths of the sections around a section, outermost first, and of itself: a, a.b, a.b.c."""
    return filter(None, itertools.accumulate(section.split("."), "{}.{}".format))


def _wrapped(text: str, indent: int) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(text, WIDTH, initial_indent=margin, subsequent_indent=margin)
