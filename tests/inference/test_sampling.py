"""Filters against loops in NumPy, draws against the distribution they are drawn from."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.inference.filters import (
    CountPenalties,
    ForcedTokens,
    LogitBias,
    MinNewTokens,
    MinP,
    RepetitionPenalty,
    Temperature,
    Text,
    TopK,
    TopP,
)
from gptjax.inference.sampling import (
    RowSamplers,
    Sampler,
    alike_sampler,
    by_row,
    draw,
    kind_of,
    make_sampler,
)


@functools.cache
def texts(count: int) -> Text:
    rngs, ones = jax.random.split(jax.random.key(0), count), np.ones(count, np.int32)
    return Text(np.zeros((count, 4), np.int32), ones, ones, rngs)


@jax.jit
def filtered(apply_filter, logits: jax.Array, batch: Text) -> jax.Array:
    """One program for filters of a kind; their numbers are arguments."""
    return jax.vmap(lambda row, text: apply_filter(row, text))(logits, batch)


@jax.jit
def drawn_from(samplers: RowSamplers, logits: jax.Array, batch: Text) -> jax.Array:
    return samplers(logits, batch)


def of_rows(apply_filter, logits) -> np.ndarray:
    """What a filter makes of rows of logits, which share no memory with what comes of it."""
    return np.array(filtered(apply_filter, jnp.array(logits), texts(len(logits))))


def of_one(apply_filter, logits, text: Text) -> np.ndarray:
    """What a filter makes of one text's logits."""
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], text)
    return np.asarray(filtered(apply_filter, jnp.asarray(logits)[None], batch)[0])


def of_batch(samplers: list[Sampler | None], logits: jax.Array, batch: Text) -> np.ndarray:
    return np.asarray(drawn_from(by_row(samplers), jnp.asarray(logits), batch))


def drawn(sampler: Sampler, logits: jax.Array, batch: Text) -> np.ndarray:
    return of_batch([sampler] * len(logits), logits, batch)


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 3, (6, 50)).astype(np.float32)


def kept(filtered: jax.Array) -> np.ndarray:
    return np.asarray(filtered) > -np.inf


@pytest.mark.parametrize("k", [1, 3, 49, 50, 1000])
def test_top_k_keeps_the_largest(logits, k):
    filtered = of_rows(TopK(k), logits)
    for row, out in zip(logits, np.asarray(filtered), strict=True):
        order = sorted(range(row.size), key=lambda i: -row[i])
        for rank, i in enumerate(order):
            assert out[i] == (row[i] if rank < k else -np.inf)


@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.995])
def test_top_p_keeps_the_fewest_that_hold_the_share(logits, p):
    filtered = of_rows(TopP(p), logits)
    for row, out in zip(logits.astype(np.float64), np.asarray(filtered), strict=True):
        probabilities = np.exp(row) / np.exp(row).sum()
        share, expected = 0.0, np.full(row.size, -np.inf)
        for i in sorted(range(row.size), key=lambda i: -row[i]):
            if share >= p:
                break
            expected[i] = row[i]
            share += probabilities[i]
        np.testing.assert_array_equal(out, expected.astype(np.float32))


def test_shares_and_numbers_that_no_float_or_int_holds(logits):
    best = np.arange(50) == logits.argmax(1)[:, None]
    np.testing.assert_array_equal(kept(of_rows(make_sampler(top_p=1e-40).filters[0], logits)), best)
    every = of_rows(make_sampler(top_k=3_000_000_000).filters[0], logits)
    np.testing.assert_array_equal(every, logits)


def test_ties_are_kept_together():
    logits = jnp.asarray([[1.0, 3.0, 2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(kept(of_rows(TopK(2), logits)), [[False, True, True, True, True]])
    np.testing.assert_array_equal(
        kept(of_rows(TopP(0.6), logits)), [[False, True, True, True, True]]
    )


def test_filters_apply_in_order(logits):
    """A nucleus of flattened logits is larger than that of the logits themselves."""
    sampler = make_sampler(temperature=2.0, top_k=20, top_p=0.8)
    assert sampler == Sampler((Temperature(2.0), TopK(20), TopP(0.8)))
    out = logits
    for apply_filter in sampler.filters:
        out = of_rows(apply_filter, out)
    alone = of_rows(TopP(0.8), logits)
    assert (kept(out).sum(-1) > kept(alone).sum(-1)).all()
    assert (kept(out).sum(-1) <= 20).all()
    np.testing.assert_allclose(np.asarray(out)[kept(out)], logits[kept(out)] / 2)


SLOW_OPTIONS = {}, {"temperature": 0.5}, {"top_k": 3}


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 2.0, "top_p": 0.7},
        *(pytest.param(options, marks=pytest.mark.slow) for options in SLOW_OPTIONS),
    ],
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

    logits = np.broadcast_to(row.astype(np.float32), (draws, row.size))
    tokens = drawn(make_sampler(**options), logits, texts(draws))
    shares = np.bincount(tokens, minlength=row.size) / draws
    bounds = 5 * np.sqrt(probabilities * (1 - probabilities) / draws)
    assert (np.abs(shares - probabilities) <= bounds).all(), (shares, probabilities)


def test_draws_differ_along_a_text_and_do_not_see_their_neighbours():
    logits, batch = jnp.zeros((8, 1000)), texts(8)
    together = drawn(Sampler(), logits, batch)
    alone = [
        drawn(Sampler(), logits[:1], jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batch))[0]
        for i in range(8)
    ]
    assert together.tolist() == alone
    longer = dataclasses.replace(batch, length=batch.length + 1)
    assert (drawn(Sampler(), logits, longer) != together).sum() >= 6


