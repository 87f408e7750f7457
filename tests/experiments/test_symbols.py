"""The net of nine pixels, against automatic differentiation and against counting."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.support.binaries import call, names_of


@pytest.fixture(scope="module")
def net():
    return names_of("symbols")


def test_the_gradients_are_those_of_jax(net):
    images, chance = (np.array(net[name], np.float32) for name in ("IMAGES", "CHANCE"))
    weights = net["initial"](seed=1)

    def loss(weights):
        below = images
        for w in weights[:-1]:
            below = jnp.tanh(jnp.concatenate([below, jnp.ones((512, 1))], 1) @ w)
        logits = jnp.concatenate([below, jnp.ones((512, 1))], 1) @ weights[-1]
        return -jnp.sum(chance * jax.nn.log_softmax(logits))

    theirs = jax.jit(jax.grad(loss))([np.array(w, np.float32) for w in weights])
    for ours, expected in zip(net["gradients"](weights), theirs, strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_learning_lowers_the_loss_within_the_bounds(net):
    start = net["initial"]()
    losses = [net["loss_of"](net["learn"](start, steps)) for steps in (0, 50, 200)]
    assert losses[0] > losses[1] > losses[2]
    assert all(abs(w).max() <= 1 for w in net["learn"](start, 200))


def test_the_chances_are_those_of_every_way_to_flip(net):
    """Of the vertical symbols: all 512 patterns of flips of each, added up one by one."""
    expected = dict.fromkeys(itertools.product((-1.0, 1.0), repeat=9), 0.0)
    for column in range(3):
        exact = [1.0 if pixel % 3 == column else -1.0 for pixel in range(9)]
        for flips in itertools.product((False, True), repeat=9):
            image = tuple(-x if flip else x for x, flip in zip(exact, flips, strict=True))
            expected[image] += 0.1 ** sum(flips) * 0.9 ** (9 - sum(flips)) / 3 / 4
    ours = net["CHANCE"][:, 1]
    np.testing.assert_allclose(ours, [expected[tuple(x)] for x in net["IMAGES"]], atol=1e-15)


def test_the_binary_classifies_and_draws(net, tmp_path):
    weights = net["by_hand"]()
    assert all(abs(w).max() <= 1 for w in weights)
    said = net["forward"](weights, net["EXACT"])[-1]
    assert (said.argmax(1) == net["LABELS"]).all()
    done = call("symbols", f"--output={tmp_path}/net.png")
    assert (done.code, done.errors) == (0, "")
    assert "learned: loss 0.319, 89.71% right, 10 of 10 exact ones" in done.output
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
