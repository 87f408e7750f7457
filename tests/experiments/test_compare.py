"""The command lines of `experiments.compare`; what it does is tested in studies/equal_budget."""

import json

import pytest

from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget import comparison
from gptjax.studies.equal_budget.measure import Measurement
from gptjax.training.reporting.metrics import read_metrics
from tests.support.binaries import call, registered


@pytest.mark.slow
def test_two_variants_are_trained_and_compared(make_config, tmp_path, monkeypatch):
    """What a step takes is said, and not measured."""
    path, measured = tmp_path / "runs", Measurement(1e-4, 9)
    monkeypatch.setattr(
        comparison, "measure_all", lambda configs, *_: dict.fromkeys(configs, measured)
    )
    with registered(tiny=lambda: make_config(training__seed=3)):
        done = call(
            *("compare", "--experiment=tiny", f"--workdir={path}", "--budget=tokens"),
            *("--variants=dense;banded(window=2)", "--seeds=1", "--tasks=arithmetic(count=3)"),
        )
    assert (done.code, done.errors) == (0, "")
    assert "--- run 2 of 2: banded(window=2), seed 3" in done.output
    assert done.output.endswith(f"{path}/comparison.json, .md and .png are written\n")
    compared = json.loads((path / "comparison.json").read_text())
    dense, banded = compared["variants"]
    assert "arithmetic(count=3) exact_match" in compared["figures"]
    assert "arithmetic(count=3) exact match" in (path / "comparison.md").read_text()
    for variant in (dense, banded):
        (run,) = variant["runs"]
        own = WorkDirectory(str(path / run["workdir"]))
        assert own.config().model.attention == variant["variant"]
        assert run["loss"] == read_metrics(own.path / "metrics.jsonl")[-1]["loss"]
        assert variant["tokens"] == 8 * 4 * 16 and variant["memory_bytes"] == 9
    assert dense["runs"][0]["loss"] != banded["runs"][0]["loss"]


def test_bad_input_is_one_line_before_anything_runs(tmp_path):
    for argument, expected in {
        "--variants=dense;bandit": "--variants: bandit: attention 'bandit', column 1: unknown",
        "--variants=dense;dense": "--variants: got 'dense' and 'dense', which are the same;",
        "--seeds=0": "flag --seeds=0: expected int >= 1",
        "--experiment=bert_smoke --tasks=arithmetic": "--tasks: got arithmetic with runs of kind",
        "--tasks=lambda": "unknown task 'lambda' (did you mean 'lambada'?)",
        "--budget=euros": "flag --budget=euros: expected one of tokens, flops, seconds",
        "--experiment=ppo_smoke": "--experiment: got one of kind ppo, expected one of a kind that",
    }.items():
        flags = ("--experiment=compare_smoke", f"--workdir={tmp_path / 'runs'}")
        assert call("compare", *flags, *argument.split()).refusal.startswith(expected)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("cache")
def test_the_smoke_experiment_compares_three_variants(tmp_path):
    done = call(
        *("compare", "--experiment=compare_smoke"),
        *(f"--workdir={tmp_path / 'runs'}", "--seeds=1", "--config.training.num_steps=40"),
    )
    assert (done.code, done.errors) == (0, "")
    assert "strided(stride=16)" in done.output
    summary = json.loads((tmp_path / "runs/comparison.json").read_text())
    dense, mixed, strided = summary["variants"]
    assert 0 < strided["density"] < mixed["density"] < dense["density"] == 1
    for variant in (mixed, strided):
        assert variant["executed_flops"] == pytest.approx(dense["executed_flops"], rel=0.01)
        assert variant["dense_equivalent_flops"] >= dense["dense_equivalent_flops"]
    for run in dense["runs"]:
        assert run["loss"] < run["curve"][0]["loss"] < 6.93  # ln 1024
