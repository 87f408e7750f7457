"""Ladders: what is planned, what is refused, and a whole study whose prediction cannot be moved."""

import copy
import json

import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax.config import resolve
from gptjax.models.costs import parameter_count
from gptjax.runs.workdir import WorkDirectory
from gptjax.scaling.counting import COUNTS
from gptjax.scaling.power_laws import fit_power_law
from gptjax.scaling.recipes import batch_tokens, peak_rate, recipe_for
from gptjax.settings import fields
from gptjax.studies.scaling_laws.ladder import (
    Rung,
    automatic_sizes,
    check_alike,
    ladder,
    parse_sizes,
)
from gptjax.studies.scaling_laws.study import from_runs, planned
from tests.support.binaries import call

pytestmark = pytest.mark.usefixtures("cache")
SIZES = [(2, 8), (2, 12), (2, 16), (2, 24)]


def target(**changes):
    config = EXPERIMENTS.get("scaling_miniature")()
    for path, value in changes.items():
        section, name = path.split("__")
        setattr(getattr(config, section), name, value)
    return config


def test_a_ladder_is_the_target_in_other_sizes():
    base = target()
    whole, rungs = (
        Rung.of(resolve(base), "non_embedding"),
        ladder(base, SIZES, "non_embedding", 0.01),
    )
    assert [rung.name for rung in rungs] == ["2x8", "2x12", "2x16", "2x24"]
    assert whole.parameters == 2 * 12 * 96**2 and whole.tokens == 3520 * 32 * 64
    for rung, (layers, width) in zip(rungs, SIZES, strict=True):
        config = rung.config
        assert rung.parameters == layers * 12 * width**2
        assert rung.compute == 6 * rung.parameters * rung.tokens < 0.01 * whole.compute
        ratio = rung.tokens / rung.parameters / (whole.tokens / whole.parameters)
        assert ratio == pytest.approx(1, abs=0.02)
        share = (rung.parameters / whole.parameters) ** 2
        assert config.training.batch_size == max(1, round(32 * share**0.3271))
        assert config.optimizer.learning_rate == pytest.approx(0.01 * share**-0.125)
        judged = config.training.batch_size * (config.training.eval_batches or 0)
        assert 0 <= judged - 32 * 128 < config.training.batch_size
        assert config.optimizer.warmup_steps == round(config.training.num_steps / 10)
        changed = {p for p, v in fields(config).items() if v != fields(whole.config)[p]}
        assert all(
            path.startswith(("model.d_", "model.num_", "training.", "optim")) for path in changed
        )
    model = whole.config.model
    assert COUNTS["all"](model) == 6 * parameter_count(model)


def test_automatic_sizes_are_shares_of_the_targets_compute():
    base = resolve(target(model__d_model=512, model__num_heads=8))
    sizes = automatic_sizes(base)
    shares = [(width / 512) ** 4 for _, width in sizes]
    assert len(sizes) == 6 and {layers for layers, _ in sizes} == {2}
    assert 0.7e-4 < shares[0] <= 1e-4 and 0.7e-2 < shares[-1] <= 1e-2
    with pytest.raises(ValueError, match="for a target of d_model = 96, whose 6 widths"):
        automatic_sizes(resolve(target()))


def test_what_is_no_ladder_is_refused():
    rungs = ladder(target(), SIZES, "non_embedding", 0.01)
    other = copy.deepcopy(rungs[1].config)
    other.model.positions, other.training.log_every = "learned", 7
    with pytest.raises(
        ValueError, match=r"2x8 and 2x12 that differ in model.positions = 'rotary' and"
    ):
        check_alike([rungs[0], Rung.of(other, "all")])
    for text, said in {
        "2x8,2x12,2x16": "got 3 different ones of 3, expected at least 4",
        "2x8,2x12,2x16,2x8": "got 3 different ones of 4",
        "2x8,12": "got '12', expected LAYERSxWIDTH",
    }.items():
        with pytest.raises(ValueError, match=said):
            parse_sizes(text)
    for base, sizes, said in (
        (target(), [*SIZES, (2, 64)], "got 2x64, which has 0.19"),
        (target(), [*SIZES, (2, 49)], "2 heads .* do not divide the width"),
        (EXPERIMENTS.get("bert_smoke")(), SIZES, "got a run of kind masked_lm"),
        (target(training__batch_ramp_start=1, training__batch_ramp_tokens=9), SIZES, "batch_ramp"),
    ):
        with pytest.raises(ValueError, match=said):
            ladder(base, sizes, "non_embedding", 0.01)
    with pytest.raises(ValueError, match="--runs: got 3, expected at least 4"):
        from_runs("x", target(), None, "all", ["a", "b", "c"])  # pyright: ignore


@pytest.fixture
def unknown(tmp_path, monkeypatch):
    """A study in which runs end at once, with a planted loss and 0.3% of noise."""
    study = planned("x", target(), tmp_path, "non_embedding", SIZES, 0.01)
    losses = {}

    def ends(rung, loss):
        workdir = study.workdir(rung)
        workdir.path.mkdir(parents=True)
        (workdir.path / "config.json").write_text("{}")
        losses[workdir.path] = loss
        (workdir.path / "metrics.jsonl").write_text(
            json.dumps({"step": 1, "split": "validation", "loss": loss}) + "\n"
        )

    for i, rung in enumerate(study.rungs):
        ends(rung, 15 * rung.compute**-0.13 + 1.3 + 0.003 * (-1) ** i)
    return study, ends


