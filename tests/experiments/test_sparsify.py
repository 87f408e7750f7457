"""The command lines of `experiments.sparsify`; its figures are tested in test_sparsification."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.reporting.metrics import read_metrics

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
CHILD = """
import json, sys
from absl import flags
from absl.testing import flagsaver
from experiments import sparsify
from experiments.flags.command_line import run

for arguments in json.loads(sys.argv.pop()):
    sys.argv[1:] = arguments
    with flagsaver.flagsaver():
        try:
            run(sparsify.main)
        except SystemExit as leaving:
            print(f"exit code {leaving.code or 0}")
"""


def sparsify(*lines: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs command lines one after the other, in one process."""
    command = [sys.executable, "-c", CHILD, json.dumps(lines)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, make_config):
    """A run of eight steps."""
    path = tmp_path_factory.mktemp("runs") / "dense"
    train("tiny", make_config(), WorkDirectory(str(path)))
    return path


def test_a_run_is_judged_and_trained_on_under_another_attention(trained, tmp_path):
    judge = [f"--workdir={trained}", "--attention=banded(window=2)"]
    on = [*judge, "--continue_steps=4", f"--output={tmp_path / 'on'}", "--learning_rate=0.005"]
    done = sparsify([*judge, f"--output={tmp_path / 'report'}"], on)
    assert done.stderr == "" and done.stdout.count("exit code 0") == 2

    only = json.loads((tmp_path / "report/sparsify.json").read_text())
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "sparsify.json",
        "sparsify.png",
    }
    last = read_metrics(trained / "metrics.jsonl")[-1]
    assert only["loss"]["own"] == pytest.approx(last["loss"], rel=1e-5)
    assert only["bits_per_byte"]["own"] == pytest.approx(last["bits_per_byte"], rel=1e-5)
    assert 0 < only["kept"][0][0] < 1 and only["kl"] > 0 and only["step"] == 8

    report = json.loads((tmp_path / "on/sparsify.json").read_text())
    after = report.pop("continued")
    assert report == only
    workdir = WorkDirectory(str(tmp_path / "on"))
    assert (after["step"], after["loss"]) == (4, workdir.result()["loss"])
    assert after["loss"] < report["loss"]["new"]
    config, own = workdir.config(), WorkDirectory(str(trained)).config()
    assert config.model.attention == "banded(window=2)"
    assert config.optimizer.learning_rate == 0.005
    assert (config.optimizer.warmup_steps, config.optimizer.decay_steps) == (1, 30)
    assert config.training.seed == own.training.seed + 1
    assert (
        workdir.tokenizer().content_hash() == WorkDirectory(str(trained)).tokenizer().content_hash()
    )


def test_bad_input_is_one_line(trained, tmp_path):
    before = sorted(os.listdir(trained))
    run = f"--workdir={trained}"
    lines = {
        "error: attention 'bandit', column 1: unknown attention": [run, "--attention=bandit"],
        "error: attention 'banded(window=0)', column 1: banded(": [
            run,
            "--attention=banded(window=0)",
        ],
        "error: strided(stride=17,part=both): got stride=17, expected at most the length, 16": [
            run,
            "--attention=strided(stride=17)",
        ],
        "error: flag --attention=None": [run],
        "error: --workdir: got none": ["--attention=dense"],
        "error: --workdir: no run in": [f"--workdir={tmp_path}/no", "--attention=dense"],
        "error: --output: got none": [run, "--attention=dense", "--continue_steps=3"],
        f"error: --workdir: {trained} holds another run": [
            *(run, "--attention=banded(window=2)", "--continue_steps=3", f"--output={trained}")
        ],
    }
    done = sparsify(*lines.values())
    assert done.stdout.split("\n")[:-1] == ["exit code 2"] * len(lines)
    for line, expected in zip(done.stderr.splitlines(), lines, strict=True):
        assert line.startswith(expected)
    assert sorted(os.listdir(trained)) == before
