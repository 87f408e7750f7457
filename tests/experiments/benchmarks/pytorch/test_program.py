import io
import json
import sys

import pytest

from experiments.benchmarks.pytorch import program as module
from experiments.benchmarks.pytorch.program import serve, torch_program

SIZES = {"backward": True, "length": 64, "heads": 2, "head_dim": 8, "dtype": "float32", "window": 0}
STAND_IN = """\
#!{python} -IS
import json, sys
assert sys.argv[1:3] == ["-m", "experiments.benchmarks.pytorch.attention"]
seconds = json.loads(sys.argv[3])["seconds"]
if seconds is None:
    sys.exit("first of all\\nKeyError: 'nothing'")
print("torch 0.0, cpu", flush=True)
for number, _ in enumerate(sys.stdin, start=1):
    print(number * seconds, flush=True)
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """What stands in for a Python that has PyTorch."""
    file = tmp_path / "python"
    file.write_text(STAND_IN.format(python=sys.executable))
    file.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(file))


@pytest.mark.usefixtures("stand_in")
def test_a_program_is_asked_for_each_run():
    with torch_program("attention", seconds=1.5) as (run, version):
        assert version == "torch 0.0, cpu"
        assert (run(), run()) == (1.5, 3.0)


@pytest.mark.usefixtures("stand_in")
def test_a_program_that_does_not_run_says_why_in_its_last_line():
    with (
        pytest.raises(ValueError, match=r"^PyTorch does not run here: KeyError: 'nothing'$"),
        torch_program("attention", seconds=None),
    ):
        pass


def test_a_program_runs_once_to_compile_and_once_for_each_line(monkeypatch, capsys):
    seconds = iter((9.0, 2.0, 3.0))
    monkeypatch.setattr(sys, "argv", ["program", json.dumps({"first": 4})])
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n"))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def make(first):
        assert first == 4
        return lambda: next(seconds)

    serve(make, "torch 0.0")
    assert capsys.readouterr().out.splitlines() == ["torch 0.0", "2.0", "3.0"]


@pytest.mark.slow
def test_attention_of_torch_is_timed_in_a_process_of_its_own():
    pytest.importorskip("torch")
    with torch_program("attention", program="sdpa", **SIZES) as (run, version):
        assert version.startswith("torch ")
        assert 0 < run() < 60 and run() > 0


@pytest.mark.slow
def test_what_torch_does_not_run_says_why():
    with (
        pytest.raises(ValueError, match=r"does not run here: (KeyError: 'nothing'|ModuleNotFound)"),
        torch_program("attention", program="nothing", **SIZES),
    ):
        pass
