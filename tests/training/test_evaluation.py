import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import ParallelismConfig
from gptjax.data.batches.loader import evaluation_batches
from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.training.evaluation import language_model_evaluator
from gptjax.training.losses import cross_entropy
from gptjax.training.partitioning import make_mesh

TEXTS = ["a short one", "naïve café — 漢字 🙂", "", "and then a longer one than the window is"]
SINGLE = make_mesh(ParallelismConfig())


@pytest.fixture
def split():
    """Documents as bytes, 256 around each of them."""
    stream, starts = [256], []
    for text in TEXTS:
        starts.append(len(stream) - 1)
        stream += [*text.encode(), 256]
    sizes = np.array([len(text.encode()) for text in TEXTS], np.int64)
    return TokenizedSplit("validation", np.array(stream, np.uint16), np.array(starts), sizes)


def _bigram_loss(params, batch, rng):
    """The model is a table of logits by the token before; it also counts what it guesses."""
    assert rng is None, "dropout must be off"
    logits = params[batch["tokens"]]
    weights = batch["loss_weights"]
    hits = (jnp.argmax(logits, axis=-1) == batch["targets"]).astype(jnp.float32) * weights
    nats = cross_entropy(logits, batch["targets"]) * weights
    return jnp.sum(nats), jnp.sum(weights), {"accuracy": jnp.sum(hits)}


def _evaluator(split, mesh=SINGLE, limit=None):
    def batches():
        return itertools.islice(evaluation_batches(split, 8, 4), limit)

    bytes_per_target = split.num_bytes / split.num_targets
    return language_model_evaluator(_bigram_loss, batches, bytes_per_target, mesh)


def _params(seed=0):
    return np.random.default_rng(seed).normal(size=(257, 257)).astype(np.float32)


def _oracle(split, params, targets):
    table, nats, hits = np.asarray(params, np.float64), 0.0, 0
    for before, target in itertools.islice(itertools.pairwise(split.tokens), targets):
        nats -= table[before][target] - math.log(sum(math.exp(x) for x in table[before]))
        hits += int(table[before].argmax()) == int(target)
    return nats, hits


@pytest.mark.parametrize("devices", [1, 4])
def test_every_target_counts_once_whatever_the_windows_and_the_mesh(split, devices):
    mesh = make_mesh(ParallelismConfig(strategy="mesh"), jax.devices()[:devices])
    evaluate = _evaluator(split, mesh)
    assert split.num_targets % 8, "the last window is to be partial"
    for seed in (0, 1):  # twice, so that the batches are made anew
        row = evaluate(
            jax.device_put(_params(seed), SINGLE.devices.item() if devices == 1 else None)
        )
        nats, hits = _oracle(split, _params(seed), None)
        assert row["loss"] == pytest.approx(nats / split.num_targets, rel=1e-5)
        assert row["perplexity"] == pytest.approx(math.exp(nats / split.num_targets), rel=1e-4)
        utf8_bytes = sum(len(text.encode()) for text in TEXTS)
        assert row["bits_per_byte"] == pytest.approx(nats / math.log(2) / utf8_bytes, rel=1e-5)
        assert row["bytes_of"] == "documents"
        assert row["accuracy"] == pytest.approx(hits / split.num_targets, rel=1e-6)


def test_a_part_of_the_split_is_judged_by_its_own_targets(split):
    row = _evaluator(split, limit=1)(_params())
    nats, _ = _oracle(split, _params(), 4 * 8)
    assert row["loss"] == pytest.approx(nats / 32, rel=1e-5)


def test_chance_costs_the_logarithm_of_the_vocabulary_for_each_byte_and_the_end():
    """256 bytes and the end of the text, all equally likely; one document of 1,000 bytes."""
    stream = np.array([256, *[7] * 1000, 256], np.uint16)
    split = TokenizedSplit("validation", stream, np.array([0]), np.array([1000]))
    row = _evaluator(split)(np.zeros((257, 257), np.float32))
    assert row["perplexity"] == pytest.approx(257, rel=1e-5)
    assert row["bits_per_byte"] == pytest.approx(1.001 * math.log2(257), rel=1e-5)


def test_hopeless_and_broken_models_are_reported_as_such(split):
    hopeless = np.zeros((257, 257), np.float32)
    hopeless[:, 0] = 1e6
    row = _evaluator(split)(hopeless)
    assert row["loss"] > 700 and row["perplexity"] == math.inf
    row = _evaluator(split)(np.full((257, 257), np.nan, np.float32))
    assert math.isnan(row["loss"]) and math.isnan(row["perplexity"])
