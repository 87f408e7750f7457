"""The suite of starts: its processes, on Python itself in place of commands that take seconds."""

import pytest

from experiments.benchmarks import startup


def test_a_process_has_its_cache_and_no_bytecode_of_ours(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    commands = startup._Commands(tmp_path)
    asks = "import os, sys; assert os.environ['GPTJAX_CACHE'] == sys.argv[1], sys.argv; "
    asks += "assert sys.pycache_prefix == sys.argv[2] and not sys.dont_write_bytecode"
    given = (str(tmp_path / "warm"), str(tmp_path / "bytecode"))
    assert commands.ended("-S", "-c", asks, *given) > 0
    assert commands.new_folder() != commands.new_folder()


def test_a_command_that_fails_is_told_with_what_it_said(tmp_path):
    with pytest.raises(ValueError, match=r"^-S -c .*: exit code 3: gone"):
        startup._Commands(tmp_path).ended(
            "-S", "-c", "import sys; print('gone', file=sys.stderr); sys.exit(3)"
        )
