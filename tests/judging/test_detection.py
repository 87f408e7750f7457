"""Figures of scores against scikit-learn and against loops over thresholds."""

import numpy as np
import pytest

from gptjax.judging.detection import (
    area_under_roc,
    average_precision,
    brier_score,
    calibration_error,
    intervals,
    threshold_at_precision,
)


def drawn(seed, count=60, steps=12):
    """Labels, and scores that know something of them, of which many are equal."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.3).astype(float)
    scores = np.round(np.clip(labels * 0.3 + rng.random(count) * 0.7, 0, 1) * steps) / steps
    return scores, labels


@pytest.mark.parametrize("seed", range(5))
def test_areas_are_those_of_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics", reason="extra `curation`")
    scores, labels = drawn(seed)
    expected = metrics.average_precision_score(labels, scores)
    assert average_precision(scores, labels) == pytest.approx(expected, rel=1e-12)
    assert area_under_roc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores))
    assert brier_score(scores, labels) == pytest.approx(metrics.brier_score_loss(labels, scores))


def test_areas_by_hand():
    """Positives at ranks 1 and 3 of 4: 1/2 * 1 + 1/2 * 2/3; three of four pairs are in order."""
    scores, labels = np.array([0.9, 0.8, 0.7, 0.1]), np.array([1, 0, 1, 0])
    assert average_precision(scores, labels) == pytest.approx(1 / 2 + 1 / 3)
    assert area_under_roc(scores, labels) == 0.75
    assert average_precision(np.zeros(4), labels) == 0.5  # chance: the share of positives
    assert np.isnan(average_precision(scores, np.zeros(4)))
    assert np.isnan(area_under_roc(scores, np.ones(4)))


@pytest.mark.parametrize("precision", [0.3, 0.6, 0.9, 1.0])
def test_a_threshold_has_the_highest_recall_of_those_with_the_precision(precision):
    scores, labels = drawn(3)
    found = threshold_at_precision(scores, labels, precision)
    having = [t for t in set(scores.tolist()) if labels[scores >= t].mean() >= precision]
    assert found == (min(having) if having else None)


def test_no_threshold_is_better_than_one_without_the_precision():
    assert threshold_at_precision(np.array([0.9, 0.8]), np.array([0, 1]), 0.8) is None
    assert threshold_at_precision(np.array([0.9, 0.8]), np.array([0, 0]), 0.8) is None


def test_calibration_error_by_hand():
    """Two bins of two: |0.15 - 0.5| and |0.8 - 1|, averaged."""
    scores, labels = np.array([0.9, 0.1, 0.7, 0.2]), np.array([1, 0, 1, 1])
    assert calibration_error(scores, labels, bins=2) == pytest.approx((0.35 + 0.2) / 2)


def test_intervals_hold_the_figure_and_leave_out_what_is_not_defined():
    scores, labels = drawn(0)
    found = intervals({"auroc": area_under_roc}, scores, labels, seed=0)
    assert found["auroc_low"] < found["auroc"] < found["auroc_high"]
    assert found == intervals({"auroc": area_under_roc}, scores, labels, seed=0)
    one = np.zeros(30)
    one[0] = 1  # of which a third of the resamples have none
    assert np.isfinite(
        list(intervals({"a": average_precision}, scores[:30], one, 0).values())
    ).all()
    assert intervals({"auroc": area_under_roc}, scores, 0 * labels, seed=0) == {}
