"""Name -> object, for everything a researcher picks by name: experiments, patterns, corpora.

PATTERNS = Registry("attention pattern")

@PATTERNS.register("dense")
class Dense: ...

PATTERNS.get("dense")
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar, cast

T = TypeVar("T")
Entry = TypeVar("Entry")


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> ValueError:
    """The error for a name that is not among `choices`, naming the nearest match and them all."""
    choices = list(choices)
    nearest = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return ValueError(f"unknown {kind} {name!r}{hint}; expected one of: {', '.join(choices)}")


class Registry(Generic[T]):
    """An ordered mapping from names to objects that refuses duplicates and unknown names."""

    def __init__(self, kind: str):
        """`kind` says what the names stand for, in error messages: "experiment"."""
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Returns a decorator that enters its object as `name`; a taken name raises ValueError."""

        def enter(entry: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice; expected a new name")
            self._entries[name] = cast(T, entry)
            return entry

        return enter

    def get(self, name: str) -> T:
        """Returns the object entered as `name`; an unknown name raises ValueError with choices."""
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, in the order they were registered."""
        return list(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries
