import dataclasses
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.attention import attend, cached_attend, init_cache, scores
from gptjax.attention.cache import check_decodable, num_slots, refuse_split, rollback
from gptjax.attention.patterns import Banded, BlockCausal, Dense, Heads, Prefix, Sinks
from tests.attention import oracle
from tests.support.tiers import tiered

LENGTHS = np.array([11, 8])  # two prompts of a batch, the second padded
TOTAL = 17


def draw(length=TOTAL, batch=2, heads=(4, 2, 2), dtype="float32"):
    random = np.random.default_rng(0)
    sizes = [(batch, length, h, 8) for h in heads]
    return [random.normal(size=size).astype(jnp.dtype(dtype)) for size in sizes]


def feed(step, cache, arrays, done, sizes, width=None):
    """Feeds the next `sizes` positions of each row, padded to `width`; their outputs, the cache."""
    offsets = np.arange(width or max(sizes))
    positions = np.where(offsets < sizes[:, None], done[:, None] + offsets, -1)
    rows, most = np.arange(len(sizes))[:, None], arrays[0].shape[1] - 1
    chunk = [x[rows, np.clip(positions, 0, most)] for x in arrays]
    out, cache = step(*chunk, cache, positions.astype(np.int32))
    return np.asarray(out, np.float32), cache


def whole(arrays, pattern):
    """Output of causal attention over whole texts, by the oracle."""
    batch, length, heads, _ = arrays[0].shape
    allowed = oracle.effective(pattern, heads, length, length)
    keep = np.ones((batch, heads, length, length))
    bars = np.zeros_like(arrays[0]), np.zeros(arrays[0].shape[:3])
    return oracle.attention(*arrays, *bars, allowed, keep)[0]


# implementation, dtype, heads, score change, positions of a chunk after the prompt
SETTINGS = [
    ("auto", "float32", (4, 2, 2), "none", 1),
    ("blockwise", "bfloat16", (3, 1, 1), "none", 3),
    ("blockwise", "float32", (2, 2, 2), "alibi,relative_bias(buckets=4,max_distance=6)", 1),
]


