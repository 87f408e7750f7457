"""What is public: `docs/library.md`, run as a session, and the names that the rooms give."""

import contextlib
import doctest
import importlib
import io
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import gptjax
from gptjax.registry import Registry
from tests.support.trained import shared_cache, trained  # noqa: F401

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "library.md").read_text()
ROOMS = [f"gptjax.{room.name}" for room in pkgutil.iter_modules(gptjax.__path__) if room.ispkg]


@pytest.mark.slow
def test_the_examples_of_the_guide_print_what_it_says(trained, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "demo").symlink_to(trained("pretrain").path)
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", GUIDE, re.DOTALL)
    assert len(examples) == GUIDE.count("```python") == 5
    session = {"__name__": "notebook"}
    for code, expected in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, session)
        alike = doctest.OutputChecker().check_output(expected, printed.getvalue(), doctest.ELLIPSIS)
        assert alike, printed.getvalue()


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_there_and_documented(room):
    module = importlib.import_module(room)
    names = getattr(module, "__all__", [])
    row = re.search(rf"^\| `{room}` \| (.*) \|$", GUIDE, re.MULTILINE)
    assert names == (re.findall(r"`(\w+)`", row[1]) if row else [])
    for name in names:
        public = getattr(module, name)
        assert public.__doc__ or isinstance(public, Registry), name
        assert f"{room}.{name}" not in sys.modules, "a module has that name too"
