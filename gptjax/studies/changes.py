"""Changes of a configuration as a command line writes them: `NAME: section.field=value, ...`.

changes = parse_changes(base, "one head: model.num_heads=1,model.d_head=64", "--variants")
config = changes.of(base)
"""

import copy
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from gptjax.config import Config, ExperimentConfig
from gptjax.settings import check_field, drop_replaced, expected, from_text, limits_of

# Only before the next field does a comma divide; patterns and lists have commas of their own.
BETWEEN_FIELDS = re.compile(r",(?=\s*\w+\.\w+\s*=)")
NAMED = re.compile(r"\s*([^:;=()]*[^:;=()\s])\s*:(.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Changes:
    """Other values of some fields of a configuration, under a name.

    Attributes:
      name: as people read it.
      values: by the paths of their fields; none: the configuration as it is.
    """

    name: str
    values: Mapping[str, Any]

    @property
    def key(self) -> str:
        """A text that only the same values have."""
        return ",".join(f"{path}={self.values[path]}" for path in sorted(self.values)) or "base"

    def of(self, base: Config) -> Config:
        """A copy of `base`, which is not resolved yet, with the changes."""
        config = copy.deepcopy(base)
        for path, value in self.values.items():
            section, name = path.split(".")
            setattr(getattr(config, section), name, value)
        drop_replaced(config, self.values.keys())
        return config


def named(text: str) -> tuple[str | None, str]:
    """The name before the colon, if there is one, and what follows it."""
    found = NAMED.fullmatch(text)
    return (found[1], found[2]) if found else (None, text)


def parse_values(
    base: ExperimentConfig, text: str, flag: str, check: Callable[[str], None] = lambda path: None
) -> dict[str, Any]:
    """The values by the paths of their fields, of a list of `section.field=value`.

    Args:
      base: the configuration, whose fields say what a value may be.
      text: without a name.
      flag: where the user wrote it, for messages.
      check: refuses the path of a field that may not change.

    Raises:
      ValueError: a field that there is not, or that comes twice; a value that does not fit.
    """
    values: dict[str, Any] = {}
    for part in BETWEEN_FIELDS.split(text):
        path, _, value = (side.strip() for side in part.partition("="))
        try:
            check_field(base, path)
        except ValueError as error:
            raise ValueError(f"{flag}: {error}") from error
        check(path)
        if path in values:
            raise ValueError(f"{flag}: got {path} twice in {text.strip()!r}, expected it once")
        hint, limits = limits_of(base, path)
        try:
            values[path] = from_text(value, hint)
        except ValueError as error:
            allowed = expected(hint, limits)
            raise ValueError(f"{flag}: {path}: got {value!r}, expected {allowed}") from error
    return values
