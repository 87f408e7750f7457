import json
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from gptjax.runs import inputs
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget import comparison
from gptjax.studies.equal_budget.comparison import compare
from gptjax.studies.equal_budget.measure import Measurement
from gptjax.studies.equal_budget.plan import Trial
from gptjax.training.reporting.metrics import read_metrics

VARIANTS = ["dense", "banded(window=2)"]


def run_comparison(path, config, *, variants=VARIANTS, budget="tokens", num_seeds=1):
    return compare("tiny", config, WorkDirectory(str(path)), list(variants), budget, num_seeds)


@pytest.fixture
def trained(monkeypatch):
    """The runs that are started, as (attention, seed), in order."""
    started, train = [], comparison.train

    def noted(experiment, config, workdir):
        started.append((config.model.attention, config.training.seed))
        return train(experiment, config, workdir)

    monkeypatch.setattr(comparison, "train", noted)
    return started


@pytest.fixture
def measured(monkeypatch):
    """What a step takes is said, and not measured."""
    monkeypatch.setattr(
        comparison, "measure_all", lambda configs, *_: dict.fromkeys(configs, Measurement(1e-4, 9))
    )


@pytest.fixture(scope="module")
def begun(tmp_path_factory, make_config):
    """A comparison that has measured, and trained nothing yet."""
    path = tmp_path_factory.mktemp("begun") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        stopped = SimpleNamespace(interrupted_by="SIGTERM")
        patch.setattr(comparison, "train", lambda *run: stopped)
        patch.setattr(comparison, "measure_all", lambda _, __, kept: kept.write_text("{}"))
        patch.setattr(comparison, "plan", lambda *_: [Trial("dense", 3, make_config())])
        assert run_comparison(path, make_config(training__seed=3)) is None
    return path


@pytest.mark.slow
def test_runs_are_compared_and_done_once(tmp_path, make_config, trained):
    """One seed; the same again; a second seed."""
    path = tmp_path / "runs"
    config = make_config(training__seed=3)
    summary = run_comparison(path, config)
    assert trained == [("dense", 3), ("banded(window=2)", 3)]
    assert summary["variants"][0]["loss"]["half_width"] is None

    assert run_comparison(path, config) == summary
    assert len(trained) == 2

    summary = run_comparison(path, config, num_seeds=2)
    assert trained[2:] == [("dense", 4), ("banded(window=2)", 4)]
    saved = json.loads((path / "comparison.json").read_text())
    assert saved["variants"] == summary["variants"]
    assert saved["budget"] == "tokens" and saved["versions"]

    by_hand = {}
    for row in saved["variants"]:
        losses = []
        for run in row["runs"]:
            own = WorkDirectory(str(path / run["workdir"]))
            assert own.config().model.attention == row["variant"]
            assert own.config().training.seed == run["seed"]
            last = read_metrics(own.path / "metrics.jsonl")[-1]
            assert (run["loss"], run["bits_per_byte"]) == (last["loss"], last["bits_per_byte"])
            assert [point["step"] for point in run["curve"]] == [4, 8]
            losses.append(last["loss"])
        by_hand[row["variant"]] = losses
        assert row["loss"]["mean"] == pytest.approx(sum(losses) / 2)
        spread = 12.7062 * abs(losses[0] - losses[1]) / 2  # s / sqrt(2) is half the difference
        assert row["loss"]["half_width"] == pytest.approx(spread, rel=1e-4)
        assert row["tokens"] == 8 * 4 * 16
    differences = [b - a for a, b in zip(*by_hand.values(), strict=True)]
    assert saved["variants"][1]["loss_less_first"]["mean"] == pytest.approx(sum(differences) / 2)
    assert by_hand["dense"] != by_hand["banded(window=2)"]
    assert "banded(window=2)" in (path / "comparison.md").read_text()
    assert (path / "comparison.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "options", "difference"),
    [
        ({"optimizer__learning_rate": 0.02}, {}, "optimizer.learning_rate: 0.02, not 0.01"),
        ({"training__num_steps": 9}, {}, "training.num_steps: 9, not 8"),
        ({"training__eval_every": 2}, {}, "eval_every: 2, not 4"),
        ({}, {"budget": "flops"}, "budget: flops, not tokens"),
        ({}, {"variants": VARIANTS[::-1]}, "model.attention: 'banded.window=2.', not 'dense'"),
    ],
)
def test_another_comparison_is_refused(begun, make_config, trained, changes, options, difference):
    config = make_config(**{"training__seed": 3} | changes)
    with pytest.raises(ValueError, match=f"another run; expected .* {difference}") as error:
        run_comparison(begun, config, **options)
    assert "\n" not in str(error.value)
    assert trained == []


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_in_the_run_it_stopped_in(
    tmp_path, make_config, trained, measured, monkeypatch
):
    config, whole = make_config(training__seed=3), inputs.training_batches

    def interrupted(config, *rest):
        for number, batch in enumerate(whole(config, *rest)):
            if config.model.attention != "dense" and number == 3:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(inputs, "training_batches", interrupted)
        assert run_comparison(tmp_path / "runs", config) is None
    assert not (tmp_path / "runs/comparison.json").exists()
    (begun,) = (tmp_path / "runs/runs/banded{window=2}").iterdir()
    assert not (begun / "result.json").exists() and (begun / "checkpoints/4").exists()
    before = (begun.parents[1] / "dense/seed3/metrics.jsonl").read_bytes()

    summary = run_comparison(tmp_path / "runs", config)
    assert trained == [("dense", 3), *[("banded(window=2)", 3)] * 2]
    assert (begun.parents[1] / "dense/seed3/metrics.jsonl").read_bytes() == before
    assert [point["step"] for point in summary["variants"][1]["runs"][0]["curve"]] == [4, 8]


def test_variants_are_judged_on_the_targets_that_none_may_see(tmp_path, make_config, measured):
    """Of windows of 16 tokens those from 6 on; a loop over them."""
    config, variants = make_config(training__seed=3), ["dense", "prefix(length=6)"]
    summary = run_comparison(tmp_path / "runs", config, variants=variants)
    for variant in summary["variants"]:
        (run,) = variant["runs"]
        workdir = WorkDirectory(str(tmp_path / "runs" / run["workdir"]))
        own = workdir.config()
        split = inputs.prepare_corpus(own, workdir.tokenizer()).validation
        nats, params, apply = [], workdir.params(), jax.jit(workdir.model().apply)
        for batch in inputs.validation_batches(own, split)():
            logits = np.asarray(apply({"params": params}, batch["tokens"]), np.float64)
            chances = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            for row, t in zip(*np.nonzero(batch["loss_weights"]), strict=True):
                if t + 1 >= 6:
                    nats.append(-chances[row, t, batch["targets"][row, t]])
        assert run["loss"] == pytest.approx(np.mean(nats), rel=1e-5)
        assert variant["loss"]["mean"] == run["loss"]
    message = "got block_causal.block=7.; block_causal.block=4., expected some target that none"
    with pytest.raises(ValueError, match=message):
        neither = ["block_causal(block=7)", "block_causal(block=4)"]
        run_comparison(tmp_path / "others", config, variants=neither)
