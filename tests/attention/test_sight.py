import numpy as np
import pytest

from gptjax.attention import parse
from gptjax.attention.patterns import Pattern, in_order
from gptjax.attention.sight import out_of_sight
from tests.attention import oracle

LENGTH = 20


def reached_from(start, allowed):
    """The positions that a token can change, through any number of layers."""
    reached, new = {start}, {start}
    while new:
        new = {q for q in range(LENGTH) for k in new if allowed[q, k]} - reached
        reached |= new
    return reached


@pytest.mark.parametrize(
    "patterns",
    [
        *([example] for example in oracle.EXAMPLES),
        parse("prefix(length=6)&dilated(window=3,dilation=2),dense"),
        parse("block_causal(block=4)|banded(window=2)"),
        parse("heads(prefix(length=3),block_causal(block=5)),sinks(window=3,sinks=2)"),
    ],
    ids=str,
)
def test_nothing_out_of_sight_reaches_an_earlier_position(patterns):
    at = np.arange(LENGTH)
    parts = [part for pattern in patterns for part in in_order(pattern).per_head()]
    allowed = np.any([np.broadcast_to(p(at[:, None], at), (LENGTH,) * 2) for p in parts], axis=0)
    hidden = out_of_sight(tuple(patterns), LENGTH)
    for token in range(LENGTH):
        assert not hidden[token] or min(reached_from(token, allowed)) == token
    assert hidden.all() == (not np.triu(allowed, 1).any())


def test_what_is_left_of_a_text():
    def left(text, length):
        return np.flatnonzero(out_of_sight(parse(text), length)).tolist()

    assert left("dense,prefix(length=3)", 6) == [0, 3, 4, 5]
    assert left("block_causal(block=4)", 10) == [0, 4, 8]
    assert left("prefix(length=300),block_causal(block=128)", 500) == [0, 384]
    # No query sees 2 itself, but 0 sees 3, which sees 2.
    assert left("prefix(length=4)&strided(stride=3,part=2),dense", 6) == [0, 4, 5]


class Peeking(Pattern):
    """Without a closed form."""

    states_order = True

    def __call__(self, q_pos, k_pos):
        return (k_pos <= q_pos) | (k_pos == q_pos + 2) & (q_pos % 200 == 0)


def test_a_pattern_without_a_closed_form_is_looked_at():
    seen = [t for t in range(1, 450) if (t - 1) % 200 == 0 or (t - 2) % 200 == 0]
    assert np.flatnonzero(~out_of_sight((Peeking(),), 450)).tolist() == seen
