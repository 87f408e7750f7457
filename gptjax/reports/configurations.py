r"""Configurations for people: every field with its value, what is allowed, and its meaning.

print("\n".join(explained(resolve(ExperimentConfig()))))
"""

import itertools
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from gptjax.reports.markdown import markdown_table
from gptjax.settings import expected, fields, limits_of, meaning

WIDTH = 100  # characters of a line
_VALUE = 16  # characters; longer values push aside what follows in their own line alone

Row = tuple[str, str, str, str]  # a name, its value, what is allowed, and its meaning


def explained_rows(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Explains names, in columns that are aligned over all rows.

    Yields:
      Of each row the line with its name, its value and what is allowed, and those of its meaning.
    """
    widest = max((len(name) for name, *_ in rows), default=0)
    lengths = [len(value) for _, value, *_ in rows]
    value_width = max((length for length in lengths if length <= _VALUE), default=0)
    for name, value, allowed, words in rows:
        line = f"  {name:{widest}}  {value:{value_width}}  {allowed}".rstrip()
        yield [line, *_wrapped(words, 6)]


def explained(config: Any, paths: Collection[str] | None = None, prefix: str = "") -> Iterator[str]:
    """Explains the fields of a config dataclass, section by section.

    A section begins with its path and its meaning. A field has its path, its value and what is
    allowed in one line, and its meaning in the next.

    Args:
      config: resolved or not.
      paths: the fields to explain; None: all.
      prefix: what stands before the path of a field: "--config." where it is a flag.

    Yields:
      Lines of text.
    """
    chosen = [path for path in fields(config) if paths is None or path in paths]
    # Fields of no section come first, whatever stands before them in the dataclass.
    chosen.sort(key=lambda path: "." in path)
    rows = [_row(config, path) for path in chosen]
    lines = explained_rows([(prefix + row[0], *row[1:]) for row in rows])
    started: set[str] = set()
    for section, leaves in itertools.groupby(chosen, _section):
        yield ""
        for heading in _upwards(section):
            if heading not in started:
                started.add(heading)
                yield from _wrapped(f"{heading}: {meaning(config, heading)}", 0)
        for _ in leaves:
            yield from next(lines)


def configuration_page(kinds: Mapping[str, Any]) -> Iterator[str]:
    """Lists the fields of all kinds of run in Markdown: a table for each section.

    Args:
      kinds: the default configuration of each kind of run, by its name. A field is listed with the
        first kind that has it.

    Yields:
      Lines of text.
    """
    listed: set[str] = set()
    for kind, config in kinds.items():
        own = [path for path in fields(config) if path not in listed]
        listed |= {*own}
        yield from ("", f"## `{kind}`", "", meaning(config, ""))
        for section, leaves in itertools.groupby(own, _section):
            yield from ("", f"### `{section}`", "", meaning(config, section), "")
            rows = [_row(config, path) for path in leaves]
            yield from markdown_table(
                ("field", "default", "allowed", "meaning"),
                ([f"`{path}`", f"`{value}`", *rest] for path, value, *rest in rows),
                right=False,
            )


def _row(config: Any, path: str) -> Row:
    value = shown(fields(config)[path])
    return path, value, expected(*limits_of(config, path)), meaning(config, path)


def shown(value: Any) -> str:
    """A value as a command line has it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _section(path: str) -> str:
    return path.rpartition(".")[0]


def _upwards(section: str) -> Iterator[str]:
    """Paths of the sections around a section, outermost first, and of itself: a, a.b, a.b.c."""
    return filter(None, itertools.accumulate(section.split("."), "{}.{}".format))


def _wrapped(text: str, indent: int) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(text, WIDTH, initial_indent=margin, subsequent_indent=margin)
