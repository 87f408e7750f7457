import pytest

from gptjax.config import (
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    ParallelismConfig,
    TrainingConfig,
    batch_schedule,
    resolve,
)
from gptjax.settings import fields, validate


def message(call, *args) -> str:
    with pytest.raises(ValueError) as caught:
        call(*args)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_resolve_fills_what_follows_in_a_copy():
    given = ExperimentConfig(model=ModelConfig(d_model=96, num_heads=6))
    resolved = resolve(given)
    model, optimizer = resolved.model, resolved.optimizer
    assert (model.d_head, model.num_kv_heads, model.d_ff) == (16, 6, 384)
    assert (optimizer.warmup_steps, optimizer.decay_steps) == (0, 1000)
    assert given.model.d_ff is None and given.optimizer.decay_steps is None
    assert resolve(resolved) == resolved


def test_resolve_keeps_what_is_given():
    model = ModelConfig(d_model=96, num_heads=5, d_head=8, d_value=3, num_kv_heads=1, d_ff=7)
    optimizer = OptimizerConfig(warmup_tokens=5, decay_tokens=6)
    resolved = resolve(ExperimentConfig(model=model, optimizer=optimizer))
    assert resolved.model == model and resolved.optimizer == optimizer


@pytest.mark.parametrize(
    "config, expected",
    [
        (
            ExperimentConfig(model=ModelConfig(d_model=100, num_heads=12)),
            "config.model.d_model: got 100 with 12 heads, expected a multiple of num_heads",
        ),
        (
            ExperimentConfig(model=ModelConfig(num_heads=12, num_kv_heads=5)),
            "config.model.num_kv_heads: got 5, expected a divisor of num_heads = 12",
        ),
        (
            ExperimentConfig(model=ModelConfig(positions="rotary", d_head=7)),
            "config.model.d_head: got 7 with positions=rotary and rotary_scaling=none, expected an "
            "even number",
        ),
        (
            ExperimentConfig(model=ModelConfig(positions="sinusoidal", d_model=9, d_head=4)),
            "config.model.d_model: got 9 with positions=sinusoidal",
        ),
        (
            ExperimentConfig(model=ModelConfig(rotary_scaling="yarn", rotary_factor=2.0)),
            "config.model.rotary_scaling: got yarn with positions=learned and rotary_scaling=yarn, "
            "expected none",
        ),
        (
            ExperimentConfig(model=ModelConfig(positions="rotary", rotary_factor=2.0)),
            "config.model.rotary_factor: got 2.0 with positions=rotary and rotary_scaling=none, "
            "expected 1",
        ),
        (
            ExperimentConfig(model=ModelConfig(positions="rotary", rotary_scaling="interpolation")),
            "config.model.rotary_factor: got 1.0 with positions=rotary and rotary_scaling="
            "interpolation, expected more than 1",
        ),
        (
            ExperimentConfig(model=ModelConfig(positions="rotary", rotary_original_context=8)),
            "config.model.rotary_original_context: got 8 with positions=rotary and rotary_scaling="
            "none, expected none",
        ),
        (
            ExperimentConfig(optimizer=OptimizerConfig(warmup_steps=1, warmup_tokens=1)),
            "config.optimizer: got both warmup_steps and warmup_tokens, expected at most one",
        ),
        (
            ExperimentConfig(optimizer=OptimizerConfig(decay_steps=1, decay_tokens=1)),
            "config.optimizer: got both decay_steps and decay_tokens, expected at most one",
        ),
        (
            ExperimentConfig(training=TrainingConfig(batch_ramp_start=1)),
            "config.training: got one of batch_ramp_start and batch_ramp_tokens, expected both",
        ),
        (
            ExperimentConfig(training=TrainingConfig(batch_ramp_start=9, batch_ramp_tokens=9)),
            "config.training.batch_ramp_start: got 9, expected at most batch_size = 8",
        ),
        (
            ExperimentConfig(training=TrainingConfig(skip_data=True)),
            "config.training.skip_data: got True without rollback_after, expected it to be given",
        ),
        (
            ExperimentConfig(parallelism=ParallelismConfig(fsdp=2)),
            "config.parallelism.fsdp: got 2 with strategy=single, expected 1 (or strategy=mesh)",
        ),
        (
            ExperimentConfig(parallelism=ParallelismConfig("pmap", data=8, tensor=2)),
            "config.parallelism.tensor: got 2 with strategy=pmap, expected 1 (or strategy=mesh)",
        ),
        (
            ExperimentConfig(parallelism=ParallelismConfig("mesh", sequence=3)),
            "config.parallelism.sequence: got 3, expected a divisor of context_length = 1024",
        ),
        (
            ExperimentConfig(
                ModelConfig(attention_dropout=0.1),
                parallelism=ParallelismConfig("mesh", sequence=2),
            ),
            "config.model.attention_dropout: got 0.1 with parallelism.sequence=2, expected 0",
        ),
        (
            ExperimentConfig(
                ModelConfig(residual_dropout=0.1), parallelism=ParallelismConfig("pmap")
            ),
            "config.model.residual_dropout: got 0.1 with strategy=pmap, expected 0 (or strategy",
        ),
        (
            ExperimentConfig(training=TrainingConfig(seed=-1)),
            "config.training.seed: got -1, expected int >= 0 and <= 2147483647",
        ),
    ],
)
def test_resolve_refuses_contradictions_in_one_line(config, expected):
    assert message(resolve, config).startswith(expected)


def test_the_original_context_follows_from_the_factor_unless_given():
    fields = {"positions": "rotary", "rotary_scaling": "yarn", "rotary_factor": 4.0}
    for given, original in ((None, 256), (100, 100)):
        model = ModelConfig(context_length=1024, rotary_original_context=given, **fields)
        resolved = resolve(ExperimentConfig(model=model)).model
        assert resolved.rotary_original_context == original
        assert resolve(ExperimentConfig(model=resolved)).model == resolved


def test_every_leaf_of_the_default_config_is_validated():
    for path, value in fields(ExperimentConfig()).items():
        config = ExperimentConfig()
        section, leaf = path.split(".")
        setattr(getattr(config, section), leaf, object())
        assert message(validate, config).startswith(f"config.{path}: got <object"), value


def test_the_batch_schedule_is_the_configs():
    training = TrainingConfig(batch_size=32, batch_ramp_start=4, batch_ramp_tokens=1000)
    schedule = batch_schedule(
        ExperimentConfig(model=ModelConfig(context_length=16), training=training)
    )
    assert (schedule.batch_size, schedule.context_length) == (32, 16)
    assert (schedule.ramp_start, schedule.ramp_tokens) == (4, 1000)
