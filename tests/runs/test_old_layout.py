"""A work directory made before the framework of a run was in the library.

It is of fine-tuning, stopped at step 4 of 8, made by `experiments.sft` at commit 0d2b7a1 on jax
0.10; `expected.jsonl` holds the rows of the same run left alone.
"""

import tarfile
from pathlib import Path

import pytest

from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.reporting.metrics import read_metrics
from tests.support.binaries import call

MADE = Path(__file__).parent / "data" / "run_of_the_old_layout.tar.xz"


@pytest.fixture(scope="module")
def resumed(tmp_path_factory, cache):
    """The run, gone on with to its end."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(MADE) as made:
        made.extractall(folder, filter="data")
    workdir = WorkDirectory(str(folder / "stopped"))
    ended = train("tiny", workdir.config(), workdir)
    assert (ended.steps, int(ended.state.step)) == (4, 8)
    return workdir


def test_it_is_resumed_to_the_losses_that_it_would_have_had(resumed):
    rows = read_metrics(resumed.path / "metrics.jsonl")
    expected = read_metrics(resumed.path / "expected.jsonl")
    assert [(row["step"], row.get("split")) for row in rows] == [
        (row["step"], row.get("split")) for row in expected
    ]
    for row, old in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(old["loss"], rel=1e-5)
    assert resumed.result()["chosen_step"] == 8


@pytest.mark.slow
def test_it_is_verified(resumed):
    ended = call("verify", f"--workdir={resumed.path}", "--relative_tolerance=1e-5")
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.splitlines()[-1] == "steps 0 to 8: 10 of 10 rows agree"


@pytest.mark.slow
def test_it_is_sampled(resumed):
    flags = (f"--workdir={resumed.path}", "--temperature=0")
    ended = call("sample", *flags, "--prompt=copy: fox", "--max_new_tokens=4")
    assert (ended.code, ended.errors) == (0, "")
    assert ended.output.startswith("copy: fox")
