"""The commands that README and docs give, against the flags of the binaries; nothing is started."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from absl import app

from gptjax.runs.initial import inherited
from tests.support.binaries import call

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BINARY = re.compile(r"^(?:\.venv/bin/)?python -m experiments\.(\w+)(.*)")
STATED = {  # what a command that is cut short, and a flag that stands alone, belong to
    "train": ["--experiment=demo", "--workdir=runs/x"],
}


def commands(text: str):
    """(binary, arguments) of each command in the blocks of a document; "..." stands for others."""
    blocks = "\n".join(
        line.strip() for line in text.splitlines() if line.startswith("    ") and line.strip()
    )
    for line in blocks.replace("\\\n", " ").splitlines():
        found = BINARY.match(line)
        if found or line.startswith("--config."):
            name, rest = found.groups() if found else ("train", f"... {line}")
            arguments = shlex.split(rest, comments=True)
            if "..." in arguments:
                arguments = STATED.get(name, []) + [part for part in arguments if part != "..."]
            yield name, arguments


ALL = sorted({(name, *rest) for path in DOCUMENTS for name, rest in commands(path.read_text())})


def parsed(monkeypatch, name, *arguments):
    """The binary's end where it parses its flags, and does no more."""
    monkeypatch.setattr(app, "run", lambda main, flags_parser: flags_parser(sys.argv))
    monkeypatch.setattr(inherited, "inherit", lambda *_: None)  # it would read the runs
    return call(name, *arguments)


def test_every_command_has_flags_that_there_are(monkeypatch):
    assert len(ALL) > 30
    ends = {" ".join(line): parsed(monkeypatch, *line) for line in ALL}
    assert {line: end.errors for line, end in ends.items() if end.errors} == {}


@pytest.mark.parametrize("flag", ["--promt=The", "--config.model.atention=dense"])
def test_a_flag_that_there_is_not_is_found(monkeypatch, flag):
    name = "sample" if "promt" in flag else "train"
    (line,) = commands(f"    python -m experiments.{name} ... {flag}   # so\n")
    assert parsed(monkeypatch, line[0], *line[1]).code == 2