def test_a_draw_is_that_of_jax(logits):
    keys, banned = jax.random.split(jax.random.key(3), len(logits)), logits.copy()
    banned[:, 1::3] = -np.inf
    theirs = [int(jax.random.categorical(*pair)) for pair in zip(keys, banned, strict=True)]
    assert jax.vmap(draw)(keys, banned).tolist() == theirs
    assert jax.vmap(draw, (0, 0, None))(keys, banned, 0.0).tolist() == banned.argmax(-1).tolist()
    assert int(draw(keys[0], jnp.zeros(5), 0.0)) == 0  # the first of equals


def test_greedy_takes_the_most_probable(logits):
    tokens = drawn(make_sampler(temperature=0), jnp.asarray(logits), texts(len(logits)))
    assert tokens.dtype == jnp.int32
    assert tokens.tolist() == logits.argmax(-1).tolist()


def test_a_function_of_the_text_is_a_filter(logits):
    """What a researcher adds: here, tokens that are in the text already are banned."""

    def ban_repeats(logits, text):
        return jnp.where(text.counts(logits.shape[0]) > 0, -jnp.inf, logits)

    batch = texts(len(logits))
    favourites = jnp.asarray(logits.argmax(-1)[:, None].repeat(4, 1), jnp.int32)
    batch = dataclasses.replace(batch, tokens=favourites)
    sampler = Sampler((jax.tree_util.Partial(ban_repeats),), greedy=True)
    tokens = drawn(sampler, jnp.asarray(logits), batch)
    assert tokens.tolist() == np.argsort(logits)[:, -2].tolist()


def test_each_row_has_a_sampler_of_its_own(logits):
    """Kinds mixed, among them two of one kind with other numbers; rows without a text."""
    samplers = [
        make_sampler(0.7, top_k=5),
        None,
        make_sampler(0),
        make_sampler(1.3, top_k=9),
        Sampler(),
        make_sampler(0),
    ]
    rows, batch = by_row(samplers), texts(6)
    assert len(rows.kinds) == 3
    together = of_batch(samplers, logits, batch)
    for i, sampler in enumerate(samplers):
        if sampler is not None:
            text = jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], batch)
            assert together[i] == drawn(sampler, logits[i : i + 1], text)[0]


def test_the_same_kinds_are_one_program_in_whichever_rows():
    kinds = [make_sampler(0), make_sampler(0.7, top_k=5), make_sampler(2.0)]
    orders = itertools.permutations(kinds)
    programs = {jax.tree.structure(by_row([*order, None])) for order in orders}
    assert len(programs) == 1


def test_alike_samplers_make_the_draws_of_others_in_four_kinds_of_program(logits):
    options = [
        {},
        {"temperature": 0.0},
        {"temperature": 0.7, "logit_bias": {3: 2.0}, "banned_tokens": [1, 2]},
        {"temperature": 0.0, "repetition_penalty": 1.3, "presence_penalty": 0.5},
        {"top_k": 5},
        {"temperature": 1.3, "top_p": 0.6, "frequency_penalty": 0.2},
        {"top_p": 1.0, "min_p": 0.1},
    ]
    batch, vocab = texts(len(logits)), logits.shape[1]
    for given in options:
        expected = of_batch([make_sampler(**given, vocab_size=vocab)] * len(logits), logits, batch)
        alike = alike_sampler(**given, vocab_size=vocab)
        assert of_batch([alike] * len(logits), logits, batch).tolist() == expected.tolist()
    assert len({kind_of(alike_sampler(**given, vocab_size=vocab)) for given in options}) == 4
    with pytest.raises(ValueError, match="top_k: got 0"):
        alike_sampler(top_k=0, vocab_size=vocab)


