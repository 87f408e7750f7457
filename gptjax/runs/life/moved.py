"""Data that has moved: what it holds decides whether a run is the same, not where it lies.

theirs, moved = with_moved_data(config, record, theirs, their_record, kind.contents)
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gptjax.config import Config
from gptjax.settings import fields


@dataclasses.dataclass(frozen=True)
class Content:
    """Data that a field names, and whose content has a hash in config.json.

    Attributes:
      field: its path.
      hash: name of the hash.
      besides: (value of the field) -> what of it must be the same besides the content.
    """

    field: str
    hash: str
    besides: Callable[[Any], Any] = lambda value: None


def with_moved_data(
    config: Config,
    record: Mapping[str, Any],
    theirs: Config,
    their_record: Mapping[str, Any],
    contents: Sequence[Content],
) -> tuple[Config, list[str]]:
    """A copy of `theirs` that names the data of the same content as `config` does.

    Args:
      config: a configuration.
      record: its content hashes, by name.
      theirs: another one of the same kind.
      their_record: likewise.
      contents: of that kind.

    Returns:
      The copy, and what has moved as "path: value, not value".
    """
    theirs, moved = copy.deepcopy(theirs), []
    ours, before = fields(config), fields(theirs)
    for content in contents:
        here, there = ours[content.field], before[content.field]
        known = record.get(content.hash)
        if here == there or known is None or known != their_record.get(content.hash):
            continue
        if content.besides(here) == content.besides(there):
            section, _, name = content.field.rpartition(".")
            setattr(getattr(theirs, section), name, here)
            moved.append(f"{content.field}: {here!r}, not {there!r}")
    return theirs, moved