@pytest.mark.parametrize(
    ("pattern", "settings"),
    tiered(
        itertools.product(oracle.EXAMPLES, SETTINGS),
        [(x, SETTINGS[n % 5 % 3 if n % 5 < 3 else 0]) for n, x in enumerate(oracle.EXAMPLES)],
    ),
    ids=str,
)
def test_prompt_then_chunks_or_tokens_equal_the_full_forward(pattern, settings):
    impl, dtype, heads, change, size = settings
    chunks = [LENGTHS, *[np.full(2, size)] * (6 // size)]
    if isinstance(pattern, BlockCausal):
        chunks = [np.array([7, 14]), np.array([10, 3])]  # whole blocks of 7
    arrays, changes = draw(heads=heads, dtype=dtype), scores.parse(change)
    shapes = scores.learned_shapes(changes, heads[0])
    learned = {n: jax.device_put(np.full(s, 0.3, np.float32)) for n, s in shapes.items()}
    score = scores.bind(changes, heads[0], learned)
    if score is None:
        full = whole(arrays, pattern)
    else:
        full = np.asarray(
            jax.jit(lambda *x: attend(*x, pattern, impl="reference", score=score))(*arrays)
        )
    largest = max(map(max, chunks))
    cache = init_cache(2, 24, heads[1], 8, dtype, pattern=pattern, chunk=largest)
    step = jax.jit(lambda *x: cached_attend(*x[:4], pattern, x[4], impl=impl, score=score))
    atol = 1e-5 if dtype == "float32" else 0.04  # 8 bits of mantissa
    done = np.zeros(2, int)
    for sizes in chunks:
        out, cache = feed(step, cache, arrays, done, sizes)
        for b in range(2):
            desired = full[b, done[b] : done[b] + sizes[b]]
            np.testing.assert_allclose(out[b, : sizes[b]], desired, atol=atol)
        done += sizes


@pytest.mark.parametrize("pattern", [Banded(4), Sinks(4, 2), Heads((Banded(3), Sinks(2, 1)))])
def test_a_bounded_reach_keeps_a_ring_that_does_not_grow_with_the_text(pattern):
    length = 61
    arrays = draw(length, batch=1)
    full = whole(arrays, pattern)
    cache = init_cache(1, 1000, 2, 8, jnp.float32, pattern=pattern, chunk=3)
    assert (
        cache.k.shape[2]
        == num_slots(pattern, 1000, 3)
        == pattern.reach.first + 3 + (pattern.reach.near - 1)
    )
    step = jax.jit(lambda *x: cached_attend(*x[:4], pattern, x[4]))
    done, random = np.zeros(1, int), np.random.default_rng(1)
    while done[0] < length:
        sizes = np.minimum(random.integers(1, 4, 1), length - done)
        out, cache = feed(step, cache, arrays, done, sizes, width=3)
        np.testing.assert_allclose(
            out[0, : sizes[0]], full[0, done[0] : done[0] + sizes[0]], atol=1e-5
        )
        done += sizes


@pytest.mark.parametrize("pattern", [Dense(), Banded(4), Sinks(4, 2)])
def test_rolling_back_a_chunk_is_exact(pattern):
    arrays, rejected = draw(20), draw(40)
    full = whole(arrays, pattern)
    cache = init_cache(2, 24, 2, 8, jnp.float32, pattern=pattern, chunk=4)
    step = jax.jit(lambda *x: cached_attend(*x[:4], pattern, x[4]))
    to, four = jax.jit(rollback), np.array([4, 4])
    for start in range(0, 16, 4):
        done = np.array([start, start])
        _, cache = feed(step, cache, [x[:, 20:] for x in rejected], done, four)
        cache = to(cache, done)
        _, cache = feed(step, cache, arrays, done, np.array([4, 2]))
        kept = np.array([start + 1, start + 2])
        out, cache = feed(step, to(cache, kept), arrays, kept, np.array([3, 2]), width=4)
        np.testing.assert_allclose(out[0, :3], full[0, start + 1 : start + 4], atol=1e-5)
        np.testing.assert_allclose(out[1, :2], full[1, start + 2 : start + 4], atol=1e-5)


def test_rolling_back_reaches_through_stacked_layers():
    cache = init_cache(2, 6, 1, 2, jnp.float32)
    cache = dataclasses.replace(cache, positions=np.array([[0, 1, 2, 3, 4, -1]] * 2, np.int32))
    layers = jax.tree.map(lambda leaf: np.stack([leaf] * 3), (cache, cache))
    kept = jax.jit(rollback)(layers, np.array([2, 4]))
    for one in jax.device_get(kept):
        np.testing.assert_array_equal((one.positions >= 0).sum(-1), [[2, 4]] * 3)


@pytest.mark.parametrize(
    "pattern",
    [
        Prefix(5),
        pytest.param(Dense() | Prefix(5), marks=pytest.mark.slow),
        pytest.param(Heads((Dense(), Prefix(5))), marks=pytest.mark.slow),
    ],
)
def test_a_prefix_in_pieces_is_refused_by_name_and_poisoned_where_it_cannot_be(pattern):
    q, k, v = draw()

    def eager(*x):
        return cached_attend(*x[:4], pattern, x[4])

    empty = init_cache(2, 24, 2, 8, jnp.float32)
    _, three = jax.jit(eager)(q[:, :3], k[:, :3], v[:, :3], empty, np.arange(3)[None])

    def first_three_then(step, positions):
        n = positions.shape[1]
        return step(*(x[:, :n] for x in (q, k, v)), three, positions)[0]

    with pytest.raises(
        ValueError, match=re.escape(f"from 3 on in a chunk of their own, but {pattern}")
    ):
        first_three_then(eager, np.array([[3, 4], [3, -1]]))
    compiled, behind = jax.jit(eager), np.array([[5, 6], [6, 7]])
    split = np.asarray(first_three_then(compiled, np.array([[3, 4], [6, 7]])))
    assert np.isnan(split[0]).all() and not np.isnan(split[1]).any()
    assert not np.isnan(first_three_then(compiled, behind)).any()
    assert not refuse_split(pattern, three.positions, behind).any()


def test_a_text_is_split_where_any_position_before_would_see_the_chunk():
    refused = jax.jit(refuse_split, static_argnums=0)
    for pattern in (Prefix(3), BlockCausal(2), BlockCausal(3), Dense()):
        may_see = oracle.effective(pattern, 1, 7, 7)[0, 0]
        for start in range(1, 6):
            split = refused(pattern, np.arange(start)[None], np.arange(start, 7)[None])
            assert split.tolist() == [may_see[:start, start:].any()], (pattern, start)


def test_texts_that_look_ahead_are_decoded_only_after_a_whole_prefix():
    check_decodable(Banded(3), 1, 30)
    check_decodable(Prefix(5), 5, 30)
    check_decodable(Heads((Prefix(5), Prefix(4))), 6, 30)
    check_decodable(BlockCausal(4), 28, 29)
    for pattern, prompt in ((Prefix(5), 4), (BlockCausal(4), 8), (Dense() | Prefix(9), 3)):
        with pytest.raises(ValueError, match=f"got {prompt} tokens at once"):
            check_decodable(pattern, prompt, 30)


def test_padding_leaves_the_cache_as_it_was():
    cache = init_cache(1, 4, num_kv_heads=1, head_dim=2, dtype=jnp.float32)
    new, step = np.ones((1, 2, 1, 2), "float32"), jax.jit(cached_attend, static_argnums=4)
    _, cache = step(new, new, new, cache, Dense(), np.array([[-1, 2]]))
    np.testing.assert_array_equal(cache.positions, [[-1, -1, 2, -1]])
    np.testing.assert_array_equal(np.asarray(cache.k)[0, 0, :, 0], [0, 0, 1, 0])


@pytest.mark.parametrize(
    ("pattern", "positions", "message"),
    [
        (Banded(3), [0, 1, 2], "got a chunk of 3 positions, expected at most 2"),
        (Banded(4), [0, 1], "got banded(window=4), expected a pattern that reaches no more than 3"),
        (Sinks(3, 2), [0, 1], "got sinks(window=3,sinks=2)"),
        (Dense(), [0, 1], "got dense, expected a pattern"),
    ],
)
def test_a_ring_refuses_what_it_has_no_room_for(pattern, positions, message):
    cache = init_cache(1, 50, 1, 2, jnp.float32, pattern=Banded(3), chunk=2)
    x = np.ones((1, len(positions), 1, 2), "float32")
    with pytest.raises(ValueError, match=re.escape(message)):
        cached_attend(x, x, x, cache, pattern, np.array([positions]))


def test_positions_past_the_context_are_refused():
    x = np.ones((1, 2, 1, 2), "float32")
    with pytest.raises(ValueError, match="got position 4, expected at most 3"):
        cached_attend(x, x, x, init_cache(1, 4, 1, 2, jnp.float32), Dense(), np.array([[3, 4]]))


def test_compiled_code_gives_nan_past_the_end_of_a_cache():
    x, cache = np.ones((1, 1, 1, 2), "float32"), init_cache(1, 4, 1, 2, jnp.float32)
    step = jax.jit(lambda p: cached_attend(x, x, x, cache, Dense(), p)[0])
    assert not np.isnan(step(np.array([[3]]))).any() and np.isnan(step(np.array([[4]]))).all()


def test_a_cache_goes_through_a_scan_over_layers():
    one = init_cache(2, 8, num_kv_heads=2, head_dim=4, dtype=jnp.float32)
    stacked = jax.tree.map(lambda x: np.stack([x] * 3), one)
    x = np.random.default_rng(1).normal(size=(2, 5, 2, 4)).astype(np.float32)

    def layer(x, cache):
        return cached_attend(x, x, x, cache, Dense(), jnp.arange(5))

    out, caches = jax.jit(lambda x, c: jax.lax.scan(layer, x, c))(x, stacked)
    x = np.asarray(x)
    for _ in range(3):
        x = whole((x, x, x), Dense())
    np.testing.assert_allclose(out, x, atol=1e-6)
    assert caches.k.shape == (3, 2, 2, 8, 4)
