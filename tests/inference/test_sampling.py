"""Filters against loops in NumPy, draws against the distribution they are drawn from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.inference.sampling import Sampler, Temperature, Texts, TopK, TopP, make_sampler


def texts(count: int, seed: int = 0) -> Texts:
    rngs = jax.random.split(jax.random.key(seed), count)
    return Texts(jnp.zeros((count, 4), jnp.int32), jnp.ones(count, jnp.int32), rngs)


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (6, 50)).astype(np.float32)


def kept(filtered: jax.Array) -> np.ndarray:
    return np.asarray(filtered) > -np.inf


@pytest.mark.parametrize("k", [1, 3, 49, 50, 1000])
def test_top_k_keeps_the_largest(logits, k):
    filtered = TopK(k)(jnp.asarray(logits), texts(len(logits)))
    for row, out in zip(logits, np.asarray(filtered), strict=True):
        order = sorted(range(row.size), key=lambda i: -row[i])
        for rank, i in enumerate(order):
            assert out[i] == (row[i] if rank < k else -np.inf)


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.995])
def test_top_p_keeps_the_fewest_that_hold_the_share(logits, p):
    filtered = TopP(p)(jnp.asarray(logits), texts(len(logits)))
    for row, out in zip(logits.astype(np.float64), np.asarray(filtered), strict=True):
        probabilities = np.exp(row) / np.exp(row).sum()
        share, expected = 0.0, np.full(row.size, -np.inf)
        for i in sorted(range(row.size), key=lambda i: -row[i]):
            if share >= p:
                break
            expected[i] = row[i]
            share += probabilities[i]
        np.testing.assert_array_equal(out, expected.astype(np.float32))


def test_ties_are_kept_together():
    logits = jnp.asarray([[1.0, 3.0, 2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(
        kept(TopK(2)(logits, texts(1))), [[False, True, True, True, True]]
    )
    np.testing.assert_array_equal(
        kept(TopP(0.6)(logits, texts(1))), [[False, True, True, True, True]]
    )


def test_filters_apply_in_order(logits):
    """A nucleus of flattened logits is larger than that of the logits themselves."""
    sampler = make_sampler(temperature=2.0, top_k=20, top_p=0.8)
    assert sampler == Sampler((Temperature(2.0), TopK(20), TopP(0.8)))
    out = jnp.asarray(logits)
    for apply_filter in sampler.filters:
        out = apply_filter(out, texts(len(logits)))
    alone = TopP(0.8)(jnp.asarray(logits), texts(len(logits)))
    assert (kept(out).sum(-1) > kept(alone).sum(-1)).all()
    assert (kept(out).sum(-1) <= 20).all()
    np.testing.assert_allclose(np.asarray(out)[kept(out)], logits[kept(out)] / 2)


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.5}, {"top_k": 3}, {"temperature": 2.0, "top_p": 0.7}]
)
def test_draws_follow_the_distribution(options):
    """Every share within 5 standard deviations of its probability, over 20,000 draws."""
    row, draws = np.array([2.0, -1.0, 0.5, 1.0, 0.0, -3.0]), 20_000
    scaled = row / options.get("temperature", 1.0)
    order = np.argsort(-scaled)
    probabilities = np.exp(scaled) / np.exp(scaled).sum()
    if "top_k" in options:
        probabilities[order[options["top_k"] :]] = 0
    if "top_p" in options:
        before = np.cumsum(probabilities[order]) - probabilities[order]
        probabilities[order[before >= options["top_p"]]] = 0
    probabilities /= probabilities.sum()

    logits = jnp.broadcast_to(jnp.asarray(row, jnp.float32), (draws, row.size))
    tokens = make_sampler(**options)(logits, texts(draws))
    shares = np.bincount(tokens, minlength=row.size) / draws
    bounds = 5 * np.sqrt(probabilities * (1 - probabilities) / draws)
    assert (np.abs(shares - probabilities) <= bounds).all(), (shares, probabilities)


def test_draws_differ_along_a_text_and_do_not_see_their_neighbours():
    logits, batch = jnp.zeros((8, 1000)), texts(8)
    together = np.asarray(Sampler()(logits, batch))
    alone = [
        int(Sampler()(logits[:1], jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batch))[0])
        for i in range(8)
    ]
    assert together.tolist() == alone
    longer = Texts(batch.tokens, batch.lengths + 1, batch.rngs)
    assert (np.asarray(Sampler()(logits, longer)) != together).sum() >= 6


def test_greedy_takes_the_most_probable(logits):
    tokens = make_sampler(temperature=0)(jnp.asarray(logits), texts(len(logits)))
    assert tokens.dtype == jnp.int32
    assert tokens.tolist() == logits.argmax(-1).tolist()


def test_a_function_of_the_text_is_a_filter(logits):
    """What a researcher adds: here, tokens that are in the text already are banned."""

    def ban_repeats(logits, texts):
        written = jnp.arange(texts.tokens.shape[1])[None] < texts.lengths[:, None]
        same = texts.tokens[..., None] == jnp.arange(logits.shape[-1])[None, None]
        return jnp.where((same & written[..., None]).any(1), -jnp.inf, logits)

    batch = texts(len(logits))
    favourites = jnp.asarray(logits.argmax(-1)[:, None].repeat(4, 1), jnp.int32)
    batch = Texts(favourites, batch.lengths, batch.rngs)
    sampler = Sampler((jax.tree_util.Partial(ban_repeats),), greedy=True)
    tokens = jax.jit(lambda sampler, *call: sampler(*call))(sampler, jnp.asarray(logits), batch)
    assert tokens.tolist() == np.argsort(logits)[:, -2].tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature: got -0.1, expected 0"),
        ({"temperature": float("nan")}, "temperature: got nan"),
        ({"temperature": float("inf")}, "temperature: got inf"),
        ({"top_k": 0}, "top_k: got 0, expected 1 or more"),
        ({"top_p": 0.0}, "top_p: got 0.0, expected above 0"),
        ({"top_p": 1.5}, "top_p: got 1.5, expected above 0 and at most 1"),
        ({"temperature": 0.0, "top_k": 5}, "got 0 .greedy. with top_k or top_p"),
        ({"temperature": 0.0, "top_p": 0.5}, "got 0 .greedy. with top_k or top_p"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_sampler(**options)
