"""Recall among planted near-duplicates against the banding's curve."""

import json
import random

import pytest

from gptjax.curation.deduplication.recall import (
    SIMILARITIES,
    AtSimilarity,
    measure_recall,
    plot_recall,
)
from gptjax.curation.deduplication.scheme import SCHEMES, MinHash


@pytest.fixture(scope="module")
def texts():
    rng = random.Random(0)
    return [
        " ".join(f"w{rng.randrange(3000)}" for _ in range(rng.randrange(105, 160)))
        for _ in range(800)
    ]


@pytest.mark.parametrize("scheme", [MinHash(bands=3), SCHEMES.get("fineweb")()])
def test_recall_is_what_the_curve_says(texts, scheme):
    """80 pairs a similarity: within four standard errors, and all together within three."""
    measured = measure_recall(texts, scheme)
    asked = zip(SIMILARITIES, measured.rows, strict=True)
    assert [s for s, row in asked if abs(s - row.similarity) > 0.006] == []
    found = expected = variance = 0.0
    for row in measured.rows:
        of_row = row.pairs * row.expected * (1 - row.expected)
        assert abs(row.found - row.pairs * row.expected) <= 4 * of_row**0.5 + 1
        found, expected = found + row.found, expected + row.pairs * row.expected
        variance += of_row
    assert abs(found - expected) <= 3 * variance**0.5
    assert measured.rows[0].expected == pytest.approx(scheme.probability(0.5), abs=0.02)


def test_precision_counts_all_candidates(texts):
    """Nothing but planted pairs is alike in random words: the candidates are those found."""
    measured = measure_recall(texts[:200], MinHash(threshold=0.72))
    found = sum(row.found for row in measured.rows)
    assert measured.candidates == found
    duplicates = [row for row in measured.rows if row.similarity > 0.72]
    assert measured.candidate_precision == sum(row.found for row in duplicates) / found
    assert measured.recall == sum(r.found for r in duplicates) / sum(r.pairs for r in duplicates)
    assert json.loads(json.dumps(measured.row()))["rows"][0]["pairs"] == 20


def test_the_interval_is_wilson_s():
    """SciPy's: binomtest(8, 10).proportion_ci(method='wilson')."""
    assert AtSimilarity(0.5, 10, 8, 0.8).interval == pytest.approx((0.49016, 0.94332), abs=1e-5)


def test_short_texts_are_left_out():
    with pytest.raises(ValueError, match="got 0 texts of 100 shingles or more, expected at least"):
        measure_recall(["short"] * 40, MinHash())


def test_the_curve_is_drawn(tmp_path, texts):
    plot_recall(measure_recall(texts[:20], MinHash()), tmp_path / "recall.png")
    assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")
