"""The command lines of `experiments.compare`; what it does is tested in trials/."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
WRONG = {
    "--variants=dense;bandit": "error: attention 'bandit', column 1: unknown attention pattern",
    "--variants=dense;dense": "error: --variants: got 'dense' and 'dense', which are the same;",
    "--seeds=0": "error: flag --seeds=0: 0 is not a positive integer",
    "--budget=euros": "error: flag --budget=euros: value should be one of <tokens|flops|seconds>",
}
CHILD = """
import sys
from absl import flags
from absl.testing import flagsaver
from experiments import compare
from experiments.flags.command_line import run

experiment, workdir, *wrong = sys.argv[1:]
for argument in wrong:
    sys.argv[1:] = [experiment, workdir, argument]
    with flagsaver.flagsaver():
        try:
            run(compare.main, with_experiment=True)
        except SystemExit as leaving:
            print(leaving.code)
"""


def test_bad_input_is_one_line_before_anything_runs(tmp_path):
    flags = ["--experiment=compare_smoke", f"--workdir={tmp_path / 'runs'}", *WRONG]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *flags], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.stdout.split() == ["2"] * len(WRONG)
    for line, expected in zip(done.stderr.splitlines(), WRONG.values(), strict=True):
        assert line.startswith(expected)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_smoke_experiment_compares_three_variants(tmp_path):
    command = [sys.executable, "-m", "experiments.compare", "--experiment=compare_smoke"]
    done = subprocess.run(
        [*command, f"--workdir={tmp_path / 'runs'}", "--seeds=2"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "strided(stride=16)" in done.stdout
    summary = json.loads((tmp_path / "runs/comparison.json").read_text())
    dense, mixed, strided = summary["variants"]
    assert 0 < strided["density"] < mixed["density"] < dense["density"] == 1
    for variant in (mixed, strided):
        assert variant["executed_flops"] == pytest.approx(dense["executed_flops"], rel=0.01)
        assert variant["dense_equivalent_flops"] >= dense["dense_equivalent_flops"]
    for run in dense["runs"]:
        assert run["loss"] < run["curve"][0]["loss"] < 6.93  # ln 1024