def test_a_prediction_is_written_once_before_the_large_run(unknown):
    study, ends = unknown
    first = study.predict()
    law = fit_power_law(
        [x["compute"] for x in first["points"]], [x["loss"] for x in first["points"]]
    )
    assert first["predicted"] == pytest.approx(float(law(study.target.compute)))
    assert first["written"].endswith("+00:00") and len(first["sha256"]) == 64
    ends(study.target, 15 * study.target.compute**-0.13 + 1.3)
    assert study.predict() == first  # the same command, again
    summary = study.summary()
    assert abs(summary["error"]) < 0.05 and summary["within"]
    path = study.root / "prediction.json"
    changed = json.loads(path.read_text()) | {"predicted": summary["measured"]}
    path.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match=r"expected \w{64}, as they were written before"):
        study.summary()
    path.unlink()
    with pytest.raises(ValueError, match="a large run that has begun before a prediction"):
        study.predict()


def test_a_prediction_from_other_losses_is_refused(unknown):
    study, _ = unknown
    study.predict()
    rows = study.workdir(study.rungs[0]).path / "metrics.jsonl"
    rows.write_text('{"step": 1, "split": "validation", "loss": 4.0}\n')
    with pytest.raises(ValueError, match="got a prediction from other runs"):
        study.predict()


def test_a_plan_for_a_budget_is_shown_and_spends_nothing(tmp_path):
    done = call("scaling", "--plan", "--flops=1e21", f"--workdir={tmp_path}/x")
    assert done.code == 0 and not (tmp_path / "x").exists()
    last = [cell.strip() for cell in done.output.splitlines()[-1].split("|")]
    recipe = recipe_for(1e21)
    assert last[1:3] == ["1e+21", f"{recipe.num_layers} x {recipe.d_model}"]
    assert 6 * recipe.parameters * recipe.tokens == pytest.approx(1e21, rel=1e-6)
    assert last[-2] == f"{1e21 / 4e14 / 3600:,.1f}"
    # DeepSeek LLM's own 7B and 67B runs (table 2 and section 3.1): 4.2e-4 and 3.2e-4.
    assert peak_rate(6 * 6.9e9 * 2e12) == pytest.approx(4.2e-4, rel=0.1)
    assert peak_rate(6 * 67e9 * 2e12) == pytest.approx(3.2e-4, rel=0.1)
    assert 4096 * 2304 * 0.5 < batch_tokens(6 * 6.9e9 * 2e12) < 4096 * 2304 * 2
    for line, said in {
        "--flops=1e21": "--flops: got 1e+21 without --plan, expected both",
        "--plan --flops=1e9": "got a budget for",
        "--plan --experiment=scaling_miniature": "for a target of d_model = 96",
        "--plan --target=model.d_modle=3": "did you mean",
    }.items():
        assert said in call("scaling", *line.split()).refusal, line


@pytest.mark.slow
def test_a_whole_study_predicts_trains_and_goes_on(tmp_path):
    """Four runs of two and more steps on a few words; a second call trains nothing again."""
    (tmp_path / "text").mkdir()
    words = np.random.default_rng(0).choice(["one ", "two ", "three "], (8, 3000))
    for i, row in enumerate(words):
        (tmp_path / "text" / f"{i}.txt").write_text("".join(row))
    root = tmp_path / "study"
    changes = f"data.corpus=text:{tmp_path}/text,training.num_steps=60,training.eval_batches=2"
    changes += ",optimizer.warmup_steps=6"
    flags = [
        *("--experiment=scaling_miniature", f"--workdir={root}", "--largest_share=0.3"),
        *(f"--target={changes},model.d_model=32,model.num_heads=2", "--sizes=1x8,1x12,1x16,2x16"),
    ]
    done = call("scaling", *flags)
    assert done.code == 0, done.errors
    summary = json.loads((root / "scaling.json").read_text())
    result = WorkDirectory(str(root / "target")).result()
    assert summary["measured"] == result["loss"]
    assert summary["error"] == pytest.approx(summary["predicted"] / result["loss"] - 1)
    assert (root / "scaling.png").read_bytes().startswith(b"\x89PNG")
    before = (root / "prediction.json").read_bytes()
    assert call("scaling", *flags).code == 0
    assert (root / "prediction.json").read_bytes() == before
    runs = ",".join(str(root / "ladder" / name) for name in ("1x8", "1x12", "1x16", "2x16"))
    other = [flag for flag in flags if "sizes" not in flag and "workdir" not in flag]
    again = call("scaling", *other, f"--workdir={tmp_path}/other", f"--runs={runs}", "--plan")
    assert again.code == 0 and "| 2x16 |" in again.output
    wrong = call("scaling", *other[:-1], f"{other[-1]},model.norm=post", f"--runs={runs}", "--plan")
    assert "differ in model.norm" in wrong.refusal
