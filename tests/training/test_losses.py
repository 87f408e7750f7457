import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gptjax.attention import parse
from gptjax.models.gpt import GPT
from gptjax.training.losses import counted_weights, cross_entropy, language_model, token_nats
from tests.attention import oracle
from tests.support.tiers import tiered

# Patterns by position, two of which look ahead.
ABSOLUTE = (
    "sinks(window=1,sinks=1),longformer(window=1,global_tokens=2),fixed(stride=3,summary=1),"
    "block_local(block=3),prefix(length=2),block_causal(block=2)"
)


def _random(shape=(3, 5, 7), seed=0):
    rng = np.random.default_rng(seed)
    logits = (4 * rng.normal(size=shape)).astype(np.float32)
    targets = rng.integers(shape[-1], size=shape[:-1], dtype=np.int32)
    return logits, targets, rng.normal(size=shape[:-1]).astype(np.float32)


def _oracle(logits, targets, cotangents):
    """Losses and the gradient of their weighted sum, one position after another, in float64."""
    losses, gradient = np.zeros(targets.shape), np.zeros(logits.shape)
    for at in np.ndindex(targets.shape):
        row = [math.exp(logit) for logit in logits[at]]
        losses[at] = math.log(sum(row)) - logits[at][targets[at]]
        for v in range(len(row)):
            probability = row[v] / sum(row)
            gradient[at][v] = cotangents[at] * (probability - (v == targets[at]))
    return losses, gradient


@functools.partial(jax.jit, static_argnums=0)
def _with_gradient(loss, logits, targets, cotangents):
    losses, pullback = jax.vjp(lambda logits: loss(logits, targets), logits)
    return losses, pullback(cotangents)[0]


def test_cross_entropy_and_its_gradient_equal_a_loop_and_optax():
    logits, targets, cotangents = _random()
    losses, gradient = _with_gradient(cross_entropy, logits, targets, cotangents)
    want_losses, want_gradient = _oracle(logits, targets, cotangents)
    np.testing.assert_allclose(losses, want_losses, rtol=1e-5)
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-6)

    optax_losses, optax_gradient = _with_gradient(
        optax.softmax_cross_entropy_with_integer_labels, logits, targets, cotangents
    )
    np.testing.assert_allclose(losses, optax_losses, rtol=1e-5)
    np.testing.assert_allclose(gradient, optax_gradient, atol=1e-6)


def test_cross_entropy_of_huge_logits_is_exact():
    logits = np.array([[1e4, 0.0, -1e4], [0.0, 1e4, 0.0]], np.float32)
    losses = jax.jit(cross_entropy)(logits, np.array([0, 0], np.int32))
    np.testing.assert_array_equal(losses, [0.0, 1e4])


def test_logits_of_minus_infinity_take_no_probability_and_get_no_gradient():
    logits, targets, cotangents = _random()
    padded = np.concatenate([logits, np.full((3, 5, 4), -np.inf, np.float32)], axis=-1)
    given = cross_entropy, padded, targets, cotangents
    losses, gradient = jax.device_get(_with_gradient(*given))
    want_losses, want_gradient = _oracle(logits, targets, cotangents)
    np.testing.assert_allclose(losses, want_losses, rtol=1e-5)
    np.testing.assert_allclose(gradient[..., :7], want_gradient, atol=1e-6)
    np.testing.assert_array_equal(gradient[..., 7:], 0.0)


@pytest.fixture(scope="module")
def sums(make_model):
    """Returns a function from a chunk and model fields to (sum, weight, metrics) and gradient."""

    @functools.cache
    def compiled(chunk, fields):
        loss = language_model(GPT(make_model(num_layers=1, d_ff=48, **dict(fields))), chunk)

        def loss_sum(params, batch):
            value, weight, metrics = loss(params, batch, None)
            return value, (weight, metrics)

        return jax.jit(jax.value_and_grad(loss_sum, has_aux=True))

    return lambda chunk=None, **fields: compiled(chunk, tuple(fields.items()))


