"""Command lines are quick: what they load knows flags and configurations, and computes nothing.

The heads of binaries and of `experiments.flags` are read; then each command is run for real.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

import pytest

from tests.test_layering import JAX, ROOT, house, imported_modules, is_binary, module_name

HEAVY = JAX | {"matplotlib", "rich", "scipy"}

HELPS = """
import os, runpy, sys
import experiments.flags.command_line

for name, *flags in (["list"], *([name, "--help"] for name in sys.argv[1:])):
    child = os.fork()
    if child == 0:
        sys.argv, sys.stdout, code = [name, *flags], open(os.devnull, "w"), 0
        try:
            runpy.run_module(f"experiments.{name}", run_name="__main__")
        except SystemExit as end:
            code = end.code
        found = HEAVY & set(sys.modules)
        if code or found:
            print(name, *flags, "exit code", code, "loads", sorted(found), file=sys.stderr)
        os._exit(0)
    os.waitpid(child, 0)
"""


def statements_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that importing a module runs: none of functions, and of no type checker."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        for name in ("body", "orelse", "handlers", "finalbody"):
            yield from statements_at_import(getattr(node, name, []))


def loaded(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """What importing each module imports, as far as its own statements say."""
    names = {module_name(path) for path in sources}
    found: dict[str, set[str]] = {}
    for path, source in sources.items():
        here = found.setdefault(module_name(path), set())
        for node in statements_at_import(ast.parse(source).body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in imported_modules(node, names):
                    parts = name.split(".")
                    here |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)} | {name}
    return found


def way_to(start: str, heavy: Set[str], loads: Mapping[str, set[str]]) -> list[str]:
    """The shortest chain of imports from `start` to one of `heavy`; none: []."""
    ways = [[start]]
    seen = {start}
    for way in ways:
        for name in sorted(loads.get(way[-1], ())):
            if name in heavy:
                return [*way, name]
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def test_heads_of_commands_import_nothing_that_computes():
    sources = {path: text for path, text in house().items() if not path.startswith("tests/")}
    loads = loaded(sources)
    rooms = ("experiments/flags/", "experiments/configs/")
    light = [
        path
        for path, source in sources.items()
        if path.startswith(rooms)
        or (Path(path).parent == Path("experiments") and is_binary(ast.parse(source)))
    ]
    ways = [way_to(module_name(path), HEAVY, loads) for path in light]
    assert len(light) > 50
    assert not any(ways), "\n".join(" imports ".join(way) for way in ways if way)


def test_what_functions_import_is_not_loaded_and_what_a_module_does_is():
    checked = "if TYPE_CHECKING:\n  import jax\ndef f():\n  import jax\nclass A:\n  import gptjax.b"
    sources = {"gptjax/a.py": checked, "gptjax/b.py": "try:\n  import scipy.stats\nfinally:\n  1"}
    loads = loaded(sources)
    assert way_to("gptjax.a", HEAVY, loads) == ["gptjax.a", "gptjax.b", "scipy"]
    assert way_to("gptjax.a", JAX, loads) == []


@pytest.mark.slow
def test_a_list_and_every_help_load_nothing_that_computes():
    """One process, and a fork of it for each command."""
    binaries = [path.stem for path in (ROOT / "experiments").glob("[a-z]*.py")]
    code = f"HEAVY = {sorted(HEAVY)}\nHEAVY = set(HEAVY)\n{HELPS}"
    run = subprocess.run(
        [sys.executable, "-c", code, *sorted(binaries)], capture_output=True, text=True, cwd=ROOT
    )
    assert (run.returncode, run.stderr) == (0, "")