def test_repetition_penalties_count_what_is_written(logits):
    """The prompt is [7, 3], then 3, 5, 3; positions after the text mean nothing."""
    tokens = np.array([7, 3, 3, 5, 3, 9, 9], np.int32)
    text = Text(tokens, np.int32(5), np.int32(2), jax.random.key(0))
    row = logits[0]
    expected = logits[0].copy()
    for token in (7, 3, 5):
        expected[token] = expected[token] / 1.5 if expected[token] > 0 else expected[token] * 1.5
    np.testing.assert_allclose(of_one(RepetitionPenalty(1.5), row, text), expected, rtol=1e-6)
    expected = logits[0].copy()
    expected[3] -= 0.5 + 2 * 0.25
    expected[5] -= 0.5 + 0.25
    np.testing.assert_allclose(of_one(CountPenalties(0.5, 0.25), row, text), expected, rtol=1e-6)


def test_forced_tokens_come_first_and_the_stop_token_late(logits):
    row, forced = logits[0], ForcedTokens(np.array([4, -1, 6], np.int32))
    for new, token in enumerate((4, None, 6, None)):
        text = Text(np.zeros(9, np.int32), np.int32(3 + new), np.int32(3), jax.random.key(0))
        out = of_one(forced, row, text)
        if token is None:
            np.testing.assert_array_equal(out, row)
        else:
            assert np.flatnonzero(out > -np.inf).tolist() == [token]
        stopped = of_one(MinNewTokens(2, 8), row, text)
        assert (stopped[8] == -np.inf) == (new < 2)
        assert np.array_equal(np.delete(stopped, 8), np.delete(logits[0], 8))


@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (Temperature(0.7), "TemperatureLogitsWarper", (0.7,)),
        (TopK(7), "TopKLogitsWarper", (7,)),
        (TopP(0.83), "TopPLogitsWarper", (0.83,)),
        (MinP(0.1), "MinPLogitsWarper", (0.1,)),
        (RepetitionPenalty(1.3), "RepetitionPenaltyLogitsProcessor", (1.3,)),
        (MinNewTokens(3, 11), "MinNewTokensLengthLogitsProcessor", (2, 3, 11)),
        (MinNewTokens(2, 11), "MinNewTokensLengthLogitsProcessor", (2, 2, 11)),
        (LogitBias.of({3: 2.5, 8: -1.5}, [], 50), "SequenceBiasLogitsProcessor", "bias"),
        (LogitBias.of({}, [4, 9], 50), "NoBadWordsLogitsProcessor", ([[4], [9]], [49])),
        (ForcedTokens(np.array([-1, -1, 17], np.int32)), "ForcedEOSTokenLogitsProcessor", "last"),
    ],
)
def test_filters_equal_those_of_transformers(logits, ours, theirs, arguments):
    processors = pytest.importorskip("transformers.generation.logits_process")
    torch = pytest.importorskip("torch")
    if arguments == "bias":
        arguments = ({(3,): 2.5, (8,): -1.5},)
    elif arguments == "last":
        arguments = (5, 17, "cpu")
    written = np.random.default_rng(1).integers(0, 50, (6, 4))
    expected = getattr(processors, theirs)(*arguments)(
        torch.tensor(written), torch.tensor(logits)
    ).numpy()
    text = Text(
        np.pad(written.astype(np.int32), ((0, 0), (0, 3))),
        np.full(6, 4, np.int32),
        np.full(6, 2, np.int32),
        texts(6).rng,
    )
    got = filtered(ours, jnp.asarray(logits), text)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "temperature: got -0.1, expected 0"),
        ({"temperature": float("nan")}, "temperature: got nan"),
        ({"temperature": float("inf")}, "temperature: got inf"),
        ({"top_k": 0}, "top_k: got 0, expected 1 or more"),
        ({"top_p": 0.0}, "top_p: got 0.0, expected above 0"),
        ({"min_p": 1.0}, "min_p: got 1.0, expected 0 or more, below 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty: got 0.0, expected 1e-30 to 1e30"),
        ({"presence_penalty": float("nan")}, "presence_penalty: got nan"),
        ({"min_new_tokens": 3}, "min_new_tokens: got 3 without stop_token"),
        ({"banned_tokens": [3]}, "vocab_size: got none"),
        ({"logit_bias": {50: 1.0}, "vocab_size": 50}, "token: got 50, expected 0 to 49"),
        (
            {"banned_tokens": [3], "forced_tokens": [3], "vocab_size": 50},
            "forced_tokens: got 3, which is banned",
        ),
        ({"top_p": 1.5}, "top_p: got 1.5, expected above 0 and at most 1"),
        ({"temperature": 0.0, "top_k": 5}, "got 0 .greedy. with top_k, top_p or min_p"),
        ({"temperature": 0.0, "top_p": 0.5}, "got 0 .greedy. with top_k, top_p or min_p"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_sampler(**options)