@pytest.mark.parametrize("tied", [True, False])
def test_language_model_sums_the_losses_of_weighted_targets(
    make_model, random_params, make_batch, sums, tied
):
    config = make_model(num_layers=1, d_ff=48, tied_embeddings=tied)
    params, batch = random_params(config), make_batch()
    (value, (weight, metrics)), grads = sums(tied_embeddings=tied)(params, batch)
    logits = jax.jit(GPT(config).apply)({"params": params}, batch["tokens"])
    logits = np.asarray(logits, np.float64)
    want = sum(
        batch["loss_weights"][at]
        * (np.log(np.exp(logits[at]).sum()) - logits[at][batch["targets"][at]])
        for at in np.ndindex(batch["targets"].shape)
    )
    assert value == pytest.approx(want, rel=1e-5)
    assert weight == batch["loss_weights"].sum() < batch["targets"].size
    assert metrics == {}
    grads = jax.device_get(grads)
    table = grads["token_embedding"] if tied else grads["head"]["kernel"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert (table[:50] != 0).any(axis=1).all()
    np.testing.assert_array_equal(table[50:], 0.0)


def test_dropout_is_off_without_an_rng_and_a_function_of_it_otherwise(
    make_model, random_params, make_batch, sums
):
    rates = {f"{place}_dropout": 0.3 for place in ("embedding", "residual", "attention")}
    config = make_model(num_layers=1, d_ff=48, **rates)
    params, batch = random_params(config), make_batch()
    loss = jax.jit(lambda params, rng: language_model(GPT(config))(params, batch, rng)[0])
    (plain, _), _ = sums(tied_embeddings=True)(params, batch)
    # Another compilation, hence another order of summation.
    np.testing.assert_allclose(loss(params, None), plain, rtol=1e-6)
    first, again, other = (loss(params, jax.random.key(seed)) for seed in (1, 1, 2))
    assert first == again
    assert len({float(first), float(other), float(plain)}) == 3


@pytest.mark.parametrize("attention", ["dense", pytest.param(ABSOLUTE, marks=pytest.mark.slow)])
def test_masked_documents_cost_what_they_cost_alone(
    make_model, random_params, make_batch, attention
):
    """A row of two documents, of 3 and 5 tokens, against each of them in a row of its own."""
    config = make_model(num_layers=1 + attention.count("),"), attention=attention)
    params, batch = random_params(config), make_batch(rows=1)
    loss = jax.jit(lambda batch: language_model(GPT(config))(params, batch, None)[0])
    positions = np.array([[0, 1, 2, 0, 1, 2, 3, 4]], np.int32)
    segment_ids = np.array([[0, 0, 0, 1, 1, 1, 1, 1]], np.int32)
    together = loss(batch | {"segment_ids": segment_ids, "positions": positions})

    def alone(start, stop):
        """The cost of a document that has a row of its own."""
        return float(loss({name: array[:, start:stop] for name, array in batch.items()}))

    assert together == pytest.approx(alone(0, 3) + alone(3, 8), rel=1e-6)
    assert together != pytest.approx(float(loss(batch)), rel=1e-4)


AHEAD = [
    "prefix(length=4),dense",
    "block_causal(block=3)",
    "prefix(length=5)&dilated(window=2,dilation=2),dense",
    "heads(prefix(length=3),dense),banded(window=3)|block_causal(block=2)",
]


@pytest.mark.parametrize(
    ("attention",),
    tiered(
        [(attention,) for attention in (*AHEAD, *map(str, oracle.EXAMPLES))],
        [(attention,) for attention in (*AHEAD[:2], "banded(window=7)")],
    ),
)
def test_no_loss_that_counts_depends_on_its_own_target(make_model, random_params, attention):
    """Row t of the batch has another token at t; what predicts t, from before it, is the same."""
    length = 8
    sizes = {"stride=7,summary=3": "stride=5,summary=2", "stride=7": "stride=5"}
    for large, small in sizes.items():
        attention = attention.replace(large, small)
    config = make_model(num_layers=2, context_length=length, attention=attention)
    tokens = np.random.default_rng(0).integers(0, 50, length + 1)
    rows = np.tile(tokens, (length, 1))
    rows[np.arange(1, length), np.arange(1, length)] += 1  # the first row is as it was
    batch = {
        "tokens": rows[:, :-1],
        "targets": np.tile(tokens[1:], (length, 1)),
        "loss_weights": np.ones((length, length), np.float32),
    }
    nats = jax.jit(functools.partial(token_nats(GPT(config)), rng=None))
    found = np.asarray(nats(random_params(config), batch))
    counted = np.asarray(jax.jit(lambda batch: counted_weights(batch, config))(batch))[0] > 0
    at = np.arange(1, length)
    same = np.abs(found[at, at - 1] - found[0, at - 1]) < 1e-6
    assert same[counted[: length - 1]].all()
    looks_ahead = any(pattern.looks_ahead for pattern in parse(attention))
    assert counted.all() == (not looks_ahead) and counted.any()
    assert looks_ahead == (not same.all())


def test_bfloat16_compute_sums_in_float32(make_model, random_params, make_batch, sums):
    config = make_model(num_layers=1, d_ff=48, dtype="bfloat16")
    params, batch = random_params(config), make_batch()
    value, weight, _ = jax.jit(language_model(GPT(config)))(params, batch, None)
    (exact, _), _ = sums(tied_embeddings=True)(params, batch)
    assert value.dtype == weight.dtype == jnp.float32
    assert value == pytest.approx(float(exact), rel=1e-2)


@pytest.mark.parametrize(
    "chunk", [2, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 8))]
)
def test_chunks_change_neither_loss_nor_gradient(
    make_model, random_params, make_batch, sums, chunk
):
    params, batch = random_params(make_model(num_layers=1, d_ff=48)), make_batch()
    whole, chunked = sums(tied_embeddings=True), sums(chunk, tied_embeddings=True)
    ((value, (weight, _)), grads), ((other, _), other_grads) = (
        jax.device_get(each(params, batch)) for each in (whole, chunked)
    )
    np.testing.assert_allclose(other, value, rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a / weight, b / weight, atol=1e-6),
        other_grads,
        grads,
    )

    def positions_at_a_time(function):
        """Of logits of 8 rows and 64 padded ids, wherever the program makes some."""
        program = str(function.trace(params, batch).jaxpr)
        return {int(count) for count in re.findall(r"f32\[8,(\d+),64\]", program)}

    assert positions_at_a_time(whole) == {8}
    assert positions_at_a_time(chunked) == {chunk}
