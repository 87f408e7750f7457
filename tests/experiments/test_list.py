import json
from pathlib import Path

from experiments.configs import EXPERIMENTS, PIPELINES
from tests.support.binaries import call


def test_every_experiment_has_its_line():
    listed = call("list")
    lines = listed.output.splitlines()
    assert (listed.code, listed.errors) == (0, "")
    assert [line.split()[0] for line in lines] == [*EXPERIMENTS, *PIPELINES]
    assert any(line.split(maxsplit=1)[1].startswith("GPT-3 175B, 174,604M") for line in lines)


def test_one_experiment_is_shown_in_full():
    shown = call("list", "--experiment=gpt3_xl").output
    assert "Differs from the paper: 16 heads of 128" in shown
    golden = Path(__file__).parent / "golden" / "gpt3_xl.json"
    assert json.loads(shown[shown.index("{\n") :]) == json.loads(golden.read_text())
