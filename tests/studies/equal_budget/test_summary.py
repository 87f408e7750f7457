"""Statistics against a printed table, density against loops, curves against a worked example."""

import json

import numpy as np
import pytest

from gptjax import attention
from gptjax.config import ExperimentConfig, ModelConfig, TrainingConfig, resolve
from gptjax.model_config import EncoderDecoderConfig
from gptjax.models.costs import executed_training_flops_per_token
from gptjax.studies.equal_budget.measure import Measurement
from gptjax.studies.equal_budget.plan import plan
from gptjax.studies.equal_budget.summary import curve, density, summarise, t_interval
from gptjax.studies.equal_budget.variants import parse_variants
from gptjax.tasks.configs.translation import TranslationConfig

# Student's t, two-sided 95%, by degrees of freedom, as statistics books print it.
PRINTED = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 29: 2.045}


@pytest.mark.parametrize(("freedom", "t"), PRINTED.items())
def test_the_interval_is_students(freedom, t):
    values = list(np.random.default_rng(freedom).normal(3.0, 0.1, freedom + 1))
    found = t_interval(values)
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["deviation"] == pytest.approx(np.std(values, ddof=1))
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert found["half_width"] == pytest.approx(t * error, rel=2e-4)


def test_one_seed_has_no_interval():
    assert t_interval([2.5]) == {"mean": 2.5, "half_width": None, "deviation": None}


@pytest.mark.parametrize(
    "specification",
    [
        "dense",
        "banded(window=3)",
        "dense,banded(window=3),strided(stride=4)",
        "heads(dense,banded(window=2),banded(window=5)),prefix(length=7)",
    ],
)
def test_density_is_the_share_of_causal_pairs(specification):
    length, layers, heads = 19, 4, 5
    config = ModelConfig(
        context_length=length, num_layers=layers, num_heads=heads, attention=specification
    )
    patterns = attention.parse(specification)
    pairs = 0
    for layer in range(layers):
        for head in range(heads):
            cycle = patterns[layer % len(patterns)].per_head()
            pattern = cycle[head % len(cycle)]
            for q in range(length):
                for k in range(length):
                    ordered = pattern.states_order or k <= q
                    pairs += ordered and bool(pattern(np.array(q), np.array(k)))
    causal = length * (length + 1) // 2
    assert density(config) == pytest.approx(pairs / (layers * heads * causal))


def test_a_curve_has_the_cost_of_each_evaluation():
    """100 tokens a step; 2 steps at 100 tokens/s, 2 at 50: an evaluation in between is at 4 s."""
    config = resolve(
        ExperimentConfig(
            model=ModelConfig(
                vocab_size=16, context_length=50, num_layers=1, num_heads=1, d_model=8
            ),
            training=TrainingConfig(num_steps=4, batch_size=2),
        )
    )
    rows = [
        {"step": 2, "loss": 9.0, "tokens_per_second": 100.0},
        {"step": 3, "split": "validation", "loss": 3.0},
        {"step": 4, "loss": 9.0, "tokens_per_second": 50.0},
        {"step": 4, "split": "validation", "loss": 2.0},
    ]
    flops = executed_training_flops_per_token(config.model)
    assert curve(config, rows) == [
        {"step": 3, "tokens": 300, "executed_flops": 300 * flops, "seconds": 4.0, "loss": 3.0},
        {"step": 4, "tokens": 400, "executed_flops": 400 * flops, "seconds": 6.0, "loss": 2.0},
    ]


def test_every_figure_is_compared_seed_by_seed(tmp_path):
    """Of made-up runs; a smoothed and a plain loss are two quantities, so the loss is left out."""
    base = TranslationConfig(
        model=EncoderDecoderConfig(
            vocab_size=16, context_length=50, num_layers=1, num_heads=1, d_model=8
        ),
        training=TrainingConfig(num_steps=4, batch_size=2),
    )
    variants = parse_variants(base, "base; plain: translation.label_smoothing=0")
    measured = {each.key: Measurement(1.0, 9) for each in variants}
    trials = plan(base, variants, "tokens", 3, measured)
    bleu = {("base", 0): 10.0, ("base", 1): 20.0, ("base", 2): 60.0}
    bleu |= {("plain", 0): 11.0, ("plain", 1): 23.0, ("plain", 2): 65.0}
    for trial in trials:
        row = {"step": 4, "split": "validation", "tokens": 800, "seconds": 5.0, "loss": 1.0}
        row |= {"nats": 2.0, "bleu": bleu[trial.variant.name, trial.seed], "bleu_low": 1.0}
        row |= {"perplexity": None if trial.variant.name == "plain" else 7.0, "signature": "tok"}
        rows = [{"step": 4, "tokens": 800, "tokens_per_second": 100.0}, row]
        path = tmp_path / trial.directory / "metrics.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(f"{json.dumps(each)}\n" for each in rows))

    summary = summarise(trials, "tokens", measured, tmp_path)
    assert summary["figures"] == ["nats", "bleu", "perplexity"]
    assert (summary["figure"], summary["axis"]) == ("nats", "nats per word piece")
    first, plain = summary["variants"]
    assert first["bleu"]["mean"] == 30 and first["bleu_less_first"] is None
    assert plain["bleu_less_first"]["mean"] == 3  # of 1, 3 and 5, whose deviation is 2
    assert plain["bleu_less_first"]["half_width"] == pytest.approx(4.303 * 2 / 3**0.5, rel=1e-3)
    assert plain["perplexity"] is None and plain["perplexity_less_first"] is None
    assert plain["changes"] == {"translation.label_smoothing": 0.0}
    assert plain["runs"][0]["signature"] == "tok" and plain["runs"][0]["bleu_low"] == 1
    assert plain["seconds"] == 8 and plain["density"] is None
