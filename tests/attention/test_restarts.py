"""Positions that restart with each segment; the proof compares what is computed with the oracle."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.attention import attend, parse
from gptjax.attention.blocks import EMPTY, block_map
from gptjax.attention.patterns import in_order
from gptjax.attention.restarts import anywhere, is_of_distance, within_segments
from tests.attention import oracle

COMPOSED = parse(
    "prefix(length=5)&dilated(window=4,dilation=2),sinks(window=2,sinks=1)|block_causal(block=3),"
    "longformer(window=2,global_tokens=1)&block_local(block=6)|strided(stride=5,part=2)"
)


def test_positions_within_segments_equal_a_loop():
    ids = np.random.default_rng(0).integers(-1, 3, (4, 20))
    ids[0] = np.sort(ids[0])
    made = jax.jit(within_segments)(ids)
    for row, positions in zip(ids, np.asarray(made), strict=True):
        assert positions.tolist() == [i - row.tolist().index(x) for i, x in enumerate(row)]


@pytest.mark.parametrize("pattern", [*oracle.EXAMPLES, *COMPOSED], ids=str)
def test_no_pair_of_any_segment_is_outside_and_blocks_are_empty_all_the_same(pattern):
    length, starts = 24, (0, 1, 5, 8)
    for part in in_order(pattern).per_head():
        outer = anywhere(part)
        at = np.arange(length)
        allowed = np.broadcast_to(outer(at[:, None], at[None]), (length, length))
        for start, q, k in itertools.product(starts, range(12), range(12)):
            assert allowed[start + q, start + k] or not part(q, k)
        if is_of_distance(part):
            assert outer is part
        far = block_map(outer, 4096, 4096, 128, 128)
        assert (far[0, 2:] == EMPTY).all()


def test_a_pattern_of_distances_costs_nothing_more():
    x = jnp.ones((1, 300, 1, 4))
    ids = jnp.zeros((1, 300), jnp.int32)

    def program(pattern):
        call = jax.jit(lambda x: attend(x, x, x, pattern, impl="blockwise", segment_ids=ids))
        return call.lower(x).as_text()

    banded, sinks = parse("banded(window=8),sinks(window=8,sinks=1)")
    assert "sort" not in program(banded) and "sort" in program(sinks)
