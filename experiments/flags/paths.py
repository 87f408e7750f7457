"""Flags whose value is a path, or has one in it, as jsonl:PATH has: ~ in it is the home.

_OUTPUT = define_path(name, None, "File to write. It must be given.")
"""

from typing import Any

from absl import flags

from gptjax.registry import with_home

flags.disclaim_key_flags()  # each belongs to the module that calls


class _Path(flags.ArgumentParser[str]):
    """A text, with the home in place of ~."""

    def parse(self, argument: str) -> str:
        return with_home(argument)

    def flag_type(self) -> str:
        return "string"


class _Paths(flags.ListParser):
    """Such texts with commas between."""

    def parse(self, argument: Any) -> list[str]:
        return [with_home(text) for text in super().parse(argument)]


def define_path(name: str, default: str | None, meaning: str, **options: Any) -> Any:
    """As `flags.DEFINE_string`, of a path or of a specification that has one."""
    return flags.DEFINE(
        _Path(), name, default, meaning, serializer=flags.ArgumentSerializer(), **options
    )


def define_paths(name: str, default: list[str], meaning: str) -> Any:
    """As `flags.DEFINE_list`, of specifications that have a path."""
    return flags.DEFINE(_Paths(), name, default, meaning, serializer=flags.ListSerializer(","))


def define_path_multi(name: str, meaning: str) -> Any:
    """As `flags.DEFINE_multi_string` without a default, of paths."""
    return flags.DEFINE_multi(_Path(), flags.ArgumentSerializer(), name, None, meaning)
