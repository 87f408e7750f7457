"""OpenAI's registry of evals, read as its YAML files are: names, aliases, versions and sets.

    registry = Registry(default_roots() + [Path("evals/registry")])
    entry = registry.eval("test-match")      # key "test-match.s1.simple-v0", class, arguments
    registry.eval_set("test-basic")          # the entries of a set

A root is a folder with evals/, eval_sets/, modelgraded/, completion_fns/ and solvers/, each with
YAML files (not in folders below) that map names to specifications, and data/ for samples. An entry
with `id`, or one that is a text, stands for the entry of that name.

Source: evals/registry.py of openai/evals 3.0.1.
"""

import dataclasses
import importlib.util
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from gptjax.registry import unknown_name

RESERVED = ("key", "group", "cls")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # where it was compiled, ten times as quick
_MOST_NAMES = 20  # that an error lists


@dataclasses.dataclass(frozen=True)
class Entry:
    """One entry of a registry, its aliases followed.

    Attributes:
      key: its full name.
      group: name of its file, without what follows the first dot.
      root: the folder that it is in, where its samples are looked for.
      class_name: as "module:Class"; None: it has none.
      fields: what else it says, as YAML has it.
    """

    key: str
    group: str
    root: Path
    class_name: str | None
    fields: Mapping[str, Any]

    @property
    def args(self) -> dict[str, Any]:
        """Arguments of its class."""
        args = self.fields.get("args") or {}
        if not isinstance(args, dict):
            raise ValueError(f"{self.key}: got {args!r} as 'args', expected names with values")
        return dict(args)


def default_roots() -> list[Path]:
    """The registry of an installed package `evals`, which is not imported, and that of the home."""
    roots = [Path.home() / ".evals"]
    found = importlib.util.find_spec("evals")
    for folder in found.submodule_search_locations or () if found else ():
        if (Path(folder) / "registry" / "evals").is_dir():
            roots.insert(0, Path(folder) / "registry")
    return roots


class Registry:
    """What the folders of a registry name."""

    def __init__(self, roots: Sequence[Path]):
        """Reads nothing yet.

        Args:
          roots: folders, in the order in which they are searched; one named twice is read once.
        """
        self.roots = list({root.resolve(): root for root in roots}.values())

    @cached_property
    def evals(self) -> dict[str, Entry]:
        """All evals by name, aliases among them."""
        return self._read("evals")

    @cached_property
    def eval_sets(self) -> dict[str, Entry]:
        """Sets of evals by name."""
        return self._read("eval_sets")

    @cached_property
    def modelgraded(self) -> dict[str, Entry]:
        """Specifications of what a grader is asked, by name."""
        return self._read("modelgraded")

    @cached_property
    def completion_fns(self) -> dict[str, Entry]:
        """Completion functions and solvers, by name."""
        return {**self._read("completion_fns"), **self._read("solvers")}

    def eval(self, name: str) -> Entry:
        """The eval of that name.

        Raises:
          ValueError: there is none, or it has no class.
        """
        entry = resolved("eval", name, self.evals)
        if entry.class_name is None:
            raise ValueError(f"eval {entry.key!r}: got no 'class', expected MODULE:CLASS")
        if entry.key.count(".") < 1:
            raise ValueError(f"eval {entry.key!r}: got no split, expected a name as BASE.SPLIT")
        return entry

    def runnable(self) -> list[Entry]:
        """All evals that have a class, in the order of the files."""
        return [entry for entry in self.evals.values() if entry.class_name is not None]

    def eval_set(self, name: str) -> tuple[list[Entry], list[str]]:
        """The evals of a set, each once, and those of its patterns that match no name.

        Raises:
          ValueError: there is no such set, or it names no evals.
        """
        entry = resolved("eval set", name, self.eval_sets)
        patterns = entry.fields.get("evals")
        if not isinstance(patterns, list) or not patterns:
            raise ValueError(f"eval set {name!r}: got {patterns!r} as 'evals', expected names")
        regexps = [_regexp(str(pattern)) for pattern in patterns]
        names = [name for name in self.evals if any(each.match(name) for each in regexps)]
        found = {entry.key: entry for entry in map(self.eval, names)}
        idle = [
            str(pattern)
            for pattern, regexp in zip(patterns, regexps, strict=True)
            if not any(map(regexp.match, self.evals))
        ]
        return list(found.values()), idle

    def _read(self, kind: str) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for root in self.roots:
            for path in sorted((root / kind).glob("*.yaml")):
                for name, fields in _file(path).items():
                    if name in entries:
                        raise ValueError(
                            f"{path}: got {name!r}, which {entries[name].root} has too, expected "
                            "each name once"
                        )
                    entries[name] = _entry(name, fields, path, root)
        return entries


def resolved(kind: str, name: str, entries: Mapping[str, Entry]) -> Entry:
    """The entry that a name stands for, at the end of its aliases.

    Raises:
      ValueError: no such name, an alias of none, or aliases that go round.
    """
    seen = [name]
    while True:
        if seen[-1] not in entries:
            raise unknown(kind, seen[-1], entries)
        entry = entries[seen[-1]]
        alias = entry.fields.get("id")
        if alias is None:
            return entry
        if alias in seen:
            raise ValueError(f"{kind} {name!r}: got aliases that go round: {', '.join(seen)}")
        seen.append(str(alias))


def unknown(kind: str, name: str, entries: Mapping[str, Any]) -> ValueError:
    """The error for an unknown name; of many names, it lists the nearest only."""
    if not entries:
        return ValueError(
            f"{kind} {name!r}: got no registry that has any, expected a folder with the YAML "
            "files of OpenAI Evals, as --registry_path"
        )
    if len(entries) <= _MOST_NAMES:
        return unknown_name(kind, name, entries)
    text = str(unknown_name(kind, name, entries))
    return ValueError(
        f"{text.partition('; expected one of: ')[0]}; expected one of the {len(entries)} names of "
        "the registry"
    )


def _file(path: Path) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, _LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    return content if isinstance(content, dict) else {}


def _entry(name: str, fields: Any, path: Path, root: Path) -> Entry:
    if isinstance(fields, str):
        fields = {"id": fields}
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: got {fields!r} for {name!r}, expected fields with values")
    for word in RESERVED:
        if word in fields:
            raise ValueError(f"{path}: got the reserved field {word!r} in {name!r}, expected none")
    fields = dict(fields)
    class_name = fields.pop("class", None)
    return Entry(name, path.name.split(".")[0], root, class_name, fields)


def _regexp(pattern: str) -> re.Pattern[str]:
    return re.compile(f"^{pattern.replace('.', chr(92) + '.').replace('*', '.*')}$")
