import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def _cache(cache):
    return cache


CHILD = """
import sys
from absl.testing import flagsaver
from experiments import train
from experiments.flags.command_line import run

workdir, *lines = sys.argv[1:]
for line in lines:
    sys.argv[1:] = [workdir, *line.split()]
    with flagsaver.flagsaver():
        try:
            run(train.main, with_experiment=True)
        except SystemExit as leaving:
            print("code", leaving.code or 0)
"""


def test_the_binary_runs_its_own_experiments_and_bad_rows_are_one_line(tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "Hi", "response": "Hello."}\n{"prompt": "Hi"}\n')
    wrong = {
        "": "error: --experiment: got none, expected one of: demo, ",
        "--experiment=demo --show_examples=1": "error: --show_examples: got 1 for a run of kind",
        "--experiment=sft_6b": "error: config.data.tokenizer: got none, expected ",
        f"--experiment=sft_smoke --config.sft.conversations=jsonl:{bad}": (
            f"error: {bad}:2: row: got fields prompt, expected 'prompt' and 'response'"
        ),
        "--experiment=sft_smoke --config.sft.random_start=False": (
            "error: config.checkpoint.init_from: got none for a new run of kind sft"
        ),
        "--experiment=sft_smoke --config.sft.epoch=3": "error: unknown config field 'sft.epoch'",
        "--experiment=sft_smoke --config.training.num_steps=1000": (
            "error: --config.training.num_steps: got 1000 with epochs, which decide the steps, exp"
        ),
    }
    small = (
        "--experiment=sft_smoke --config.sft.conversations=instructions:count=100 "
        "--config.sft.epochs=1"
    )
    command = [sys.executable, "-c", CHILD, f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(
        [*command, *wrong, f"{small} --show_examples=2", small],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert next(line[:13] for line in lines if line.startswith("row ")) == "row 0, part 0"
    assert lines.count("code 2") == len(wrong), done.stderr
    for line, expected in zip(done.stderr.splitlines(), wrong.values(), strict=True):
        assert line.startswith(expected)
    assert lines[-2:] == [
        f"step 1: {tmp_path}/run/result.json, loss.png and checkpoints are written",
        "code 0",
    ]
