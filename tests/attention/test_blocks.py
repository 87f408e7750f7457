import tracemalloc

import numpy as np
import pytest

from gptjax.attention.algebra import UNKNOWN
from gptjax.attention.blocks import (
    EMPTY,
    FULL,
    PARTIAL,
    block_map,
    count_pairs,
    density,
    visited_pairs,
)
from gptjax.attention.patterns import (
    Banded,
    BlockLocal,
    Dense,
    Fixed,
    Heads,
    Longformer,
    Pattern,
    Strided,
    in_order,
)


class EveryThird(Pattern):
    """Has no closed form: every block is looked at."""

    def __call__(self, q_pos, k_pos):
        return (q_pos - k_pos) % 3 == 0


def brute_force(pattern, n, m, query_block, key_block):
    allowed = np.broadcast_to(pattern(np.arange(n)[:, None], np.arange(m)[None, :]), (n, m))
    kinds = np.empty((-(-n // query_block), -(-m // key_block)), int)
    for row, column in np.ndindex(kinds.shape):
        block = allowed[
            row * query_block : (row + 1) * query_block,
            column * key_block : (column + 1) * key_block,
        ]
        kinds[row, column] = FULL if block.all() else PARTIAL if block.any() else EMPTY
    return kinds


def check(pattern):
    for n, m, query_block, key_block in ((23, 23, 3, 2), (37, 29, 8, 4), (5, 41, 1, 16)):
        sizes = (n, m, query_block, key_block)
        np.testing.assert_array_equal(block_map(pattern, *sizes), brute_force(pattern, *sizes))


def test_block_map_of_registered_patterns_equals_brute_force(pattern):
    check(pattern)
    check(in_order(pattern))


@pytest.mark.parametrize(
    "pattern", [EveryThird(), Banded(9) & EveryThird(), Banded(3) | EveryThird() & Banded(12)]
)
def test_block_map_of_compositions_equals_brute_force(pattern):
    check(pattern)
    check(in_order(pattern))


def test_a_long_text_takes_little_memory(pattern):
    block = 256
    for part in pattern.per_head():
        length = 131_072 if part.closed_form() else 8192
        tracemalloc.start()
        kinds = block_map(in_order(part), length, length, block, block)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < length**2 / (50 if part.closed_form() else 2)  # bytes
        assert (np.diagonal(kinds) != EMPTY).all()


def test_a_text_whose_blocks_are_looked_at_takes_little_memory():
    test_a_long_text_takes_little_memory(EveryThird())


def test_closed_forms_leave_few_blocks_to_look_at(pattern):
    edges = np.arange(0, 131_072, 128)
    for part in pattern.per_head():
        if part.closed_form() is None:
            continue  # every block is looked at
        known = in_order(part).block_kinds(
            edges[:, None], edges[:, None] + 127, edges[None], edges[None] + 127
        )
        assert np.count_nonzero(np.broadcast_to(known, (1024, 1024)) == UNKNOWN) <= 4 * 1024


def allowed_pairs(pattern, n):
    return np.broadcast_to(pattern(np.arange(n)[:, None], np.arange(n)[None, :]), (n, n))


@pytest.mark.parametrize("length", [1, 255, 700, 1301])
def test_counted_pairs_are_those_of_brute_force(pattern, length):
    for part in [*pattern.per_head(), *in_order(pattern).per_head()]:
        assert count_pairs(part, length) == np.count_nonzero(allowed_pairs(part, length))


@pytest.mark.parametrize(
    "pattern",
    [
        EveryThird(),  # not known to repeat
        Fixed(100, 7) | BlockLocal(30) & EveryThird(),
        Fixed(100, 7) | BlockLocal(30) | Longformer(5, 300),  # repeats from 300 on
        BlockLocal(97) | Fixed(89, 3),  # repeats after 8,633 positions
    ],
    ids=str,
)
def test_counted_pairs_of_compositions_are_those_of_brute_force(pattern):
    allowed = in_order(pattern)
    assert count_pairs(allowed, 1301) == np.count_nonzero(allowed_pairs(allowed, 1301))


def test_patterns_repeat_as_they_say(pattern):
    for part in in_order(pattern).per_head():
        if part.repeats() is None:
            continue
        every, after = part.repeats()
        allowed = allowed_pairs(part, 8 * every + after)[after:, after:]
        np.testing.assert_array_equal(allowed[every:, every:], allowed[:-every, :-every])


def test_density_of_a_long_text_has_the_closed_form():
    length, window = 131_072, 256
    causal = length * (length + 1) / 2
    band = window * (window + 1) / 2 + (length - window) * window
    assert density(Banded(window), length) == band / causal
    multiples = sum(i // 128 + 1 for i in range(length))
    assert density(Strided(128, part=2), length) == multiples / causal
    assert density(Heads((Banded(window), Dense())), length) == (band + causal) / 2 / causal


def test_visited_pairs_are_those_of_blocks_that_are_not_empty(pattern):
    for part in in_order(pattern).per_head():
        widths = np.repeat(np.arange(0, 37, 8), 8)[:37]
        some = brute_force(part, 37, 37, 8, 8)[np.ix_(widths // 8, widths // 8)] != EMPTY
        assert visited_pairs(part, 37, 37, 8) == np.count_nonzero(some)
