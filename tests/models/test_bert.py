"""BERT: its size, what each position sees, its costs; the outputs are compared in tests/interop."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.configs import EXPERIMENTS
from gptjax import attention
from gptjax.config import resolve
from gptjax.model_config import BertConfig
from gptjax.models import costs
from gptjax.models.bert import Bert
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.training.losses import masked_language_model
from tests.models.test_costs import matmul_flops

SMALL = {
    "vocab_size": 29,
    "vocab_multiple": 16,
    "context_length": 8,
    "num_layers": 1,
    "num_heads": 2,
    "d_model": 8,
    "norm": "post",
}


@pytest.mark.parametrize(
    ("name", "heads", "published"),
    [
        ("bert_base", "encoder", 109_482_240),
        ("bert_base", "pretraining", 110_106_428),
        ("bert_base", "masked_lm", 109_514_298),  # of transformers' BertForMaskedLM
        ("bert_large", "encoder", 335_141_888),
        ("bert_large", "pretraining", 336_226_108),
    ],
)
def test_the_model_has_its_published_size(name, heads, published):
    config = resolve(EXPERIMENTS.get(name)()).model
    config = dataclasses.replace(config, heads=heads)
    shapes = parameter_shapes(Bert(config))
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    padding = shapes["token_embedding"].shape[0] - 30522
    assert costs.bert_parameter_count(config) == size - padding * config.d_model == published


@pytest.mark.parametrize("heads", ["pretraining", "masked_lm"])
def test_costs_of_a_step_are_those_of_the_matrix_products(heads):
    config = BertConfig(**{**SMALL, "vocab_size": 32}, heads=heads, attention_impl="reference")
    model = Bert(config)
    arrays = {
        name: jnp.zeros((3, size), dtype)
        for name, size, dtype in [
            *((name, 6, int) for name in ("tokens", "token_types", "segment_ids")),
            *((name, 2, int) for name in ("masked_positions", "targets")),
            ("loss_weights", 2, float),
        ]
    }
    if heads == "pretraining":
        arrays["is_random"] = jnp.zeros(3, int)
    loss = masked_language_model(model)
    program = jax.make_jaxpr(lambda params: loss(params, arrays, None)[0])(parameter_shapes(model))
    a_token = costs.bert_training_flops_per_token(model.config, length=6, masked=2)
    assert matmul_flops(program.jaxpr) == pytest.approx(a_token / 3 * 3 * 6, rel=1e-12)
    executed = costs.bert_executed_training_flops_per_token(model.config, length=6, masked=2)
    assert executed == pytest.approx(a_token, rel=1e-12)  # every pair: nothing is causal


def random_params(config):
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jax.device_put(rng.normal(0.3, 0.5, leaf.shape).astype(np.float32)),
        parameter_shapes(Bert(config)),
    )


@pytest.mark.parametrize("pattern", ["dense", "heads(banded(window=2),strided(stride=3))"])
def test_a_position_sees_the_pattern_both_ways_and_no_padding(pattern):
    """One layer: what changes when one token does, against the pattern's own predicate."""
    config = BertConfig(**SMALL, attention=pattern)
    length, real = 8, 6
    tokens = np.random.default_rng(1).integers(0, 29, (1, length)).repeat(length + 1, 0)
    for place in range(length):
        tokens[place + 1, place] = (tokens[0, place] + 1) % 29
    segments = np.where(np.arange(length) < real, 0, -1)[None].repeat(length + 1, 0)
    apply = jax.jit(Bert(config).apply)
    given = {"params": random_params(config)}
    outputs = jax.device_get(apply(given, tokens, segment_ids=segments))
    hidden = outputs.hidden
    changed = np.abs(hidden[1:] - hidden[:1]).max(-1).T > 0  # [query, key]
    at = np.arange(length)
    (parsed,) = attention.parse(pattern)
    sees = np.any(
        [one(at[:, None], at[None]) | np.eye(length, dtype=bool) for one in parsed.per_head()], 0
    )
    np.testing.assert_array_equal(changed[:real, :real], sees[:real, :real])
    assert sees[0, 1:real].any() and not changed[:real, real:].any()
    np.testing.assert_array_equal(
        outputs.next_sentence[1 + real :], outputs.next_sentence[:1].repeat(length - real, 0)
    )


def test_the_loss_is_that_of_masked_positions_alone():
    """Against NumPy; a row's next-sentence loss counts as often as the row has masked tokens."""
    model = Bert(BertConfig(**SMALL))
    params, rng = random_params(model.config), np.random.default_rng(2)
    tokens, types = rng.integers(0, 29, (3, 8)), rng.integers(0, 2, (3, 8))
    batch = {
        "tokens": tokens,
        "token_types": types,
        "segment_ids": np.zeros((3, 8), int),
        "masked_positions": np.array([[1, 4], [6, 0], [0, 0]]),
        "targets": np.array([[3, 28], [7, 0], [0, 0]]),
        "loss_weights": np.array([[1, 1], [1, 0], [0, 0]], np.float32),
        "is_random": np.array([1, 0, 1]),
    }
    found, weight, sums = jax.jit(lambda params: masked_language_model(model)(params, batch, None))(
        params
    )
    apply = jax.jit(Bert(model.config).apply)
    read = {"token_types": types, "segment_ids": batch["segment_ids"]}
    outputs = jax.device_get(apply({"params": params}, tokens, **read))

    def nats(logits, target):
        logits = np.asarray(logits, np.float64)
        return math.log(np.exp(logits).sum()) - logits[target], float(logits.argmax() == target)

    asked = [(0, 1, 3), (0, 4, 28), (1, 6, 7)]
    masked = np.sum([nats(outputs.masked_lm[row, at], token) for row, at, token in asked], 0)
    sentence = np.sum(
        [nats(outputs.next_sentence[row], label) for row, label in ((0, 1), (0, 1), (1, 0))], 0
    )
    assert weight == 3 and found == pytest.approx(masked[0] + sentence[0], rel=1e-5)
    assert [sums["masked_lm_loss"], sums["masked_lm_accuracy"]] == pytest.approx(masked, rel=1e-5)
    names = "next_sentence_loss", "next_sentence_accuracy"
    assert [sums[name] for name in names] == pytest.approx(sentence, rel=1e-5)


def test_rows_longer_than_the_context_are_refused():
    with pytest.raises(ValueError, match="tokens: got 9 a row, expected at most 8"):
        jax.eval_shape(Bert(BertConfig(**SMALL)).init, jax.random.key(0), jnp.zeros((1, 9), int))
