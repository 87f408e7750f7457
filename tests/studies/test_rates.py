"""The best learning rate by width, of planted losses, and what is refused."""

import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax.studies.scaling_laws.rates import best_rate, markdown, rate_trials, summarise
from tests.support.binaries import call

RATES = [2.0**-k for k in range(11, 3, -1)]


def base():
    config = EXPERIMENTS.get("scaling_smoke")()
    config.optimizer.name = "adamw"
    return config


def test_planted_optima_are_found_and_compared():
    """The standard form's best rate falls as 1 / width; muP's stays."""
    trials = rate_trials(base(), [32, 64, 256], RATES)
    assert len(trials) == 48 and len({trial.directory for trial in trials}) == 48
    losses = []
    for trial in trials:
        model = trial.config.model
        assert (model.d_model, model.num_heads) == (trial.d_model, 4)
        assert (model.d_head, model.d_ff) == (trial.d_model // 4, 4 * trial.d_model)
        best = 0.01 if trial.parametrization == "mup" else 0.02 * 32 / trial.d_model
        losses.append(2 + np.log(trial.learning_rate / best) ** 2)
    found = summarise(trials, losses)
    assert found["mup"]["best"] == pytest.approx({"32": 0.01, "64": 0.01, "256": 0.01})
    assert found["mup"]["moves"] == pytest.approx(1)
    assert found["standard"]["moves"] == pytest.approx(8)
    assert "mup: the best rate moves by a factor of 1.0." in markdown(found)


def test_an_optimum_at_an_end_or_beside_a_diverged_run_is_that_point():
    assert best_rate({"0.1": 3.0, "0.2": 2.0, "0.4": 1.0}) == 0.4
    assert best_rate({"0.1": 3.0, "0.2": 2.0, "0.4": float("inf")}) == 0.2


def test_bad_input_is_one_line(tmp_path):
    for line, said in {
        "--rates=0.1": "--rates: got 0.1, expected at least 3 different ones",
        "--widths=32,32": "--widths: got 32, 32, expected at least 2",
        "--widths=a": "--widths: invalid literal",
        "--changes=optimizer.name=muon": "got mup with optimizer.name=muon",
    }.items():
        refused = call("learning_rates", f"--workdir={tmp_path}/x", *line.split()).refusal
        assert said in refused, line
