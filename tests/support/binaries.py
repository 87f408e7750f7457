"""Binaries called within the process of a test, as their command lines would call them.

ended = call("evaluate", f"--workdir={path}")
assert (ended.code, ended.errors) == (0, "")
"""

import contextlib
import dataclasses
import io
import json
import re
import runpy
import sys
from collections.abc import Callable
from typing import Any

import grain  # noqa: F401, as the next line
import orbax.checkpoint  # noqa: F401, defines flags when it is loaded, once, so before any is put by
import pytest
from absl import app, flags, logging
from absl.flags._helpers import disclaim_module_ids
from absl.testing import flagsaver

from experiments.configs import EXPERIMENTS


@dataclasses.dataclass(frozen=True)
class Ended:
    """End of a binary: its exit code, and its output."""

    code: int
    output: str
    errors: str

    @property
    def rows(self) -> list[Any]:
        """The lines of the output, which are JSON."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def refusal(self) -> str:
        """The one line with which a user's error is answered, less what all of them begin with.

        What a run had begun to read may be said before it.
        """
        assert self.code == 2 and re.fullmatch(
            r"(tokenising \.\.\.\n(tokenising took .*\n)?)?", self.output
        ), self
        *warnings, line = self.errors.splitlines()
        assert line.startswith("error: ") and all(one[0] == "W" for one in warnings), self
        return line.removeprefix("error: ")


def call(name: str, *arguments: str, stdin: str | bytes = "") -> Ended:
    """Runs `python -m experiments.NAME ARGUMENTS` here; every flag is defined anew."""
    return called(
        lambda: runpy.run_module(f"experiments.{name}", run_name="__main__"),
        *arguments,
        stdin=stdin,
    )


def called(program: Callable[[], Any], *arguments: str, stdin: str | bytes = "") -> Ended:
    """Runs a program here that defines flags and parses these; it imports `experiments.flags`."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    with (
        pytest.MonkeyPatch.context() as patch,
        _without_flags(),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", ["binary", *arguments])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        patch.setattr(logging.get_absl_handler().python_handler, "stream", errors)
        try:
            program()
            code: Any = 0
        except SystemExit as leaving:
            code = leaving.code or 0
    return Ended(code, *(_written(stream) for stream in (output, errors)))


@contextlib.contextmanager
def registered(registry: Any = EXPERIMENTS, **makers: Callable[[], Any]):
    """Experiments, or pipelines, that the command line knows by these names within the block."""
    kept = registry._entries
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_entries", kept | makers)
        yield
        loaded = registry._entries.keys() & registry._modules.keys() - makers.keys()
        kept |= {name: registry._entries[name] for name in loaded}  # by modules, which load once


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # pyright: ignore[reportAttributeAccessIssue]


@contextlib.contextmanager
def _without_flags():
    """No flag of ours is defined, and modules that define some are imported when asked for."""
    app.define_help_flags()
    defined = flags.FLAGS._flags()
    kept, values = dict(defined), flagsaver.save_flag_values(flags.FLAGS)
    ours = [name for name in sys.modules if name.startswith("experiments.flags")]
    modules = {name: sys.modules.pop(name) for name in ours}
    for module, its in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith(("experiments", "tests")):
            for flag in its:
                defined.pop(flag.name, None)
    verbosity = logging.get_verbosity()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        defined.clear()
        defined.update(kept)
        flagsaver.restore_flag_values(values)
        for name in [name for name in sys.modules if name.startswith("experiments.flags")]:
            # absl keeps the ids of modules that disclaim flags: a later module may get the same.
            disclaim_module_ids.discard(id(sys.modules.pop(name)))
        sys.modules.update(modules)


def names_of(binary: str) -> dict[str, Any]:
    """What the module of a binary defines, which is run and not imported."""
    found: dict[str, Any] = {}
    called(lambda: found.update(runpy.run_module(f"experiments.{binary}")))
    return found
