import json
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from gptjax.interrupted import Interrupted
from gptjax.runs import inputs
from gptjax.runs.kind import kind_named
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget import comparison
from gptjax.studies.equal_budget.comparison import compare
from gptjax.studies.equal_budget.measure import Measurement
from gptjax.studies.equal_budget.plan import Trial
from gptjax.studies.equal_budget.variants import Variant, parse_variants
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tokenization import load_tokenizer
from gptjax.training.reporting.metrics import read_metrics
from tests.support.alignment_runs import make_config as of_kind
from tests.support.prepared import write_prepared

VARIANTS = ["dense", "banded(window=2)"]


def run_comparison(path, config, *, variants=VARIANTS, budget="tokens", num_seeds=1):
    parsed = parse_variants(config, ";".join(variants))
    return compare("tiny", config, WorkDirectory(str(path)), parsed, budget, num_seeds)


@pytest.fixture
def started(monkeypatch):
    """The runs that are started, as (attention, seed), in order."""
    seen, train = [], comparison.train

    def noted(experiment, config, workdir):
        seen.append((config.model.attention, config.training.seed))
        return train(experiment, config, workdir)

    monkeypatch.setattr(comparison, "train", noted)
    return seen


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
        patch.setattr(comparison, "measure_all", lambda _, kept: kept.write_text("{}"))
        patch.setattr(
            comparison, "plan", lambda *_: [Trial(Variant("dense", {}), 3, make_config())]
        )
        with pytest.raises(Interrupted, match=r"^SIGTERM: stopped; the same command goes on"):
            run_comparison(path, make_config(training__seed=3))
    return path


@pytest.mark.slow
def test_runs_are_compared_and_done_once(tmp_path, make_config, started):
    """One seed; the same again; a second seed."""
    path = tmp_path / "runs"
    config = make_config(training__seed=3)
    summary = run_comparison(path, config)
    assert started == [("dense", 3), ("banded(window=2)", 3)]
    assert summary["variants"][0]["loss"]["half_width"] is None

    assert run_comparison(path, config) == summary
    assert len(started) == 2

    summary = run_comparison(path, config, num_seeds=2)
    assert started[2:] == [("dense", 4), ("banded(window=2)", 4)]
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
            assert run["bytes_of"] == last["bytes_of"] == "documents"
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


@pytest.mark.slow
def test_a_variant_of_a_corpus_goes_on_only_with_the_data_that_it_began_with(
    tmp_path, make_config, measured, started
):
    def write(name, text):
        texts = {"train/web-0": [text * 40], "validation/docs-0": ["a lazy fox runs " * 20]}
        write_prepared(tmp_path / name, texts, load_tokenizer("python_docs_1024"), {"web": 1.0})

    write("raw", "the cat sleeps over a dog ")
    write("sifted", "a fox runs under the cat ")
    config = make_config(data__corpus=f"prepared:{tmp_path}/raw")
    variants = ["base", f"sifted: data.corpus=prepared:{tmp_path}/sifted"]
    summary = run_comparison(tmp_path / "runs", config, variants=variants)
    losses = [row["loss"]["mean"] for row in summary["variants"]]
    assert len(started) == 2 and losses[0] != losses[1]
    write("sifted", "a dog runs over the cat ")
    with pytest.raises(ValueError, match=r"seed0: corpus_hash: got \w+ as it is now, expected"):
        run_comparison(tmp_path / "runs", config, variants=variants, num_seeds=2)
    assert len(started) == 2


@pytest.mark.parametrize(
    ("changes", "options", "difference"),
    [
        ({"optimizer__learning_rate": 0.02}, {}, "optimizer.learning_rate: 0.02, not 0.01"),
        ({"training__num_steps": 7}, {}, "training.num_steps: 7, not 8"),
        ({"training__eval_every": 2}, {}, "eval_every: 2, not 4"),
        ({}, {"budget": "flops"}, "budget: flops, not tokens"),
        ({}, {"variants": VARIANTS[::-1]}, "model.attention: 'banded.window=2.', not 'dense'"),
    ],
)
def test_another_comparison_is_refused(begun, make_config, started, changes, options, difference):
    config = make_config(**{"training__seed": 3} | changes)
    with pytest.raises(ValueError, match=f"another run; expected .* {difference}") as error:
        run_comparison(begun, config, **options)
    assert "\n" not in str(error.value)
    assert started == []


def test_epochs_say_how_long_the_first_variant_trains(tmp_path, monkeypatch, measured):
    """Of a kind with epochs: two of them, and with half the rows a step twice the steps."""
    config, started = of_kind(SFTConfig, sft__epochs=2), []
    steps = kind_named("sft").prepare(config).config.training.num_steps

    def noted(experiment, config, workdir):
        started.append((config.sft.epochs, config.training.num_steps))
        return SimpleNamespace(interrupted_by=None)

    monkeypatch.setattr(comparison, "train", noted)
    monkeypatch.setattr(comparison, "summarise", lambda *_: {})
    monkeypatch.setattr(comparison.report, "markdown", lambda _: "")
    monkeypatch.setattr(comparison.report, "plot", lambda *_: None)
    path, variants = tmp_path / "runs", ["base", "training.batch_size=2"]
    run_comparison(path, config, variants=variants)
    assert started == [(None, steps), (None, 2 * steps)]
    with pytest.raises(ValueError, match=r"init_from: got none with lora.rank=4, expected a work"):
        run_comparison(tmp_path / "other", config, variants=["base", "lora.rank=4"])
    assert len(started) == 2 and not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_kind_with_epochs_and_adapters_is_compared(tmp_path, measured, trained):
    start = str(trained("sft").path)
    config = of_kind(SFTConfig, sft__epochs=2, checkpoint__init_from=start)
    path, variants = tmp_path / "runs", ["base", "small: lora.rank=2"]
    summary = run_comparison(path, config, variants=variants, num_seeds=2)
    base, small = summary["variants"]
    assert summary["figures"][0] == "loss" and small["variant"] == "small"
    for row in (base, small):
        for run in row["runs"]:
            last = read_metrics(path / run["workdir"] / "metrics.jsonl")[-1]
            assert run["loss"] == last["loss"] and last["step"] == row["num_steps"]
    assert base["loss"]["mean"] != small["loss"]["mean"]
    assert run_comparison(path, config, variants=variants, num_seeds=2) == summary


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_in_the_run_it_stopped_in(
    tmp_path, make_config, started, measured, monkeypatch
):
    config, whole = make_config(training__seed=3), inputs.training_batches

    def interrupted(config, *rest):
        for number, batch in enumerate(whole(config, *rest)):
            if config.model.attention != "dense" and number == 3:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(inputs, "training_batches", interrupted)
        with pytest.raises(Interrupted):
            run_comparison(tmp_path / "runs", config)
    assert not (tmp_path / "runs/comparison.json").exists()
    (begun,) = (tmp_path / "runs/runs/banded{window=2}").iterdir()
    assert not (begun / "result.json").exists() and (begun / "checkpoints/4").exists()
    before = (begun.parents[1] / "dense/seed3/metrics.jsonl").read_bytes()

    summary = run_comparison(tmp_path / "runs", config)
    assert started == [("dense", 3), *[("banded(window=2)", 3)] * 2]
    assert (begun.parents[1] / "dense/seed3/metrics.jsonl").read_bytes() == before
    assert [point["step"] for point in summary["variants"][1]["runs"][0]["curve"]] == [4, 8]


@pytest.mark.slow
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
