"""The header of a run says what its steps compute."""

import re

import jax
import pytest

from gptjax.attention.dispatch import choose
from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.runs import header
from gptjax.runs.header import attention_by
from gptjax.runs.kind import kind_of
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.configs.preference_optimisation import DPOConfig
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from tests.support.tiers import tiered

ANSWERS = {"max_prompt_tokens": 24, "max_answer_tokens": 56}

HEADERS = [
    (ExperimentConfig, 64, "dense", {}, "reference"),
    (ExperimentConfig, 256, "dense,banded(window=8)", {}, "blockwise"),
    (
        *(ExperimentConfig, 256, "heads(dense,strided(stride=16))"),
        {"document_masking": True, "score": "alibi"},
        "blockwise",
    ),
    (
        *(ExperimentConfig, 256, "dense"),
        {"document_masking": True, "attention_dropout": 0.1},
        "blockwise",
    ),
    (ExperimentConfig, 64, "dense", {"attention_impl": "blockwise"}, "blockwise"),
    (SFTConfig, 256, "dense,banded(window=8)", {}, "blockwise"),
    (RewardModelConfig, 256, "prefix(length=8)", ANSWERS, "blockwise"),
    (RewardModelConfig, 96, "dense", ANSWERS | {"share_prompts": True}, "reference"),
    (DPOConfig, 256, "dense", ANSWERS, "blockwise"),
]


@pytest.mark.parametrize(
    ("kind", "length", "attention", "given", "expected"),
    tiered(HEADERS, [HEADERS[i] for i in (0, 2, 4, 6, 7)]),
)
def test_attention_is_computed_by_what_the_header_names(
    monkeypatch, kind, length, attention, given, expected
):
    """The calls of which the header asks are those that the loss makes while it is traced."""
    config = kind(
        model=ModelConfig(vocab_size=8, num_layers=2, num_heads=2, d_model=8, context_length=length)
    )
    config.model.attention = attention
    sections = (config.data, config.model, getattr(config, config.kind.split("_")[0], None))
    for name, value in given.items():
        (section,) = (each for each in sections if hasattr(each, name))
        setattr(section, name, value)
    config = resolve(config)
    made, asked = set(), set()

    def noting(calls):
        return lambda call: calls.add(call) or choose(call)

    monkeypatch.setattr("gptjax.attention.dispatch.choose", noting(made))
    monkeypatch.setattr(header, "choose", noting(asked))
    kind = kind_of(config)
    rng = jax.random.key(1) if config.model.attention_dropout else None
    params = kind.shapes(config)
    made.clear()
    jax.eval_shape(
        lambda params, batch: kind.loss(config, kind.model(config))(params, batch, rng),
        *(params, kind.largest_batch(config)),
    )
    assert attention_by(config) == expected
    for line in header.attention_choices(config):  # says why
        assert re.fullmatch(rf".+: {expected}, .+", line) and "Causal" not in line
    assert asked == made
