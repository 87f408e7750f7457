import json
import subprocess
import sys
from pathlib import Path

from experiments.configs import EXPERIMENTS, PIPELINES

ROOT = Path(__file__).resolve().parents[2]


def listed(*arguments: str) -> str:
    command = [sys.executable, "-m", "experiments.list", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_every_experiment_has_its_line():
    lines = listed().splitlines()
    assert [line.split()[0] for line in lines] == [*EXPERIMENTS, *PIPELINES]
    assert any(line.split(maxsplit=1)[1].startswith("GPT-3 175B, 174,604M") for line in lines)


def test_one_experiment_is_shown_in_full():
    shown = listed("--experiment=gpt3_xl")
    assert "Differs from the paper: 16 heads of 128" in shown
    golden = Path(__file__).parent / "golden" / "gpt3_xl.json"
    assert json.loads(shown[shown.index("{\n") :]) == json.loads(golden.read_text())
