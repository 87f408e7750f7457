"""Binaries called within the process of a test, as their command lines would call them.

ended = call("evaluate", f"--workdir={path}")
assert (ended.code, ended.errors) == (0, "")
"""

import contextlib
import dataclasses
import io
import json
import runpy
import sys
from typing import Any

import pytest
from absl import app, flags


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


def call(name: str, *arguments: str, stdin: str | bytes = "") -> Ended:
    """Runs `python -m experiments.NAME ARGUMENTS` here; every flag is defined anew."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    output, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        _without_flags(),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", [name, *arguments])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        try:
            runpy.run_module(f"experiments.{name}", run_name="__main__")
            code: Any = 0
        except SystemExit as leaving:
            code = leaving.code or 0
    return Ended(code, output.getvalue(), errors.getvalue())


@contextlib.contextmanager
def _without_flags():
    """No flag of ours is defined, and modules that define some are imported when asked for."""
    app.define_help_flags()
    defined = flags.FLAGS._flags()
    kept = dict(defined)
    ours = [name for name in sys.modules if name.startswith("experiments.flags")]
    modules = {name: sys.modules.pop(name) for name in ours}
    for module, its in flags.FLAGS.flags_by_module_dict().items():
        if module.startswith(("experiments", "tests")):
            for flag in its:
                defined.pop(flag.name, None)
    try:
        yield
    finally:
        defined.clear()
        defined.update(kept)
        for name in [name for name in sys.modules if name.startswith("experiments.flags")]:
            del sys.modules[name]
        sys.modules.update(modules)
