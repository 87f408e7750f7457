"""Wholes, such as images, whose parts see each other: every path against loops in NumPy."""

import jax
import numpy as np
import pytest

from gptjax.attention import attend, cached_attend, init_cache, parse
from gptjax.attention.wholes import seen_to_the_end
from tests.attention.oracle import attention
from tests.attention.paths import PATHS, use_path
from tests.support.tiers import tiered

T = 40
NAMES = ".aaa..bbbb.cc.ddddddddddddddddd....eee..", "aaaaa.....bb.c.ddddd..........eeeeeeee.f"
INSIDE = np.array([[name != "." for name in row] for row in NAMES])
ALLOWED = np.array(
    [
        [
            [j <= i or (row[i] == row[j] != ".") for j in range(T)]  # each letter is one whole
            for i in range(T)
        ]
        for row in NAMES
    ]
)[:, None].repeat(2, 1)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, T, 2, 4)).astype(np.float32) for _ in range(4)]


@pytest.fixture(scope="module")
def expected(arrays):
    ones, none = np.ones((2, 2, T, T)), np.zeros((2, T, 2))
    return attention(*arrays, none, ALLOWED, ones)


def test_the_last_part_is_where_all_of_a_whole_are():
    expected = [
        [max(j for j in range(T) if j == i or row[i] == row[j] != ".") for i in range(T)]
        for row in NAMES
    ]
    order = np.array(seen_to_the_end(INSIDE))
    np.testing.assert_array_equal(order, expected)
    starts = np.array([[5], [0]])  # positions of a text of which this is the rest, and padding
    shifted = seen_to_the_end(INSIDE, np.arange(T)[None] + starts)
    np.testing.assert_array_equal(shifted, order + starts)
    np.testing.assert_array_equal(seen_to_the_end(INSIDE, np.full((2, T), -1)), -1)


@pytest.mark.parametrize(
    "path", tiered(((path,) for path in PATHS), [("reference",), ("blockwise scanned",)])
)
def test_every_path_lets_parts_of_a_whole_see_each_other(path, arrays, expected, monkeypatch):
    q, k, v, out_bar = arrays
    order, impl = seen_to_the_end(INSIDE), use_path(path, monkeypatch)

    def total(q, k, v):
        out = attend(q, k, v, "dense", impl=impl, q_positions=order, k_positions=order)
        return (out * out_bar).sum(), out

    (_, out), bars = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(q, k, v)
    for found, wanted in zip((out, *bars), (expected[0], *expected[2:5]), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_decoding_sees_wholes_as_a_full_pass_does(arrays, expected):
    """Ten parts of a text at a time, none of which ends within a whole."""
    (pattern,) = parse("dense")
    cache = init_cache(1, T, 2, 4, np.float32)
    order = np.array(seen_to_the_end(INSIDE))[1:]
    attend_to_all = jax.jit(
        lambda q, k, v, cache, at, order: cached_attend(q, k, v, cache, pattern, at, order=order)
    )
    for first in range(0, T, 10):
        here = slice(first, first + 10)
        parts = [x[1:, here] for x in arrays[:3]]
        at = np.arange(first, first + 10)[None]
        out, cache = attend_to_all(*parts, cache, at, order[:, here])
        np.testing.assert_allclose(out, expected[0][1:, here], atol=2e-5)


def test_a_cache_that_forgets_refuses_an_order(arrays):
    (pattern,) = parse("banded(window=4)")
    cache = init_cache(1, T, 2, 4, np.float32, pattern=pattern, chunk=8)
    q, at = arrays[0][:1, :8], np.arange(8)[None]
    with pytest.raises(ValueError, match=r"got an order of its own with banded.*unbounded reach"):
        cached_attend(q, q, q, cache, pattern, at, order=at)
