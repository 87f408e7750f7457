"""Directories that are there as a whole or not at all, whatever ends the process."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gptjax.interop.new_directory import new_directory

FILLS = """
import sys
from pathlib import Path
from gptjax.interop.new_directory import new_directory
with new_directory(Path(sys.argv[1])) as unfinished:
    (unfinished / "weights").write_text("half")
    print(unfinished, flush=True)
    sys.stdin.read()  # until the test goes
"""


def filling(path: Path) -> tuple[subprocess.Popen, Path]:
    """A process in the middle of it, and where it writes."""
    command = [sys.executable, "-c", FILLS, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, **pipes)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_it_is_there_once_it_is_whole(tmp_path):
    path = tmp_path / "a/out"
    with new_directory(path) as unfinished:
        (unfinished / "weights").write_text("all")
        assert not path.exists()
    assert [file.name for file in path.iterdir()] == ["weights"]
    assert list(path.parent.iterdir()) == [path]


def test_what_is_used_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(ValueError, match="has files in it"), new_directory(path):
        path.mkdir()
        (path / "thesis.tex").touch()
    assert [file.name for file in path.iterdir()] == ["thesis.tex"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_the_next_one_removes_what_a_killed_one_left_and_nothing_else(tmp_path):
    path, mine = tmp_path / "out", tmp_path / ".out.2024"
    mine.mkdir()
    killed, left = filling(path)
    running, live = filling(path)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (left / "weights").read_text() == "half"
        with new_directory(path) as unfinished:
            (unfinished / "weights").write_text("all")
            assert {live.parent, mine, unfinished.parent} == set(tmp_path.iterdir())
        assert (live / "weights").is_file()
    finally:
        running.kill()
        running.wait()
    assert [file.name for file in path.iterdir()] == ["weights"]
