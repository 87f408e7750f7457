"""Steps at equal budget, schedules and names, against arithmetic by hand."""

import numpy as np

from gptjax.config import (
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    batch_schedule,
    resolve,
)
from gptjax.models.costs import matmul_parameters
from gptjax.runs.inputs import load_model_tokenizer, prepare_corpus, training_batches
from gptjax.studies.equal_budget import plan as module
from gptjax.studies.equal_budget.measure import Measurement
from gptjax.studies.equal_budget.plan import Trial, trial_config
from gptjax.studies.equal_budget.variants import Variant, parse_variants

VARIANTS = ["dense", "banded(window=64)", "dense,banded(window=64)"]
# Seconds a token and bytes.
MEASUREMENTS = {
    "dense": Measurement(3e-4, 0),
    "banded(window=64)": Measurement(1e-4, 0),
    "dense,banded(window=64)": Measurement(2e-4, 0),
}


def make_base(num_steps=1000, **optimizer):
    return ExperimentConfig(
        model=ModelConfig(
            vocab_size=512, context_length=512, num_layers=2, num_heads=4, d_model=64
        ),
        optimizer=OptimizerConfig(**optimizer),
        training=TrainingConfig(num_steps=num_steps, batch_size=3, seed=5),
    )


def plan(base, variants, *rest):
    return module.plan(base, parse_variants(base, ";".join(variants)), *rest)


def dense(base):
    return parse_variants(base, "dense")[0]


def steps(trials):
    return {trial.variant.key: trial.config.training.num_steps for trial in trials}


def test_tokens_are_equal_when_steps_are():
    trials = plan(make_base(), VARIANTS, "tokens", 1, MEASUREMENTS)
    assert steps(trials) == dict.fromkeys(VARIANTS, 1000)


def test_seconds_are_equal_when_steps_times_their_time_are():
    trials = plan(make_base(), VARIANTS, "seconds", 1, MEASUREMENTS)
    assert list(steps(trials).values()) == [1000, 3000, 1500]
    trials = plan(make_base(), VARIANTS[1:], "seconds", 1, MEASUREMENTS)
    assert list(steps(trials).values()) == [1000, 500]


def test_executed_flops_are_equal_to_half_a_step():
    """Causality leaves 3 of 2 x 2 blocks of 256, a band of 64 leaves 7 of 4 x 4 of 128."""
    trials = plan(make_base(), VARIANTS, "flops", 1, MEASUREMENTS)
    matmul = matmul_parameters(resolve(make_base()).model)
    # Blocks of 128 in two layers.
    pairs = {"dense": 24, "banded(window=64)": 14, "dense,banded(window=64)": 19}
    for trial in trials:
        step = 3 * 512 * (6 * matmul + 12 * 64 * pairs[trial.variant.key] * 128**2 / 512)
        if trial.variant.key == "dense":
            budget = 1000 * step
        assert abs(trial.config.training.num_steps * step - budget) <= step / 2
    assert len(set(steps(trials).values())) == 3


def test_a_ramp_counts_by_its_tokens():
    """40 steps of one sequence, 20 of two, then three: 1,000 steps are 2,900 sequences."""
    base = make_base()
    base.training.batch_ramp_start, base.training.batch_ramp_tokens = 1, 80 * 512
    assert batch_schedule(base).examples(1000) == 40 + 2 * 20 + 3 * 940
    first, second = plan(base, ["dense", "banded(window=64)"], "seconds", 1, MEASUREMENTS)
    assert first.config.training.num_steps == 1000
    more = 2 * batch_schedule(base).examples(1000) / 3
    assert second.config.training.num_steps == 1000 + round(more)


def test_at_least_one_step_is_taken():
    slow = MEASUREMENTS | {"dense": Measurement(1e-9, 0)}
    assert steps(plan(make_base(), VARIANTS, "seconds", 1, slow))["banded(window=64)"] == 1


def test_seeds_follow_the_experiments_own_and_are_the_outer_loop():
    trials = plan(make_base(), VARIANTS, "tokens", 3, MEASUREMENTS)
    assert [(t.seed, t.variant.name) for t in trials] == [
        (s, v) for s in (5, 6, 7) for v in VARIANTS
    ]
    for trial in trials:
        assert trial.config.training.seed == trial.seed
        assert trial.config.model.attention == trial.variant.key
        assert trial.config == resolve(trial.config)


def test_the_schedule_is_laid_over_the_runs_own_length():
    base = make_base(100, warmup_steps=10)
    assert trial_config(base, dense(base), 250, 0).optimizer.warmup_steps == 25
    assert trial_config(base, dense(base), 250, 0).optimizer.decay_steps == 250
    base = make_base(100, warmup_tokens=7000, decay_tokens=90_000)
    longer = trial_config(base, dense(base), 200, 0).optimizer
    assert (longer.warmup_tokens, longer.decay_tokens) == (14_000, 180_000)
    assert trial_config(base, dense(base), 100, 5).optimizer == resolve(base).optimizer
    assert base == make_base(100, warmup_tokens=7000, decay_tokens=90_000)


def test_the_data_of_a_seed_are_the_same_for_all_variants(make_config):
    base = make_config()
    train = prepare_corpus(base, load_model_tokenizer(base)).train

    def batches(variant, num_steps, seed):
        config = trial_config(base, parse_variants(base, variant)[0], num_steps, seed)
        some = training_batches(config, train, 0)
        return [next(some) for _ in range(6)]

    expected = batches("dense", 8, 1)
    for ours, theirs in zip(batches("banded(window=2)", 30, 1), expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])
    other = batches("dense", 8, 2)
    assert any((a["tokens"] != b["tokens"]).any() for a, b in zip(other, expected, strict=True))


def test_each_trial_has_a_directory_of_its_own():
    variants = [
        *("dense", "dense,dense", "heads(dense,sinks(window=2,sinks=1)),dense"),
        *("heads(dense),sinks(window=2,sinks=1),dense", "dense|banded(window=2)"),
        *("dense&banded(window=2)", "lora.rank=2,lora.targets=attention/query"),
    ]
    base, measured = make_base(), dict.fromkeys(variants, MEASUREMENTS["dense"])
    base.model.num_layers = 3
    trials = plan(base, variants, "tokens", 2, measured)
    directories = [trial.directory for trial in trials]
    assert len(set(directories)) == len(directories) == 14
    assert all(directory.count("/") == 2 for directory in directories)
    assert trials[0].directory == "runs/dense/seed5"
    assert trials[2].directory == "runs/heads{dense+sinks{window=2+sinks=1}}+dense/seed5"


def test_a_long_variant_has_a_folder_of_its_own_with_a_short_name():
    offsets = ",".join(f"fixed(stride=128,summary=16,offset={i})" for i in range(8))
    config = ExperimentConfig()
    one, other = (
        Trial(Variant("long", {"model.attention": f"heads({offsets}){end}"}), 0, config)
        for end in ("", "|dense")
    )
    assert one.directory != other.directory
    assert max(len(part) for part in one.directory.split("/")) < 100
