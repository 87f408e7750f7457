import dataclasses
import sys

import numpy as np
import pytest

from gptjax.attention import PATTERNS, parse
from gptjax.attention.algebra import And, Heads, Or, Reach
from gptjax.attention.patterns import (
    Banded,
    Dense,
    Dilated,
    Fixed,
    LogSparse,
    Pattern,
    Prefix,
    Sinks,
    Strided,
    in_order,
)
from tests.attention.oracle import TABLE, attends

QUERY, KEY = np.arange(12)[:, None], np.arange(12)[None, :]


def pairs(pattern, length):
    positions = np.arange(length)
    allowed = pattern(positions[:, None], positions[None, :])
    return np.broadcast_to(allowed, (length, length))


def test_predicates_are_those_of_the_table(pattern):
    for part in pattern.per_head():
        for causal in (True, False):
            rows = [[attends(part, i, j, causal=causal) for j in range(45)] for i in range(45)]
            np.testing.assert_array_equal(pairs(in_order(part) if causal else part, 45), rows)


def test_every_pattern_of_the_papers_is_registered():
    assert set(PATTERNS) >= {*TABLE, "heads"}


def test_causality_reaches_each_part_that_states_no_order():
    prefix, band, causal = Prefix(4), Banded(3), KEY <= QUERY
    near = np.abs(QUERY - KEY) < 3
    assert (in_order(band)(QUERY, KEY) == (near & causal)).all()
    assert (in_order(prefix)(QUERY, KEY) == prefix(QUERY, KEY)).all()
    assert (in_order(band & prefix)(QUERY, KEY) == (near & prefix(QUERY, KEY))).all()
    assert (in_order(band | prefix)(QUERY, KEY) == ((near & causal) | prefix(QUERY, KEY))).all()
    assert in_order(Heads((band, prefix))) == Heads((in_order(band), prefix))


@dataclasses.dataclass(frozen=True)
class WithoutClosedForm(Pattern):
    def __call__(self, q_pos, k_pos):
        return q_pos + k_pos < 4


def test_a_causal_query_reaches_no_farther_than_stated(pattern):
    combined = [pattern | Banded(11), pattern & Banded(11), pattern | Sinks(2, 5)]
    combined += [pattern & Sinks(2, 5), pattern & WithoutClosedForm()]
    for each in [pattern, *combined]:
        near, first = each.reach
        i, j = np.nonzero(pairs(each, 64) & (np.arange(64) <= np.arange(64)[:, None]))
        assert near is None or ((i - j < near) | (j < first)).all()


def test_reach_of_patterns_that_forget():
    assert Banded(5).reach == Reach(5)
    assert Sinks(5, 2).reach == Reach(5, 2)
    assert (Banded(5) & Dense()).reach == Reach(5)
    assert Heads((Banded(5), Sinks(9, 1))).reach == Reach(9, 1)
    for endless in (Dense(), Strided(5), Fixed(5, 2), LogSparse(5), Prefix(5)):
        assert endless.reach.near is None
    assert Strided(5, part=1).reach == Reach(6)


def test_combinations_of_heads_go_head_by_head():
    heads = Heads((Banded(2), Dense()))
    assert heads & Banded(3) == Heads((Banded(2) & Banded(3), Dense() & Banded(3)))
    three = Banded(1) | Heads((Banded(2), Banded(3), Banded(4)))
    assert (heads | three).per_head()[4] == Banded(2) | (Banded(1) | Banded(3))
    assert len((heads | three).per_head()) == 6


def test_parse_reads_layer_cycles_and_precedence():
    assert parse("dense,banded(window=256)") == (Dense(), Banded(256))
    assert parse(" dense | banded(window=2) & banded(window=3) ") == (
        Or(Dense(), And(Banded(2), Banded(3))),
    )
    assert parse("(dense|banded(window=2))&dense") == (And(Or(Dense(), Banded(2)), Dense()),)
    assert parse("strided(stride=4),strided(stride=4,part=2),strided(stride=4, part=both)") == (
        Strided(4),
        Strided(4, part=2),
        Strided(4),
    )
    assert parse("heads(dense, banded(window=2)|sinks(window=1,sinks=4)),dense") == (
        Heads((Dense(), Banded(2) | Sinks(1, 4))),
        Dense(),
    )


@pytest.mark.parametrize("text", ["dense", "banded(window=7)", "(dense|banded(window=2))&dense"])
def test_an_expression_prints_as_what_parse_reads(text):
    assert str(parse(text)[0]) == text


def test_a_pattern_prints_as_what_parse_reads(pattern):
    assert parse(str(pattern)) == (pattern,)


# Where Python's own parser sees "window=)" fail.
MISSING_VALUE = 14 if sys.version_info >= (3, 12) else 21


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 1, "expressions of: heads, dense"),
        ("dense,banded(window=", 13, "got '(window=', expected a ')' that closes this '('"),
        ("heads(dense,banded(window=8)", 6, "expected a ')' that closes this '('"),
        ("dense,banded(window=)", MISSING_VALUE, "expressions of"),
        ("banded(window=8))", 17, "got ')', expected a '(' before it"),
        ("dense,3", 7, "name(field=value)"),
        ("dense,band(window=3)", 7, "did you mean 'banded'"),
        ("banded", 1, "banded(window: int)"),
        ("banded(4)", 8, "banded(window: int)"),
        ("banded(window=2.5)", 8, "banded(window: int)"),
        ("banded(window=True)", 8, "banded(window: int)"),
        ("banded(width=2)", 8, "banded(window: int)"),
        ("strided(stride=4,part=3)", 18, "part: 1|2|both"),
        ("heads(dense,4)", 13, "name(field=value)"),
        ("heads()", 1, "one or more patterns"),
        ("heads(heads(dense))", 1, "one or more patterns"),
        ("dense and dense", 1, "name(field=value)"),
        ("dense,banded(window=0)", 7, "got window=0, expected 1 or more"),
        ("banded(window=-3)", 1, "got window=-3, expected 1 or more"),
        ("fixed(stride=8,summary=4,offset=2)", 1, "at most the stride"),
    ],
)
def test_a_bad_expression_says_where_and_what_it_expected(text, column, expected):
    with pytest.raises(ValueError) as error:
        parse(text)
    message = str(error.value)
    assert f"column {column}:" in message and expected in message and "\n" not in message


def test_names_are_listed_in_the_error_of_an_unknown_pattern():
    with pytest.raises(ValueError) as error:
        parse("sliding(window=3)")
    assert all(name in str(error.value) for name in PATTERNS)


@pytest.mark.parametrize(
    "text", ["strided(stride=65)", "dense&fixed(stride=65,summary=1)", "heads(strided(stride=65))"]
)
def test_a_stride_above_the_length_is_refused(text):
    (pattern,) = parse(text)
    pattern.check(65)
    with pytest.raises(ValueError, match="got stride=65, expected at most the length, 64"):
        pattern.check(64)


def test_dilated_positions_are_multiples_within_the_window():
    assert np.flatnonzero(Dilated(3, 4)(20, np.arange(40))).tolist() == [12, 16, 20, 24, 28]


def test_offsets_of_fixed_are_distinct_sub_blocks():
    summaries = [Fixed(8, 2, 2, offset)(99, np.arange(16)) for offset in range(4)]
    assert np.flatnonzero(summaries[0]).tolist() == [6, 7, 14, 15]
    assert np.flatnonzero(summaries[3]).tolist() == [0, 1, 8, 9]
    assert (np.sum(summaries, axis=0) == 1).all()
