"""Every registered experiment, resolved, as it was last looked at.

After an intended change read the diff of what REWRITE makes of the golden files, then commit it.
"""

import json
from pathlib import Path

import pytest

from experiments.configs import EXPERIMENTS
from gptjax.config import batch_schedule, resolve
from gptjax.settings import to_dict
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.configs.preference_optimisation import DPOConfig
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from gptjax.tasks.policy_optimisation.config import PPOConfig

GOLDEN = Path(__file__).parent / "golden"
REWRITE = "python -m tests.experiments.test_configs"
DIFFERS = f"if that is intended, `{REWRITE}` rewrites tests/experiments/golden"


def as_text(name: str) -> str:
    return json.dumps(to_dict(resolve(EXPERIMENTS.get(name)())), indent=2) + "\n"


@pytest.mark.parametrize("name", EXPERIMENTS.names())
def test_the_resolved_config_is_the_golden_one(name):
    golden = GOLDEN / f"{name}.json"
    assert golden.exists() and as_text(name) == golden.read_text(), f"{name}: {DIFFERS}"


def test_every_golden_file_has_its_experiment():
    assert {path.stem for path in GOLDEN.iterdir()} == set(EXPERIMENTS), DIFFERS


@pytest.mark.parametrize("name", EXPERIMENTS.names())
def test_experiments_are_made_fresh_and_say_what_to_expect(name):
    make = EXPERIMENTS.get(name)
    first, second = make(), make()
    first.model.num_layers = first.training.num_steps = first.data.corpus = 77  # pyright: ignore
    assert second == make()
    assert "Expected" in (make.__doc__ or "")


# Table 2.1 of GPT-3: batch in millions of tokens, learning rate.
GPT3 = {
    "small": (0.5, 6.0e-4),
    "medium": (0.5, 3.0e-4),
    "large": (0.5, 2.5e-4),
    "xl": (1, 2.0e-4),
    "2.7b": (1, 1.6e-4),
    "6.7b": (2, 1.2e-4),
    "13b": (2, 1.0e-4),
    "175b": (3.2, 0.6e-4),
}


@pytest.mark.parametrize("size", GPT3)
def test_gpt3_trains_as_its_paper_says(size):
    config = resolve(EXPERIMENTS.get(f"gpt3_{size}")())
    batches, (millions, rate) = batch_schedule(config), GPT3[size]
    full = config.training.batch_size * 2048
    assert full == pytest.approx(millions * 1e6, rel=0.05)
    assert batches.batch_size_at(0) * 2048 == 32_768
    ramp = config.training.batch_ramp_tokens
    assert ramp is not None and 4e9 <= ramp <= 12e9
    total = batches.tokens(config.training.num_steps)
    assert 0 <= total - 300e9 < full
    optimizer = config.optimizer
    assert (optimizer.learning_rate, optimizer.final_fraction) == (rate, 0.1)
    assert (optimizer.warmup_tokens, optimizer.decay_tokens) == (375e6, 260e9)
    assert (optimizer.beta1, optimizer.beta2, optimizer.epsilon) == (0.9, 0.95, 1e-8)
    assert (optimizer.clip_norm, optimizer.weight_decay) == (1.0, 0.1)


def test_gpt1_trains_as_its_paper_says():
    config = resolve(EXPERIMENTS.get("gpt1")())
    model, optimizer, training = config.model, config.optimizer, config.training
    assert (model.norm, model.context_length, training.batch_size) == ("post", 512, 64)
    assert {model.embedding_dropout, model.attention_dropout, model.residual_dropout} == {0.1}
    assert (optimizer.learning_rate, optimizer.warmup_steps) == (2.5e-4, 2000)
    assert (optimizer.schedule, optimizer.final_fraction) == ("cosine", 0.0)
    assert (optimizer.weight_decay, optimizer.decay_steps) == (0.01, training.num_steps)


@pytest.mark.parametrize(
    ("name", "rate", "batch"),
    [
        ("sft_1.3b", 9.65e-6, 32),
        ("sft_6b", 9.65e-6, 32),
        ("sft_175b", 5.03e-6, 8),
        ("reward_model_6b", 9e-6, 64),
    ],
)
def test_instructgpt_trains_as_its_paper_says(name, rate, batch):
    config = resolve(EXPERIMENTS.get(name)())
    optimizer, training = config.optimizer, config.training
    assert (optimizer.learning_rate, training.batch_size) == (rate, batch)
    assert (optimizer.schedule, optimizer.final_fraction) == ("cosine", 0.1)
    assert (optimizer.warmup_steps, optimizer.decay_steps) == (0, None)  # over all steps
    assert (optimizer.beta1, optimizer.beta2) == (0.9, 0.95)
    if isinstance(config, RewardModelConfig):
        assert config.reward.epochs == 1 and config.model.residual_dropout == 0.0
    else:
        assert isinstance(config, SFTConfig)
        assert config.sft.epochs == 16 and config.model.residual_dropout == 0.2


@pytest.mark.parametrize(("size", "value_rate"), [("1.3b", 9e-6), ("6b", 9e-6), ("175b", 5e-6)])
def test_ppo_ptx_trains_as_its_paper_says(size, value_rate):
    """InstructGPT, appendix C.4."""
    config = resolve(EXPERIMENTS.get(f"ppo_ptx_{size}")())
    assert isinstance(config, PPOConfig)
    optimizer, training, ppo = config.optimizer, config.training, config.ppo
    assert training.num_steps * training.batch_size == 256_000 and training.batch_size == 512
    assert (training.batch_size // ppo.minibatches, ppo.inner_epochs) == (64, 1)
    assert (ppo.kl_coefficient, ppo.clip, ppo.discount) == (0.02, 0.2, 1.0)
    assert (ppo.pretraining_coefficient, ppo.pretraining_rows) == (27.8, 8)
    assert ppo.max_prompt_tokens + ppo.max_answer_tokens <= 2048
    assert ppo.value_learning_rate == value_rate and ppo.kl_target is None
    assert (optimizer.schedule, optimizer.warmup_steps) == ("constant", 10)
    assert (optimizer.beta1, optimizer.beta2, optimizer.ema_decay) == (0.9, 0.95, 0.992)


def test_dpo_trains_as_its_paper_says():
    config = resolve(EXPERIMENTS.get("dpo_6b")())
    assert isinstance(config, DPOConfig)
    assert (config.dpo.loss, config.dpo.beta, config.dpo.label_smoothing) == ("dpo", 0.1, 0.0)
    assert (config.optimizer.learning_rate, config.optimizer.warmup_steps) == (1e-6, 150)
    assert (config.training.batch_size, config.optimizer.schedule) == (64, "constant")


def rewrite_golden_files() -> None:
    for path in GOLDEN.glob("*.json"):
        path.unlink()
    for name in EXPERIMENTS:
        (GOLDEN / f"{name}.json").write_text(as_text(name))


if __name__ == "__main__":
    rewrite_golden_files()
