"""Name -> object, for everything a researcher picks by name: experiments, patterns, corpora.

PATTERNS = Registry("attention pattern")

@PATTERNS.register("dense")
class Dense: ...

PATTERNS.get("dense")
"""

import difflib
import importlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
Entry = TypeVar("Entry")


def unknown_name(
    kind: str, name: str, choices: Iterable[str], meant: str | None = None
) -> ValueError:
    """The error for a name that is not among `choices`, with all of them and what may be meant.

    Args:
      kind: what the name stands for, in the message: "experiment".
      name: as the user gave it.
      choices: all names that there are.
      meant: what the user may have meant; None: the nearest match, if there is one.
    """
    choices = list(choices)
    nearest = [meant] if meant else difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return ValueError(f"unknown {kind} {name!r}{hint}; expected one of: {', '.join(choices)}")


def with_home(text: str) -> str:
    """A path, or a text that has one, as "text:PATH" or "NAME=PATH", with the home for ~."""
    return re.sub("(?:^|(?<=[:=]))~[^/:@#]*", lambda found: os.path.expanduser(found[0]), text)


def of_path(form: str, text: str) -> str | None:
    """What a user may have meant who gave a path alone: `form`, with `text` in place of PATH.

    Args:
      form: the whole of what was expected, such as "text:PATH".
      text: as the user gave it.

    Returns:
      None where `text` is no path: nothing is there, and it has neither a folder nor a suffix.
    """
    path = Path(with_home(text))
    named = os.sep in text or re.fullmatch(r"\.[A-Za-z]\w*", path.suffix)
    return form.replace("PATH", text) if text and (named or path.exists()) else None


def user_function(kind: str, location: str, signature: str) -> Callable[..., Any]:
    """The function that `python:MODULE:FUNCTION` names: one of a user's, in no registry.

    Args:
      kind: says what it is, in errors: "reward".
      location: "MODULE:FUNCTION"; Python finds the module in the folder of the command too.
      signature: of the function, in errors.

    Raises:
      ValueError: a module that cannot be imported, or no function of it.
    """
    spec = f"{kind} 'python:{location}'"
    module_name, _, name = location.partition(":")
    if not module_name or not name:
        raise ValueError(f"{spec}: got {location!r}, expected python:MODULE:FUNCTION")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module raises is named
        said = " ".join(str(error).split())
        raise ValueError(
            f"{spec}: got {type(error).__name__}: {said}, expected a module that can be imported"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(
            f"{spec}: got {name!r}, which is no function of {module_name}, expected one of "
            f"{signature}"
        )
    return function


class Registry(Generic[T]):
    """An ordered mapping from names to objects that refuses duplicates and unknown names."""

    def __init__(self, kind: str, modules: Mapping[str, str] | None = None):
        """Makes a registry.

        Args:
          kind: says what the names stand for, in error messages: "experiment".
          modules: by name, the module that registers it and is imported when it is asked for.
        """
        self.kind = kind
        self._modules = dict(modules or {})
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Returns a decorator that enters its object as `name`; a taken name raises ValueError."""

        def enter(entry: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered twice; expected a new name")
            self._entries[name] = cast(T, entry)
            return entry

        return enter

    def get(self, name: str, meant: str | None = None) -> T:
        """Returns the object entered as `name`.

        Raises:
          ValueError: there is none; `unknown_name` says it, with what may be `meant`.
        """
        if name in self._modules and name not in self._entries:
            importlib.import_module(self._modules[name])
        if name not in self._entries:
            raise unknown_name(self.kind, name, self, meant)
        return self._entries[name]

    def names(self) -> list[str]:
        """All names: those with a module, then the others as they were registered."""
        return list({**self._modules, **self._entries})

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, name: str) -> bool:
        return name in self._entries or name in self._modules
