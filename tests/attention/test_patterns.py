import numpy as np
import pytest

from gptjax.attention import PATTERNS, parse
from gptjax.attention.patterns import And, Banded, Dense, Or, Pattern, in_order

QUERY, KEY = np.arange(12)[:, None], np.arange(12)[None, :]


class PrefixOfFour(Pattern):
    """States its own order, as a prefix LM does."""

    states_order = True

    def __call__(self, q_pos, k_pos):
        return (k_pos <= q_pos) | ((q_pos < 4) & (k_pos < 4))


def test_predicates_of_this_stage_are_the_papers():
    assert Dense()(QUERY, KEY).all() and Dense()(QUERY, KEY).shape == (12, 12)
    assert (Banded(3)(QUERY, KEY) == (np.abs(QUERY - KEY) < 3)).all()
    assert (Banded(1)(QUERY, KEY) == np.eye(12, dtype=bool)).all()


def test_causality_reaches_each_part_that_states_no_order():
    prefix, band, causal = PrefixOfFour(), Banded(3), KEY <= QUERY
    near = np.abs(QUERY - KEY) < 3
    assert (in_order(band)(QUERY, KEY) == (near & causal)).all()
    assert (in_order(prefix)(QUERY, KEY) == prefix(QUERY, KEY)).all()
    assert (in_order(band & prefix)(QUERY, KEY) == (near & prefix(QUERY, KEY))).all()
    assert (in_order(band | prefix)(QUERY, KEY) == ((near & causal) | prefix(QUERY, KEY))).all()


def test_parse_reads_layer_cycles_and_precedence():
    assert parse("dense,banded(window=256)") == (Dense(), Banded(256))
    assert parse(" dense | banded(window=2) & banded(window=3) ") == (
        Or(Dense(), And(Banded(2), Banded(3))),
    )
    assert parse("(dense|banded(window=2))&dense") == (And(Or(Dense(), Banded(2)), Dense()),)


@pytest.mark.parametrize("text", ["dense", "banded(window=7)", "(dense|banded(window=2))&dense"])
def test_a_pattern_prints_as_what_parse_reads(text):
    assert str(parse(text)[0]) == text


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("", 1, "patterns such as"),
        ("dense,banded(window=", 13, "patterns such as"),
        ("dense,3", 7, "name(field=value)"),
        ("dense,band(window=3)", 7, "did you mean 'banded'"),
        ("banded", 1, "banded(window: int)"),
        ("banded(4)", 1, "field=value"),
        ("banded(window=2.5)", 8, "banded(window: int)"),
        ("banded(window=True)", 8, "banded(window: int)"),
        ("banded(width=2)", 8, "banded(window: int)"),
        ("dense and dense", 1, "name(field=value)"),
        ("dense,banded(window=0)", 7, "expected 1 or more"),
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
