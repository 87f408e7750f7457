"""The baseline: hashed n-grams of words and characters with logistic regression, by scikit-learn.

predict = fit_baseline(learned, choosing)
predict(["a text"])     # probabilities [1, C]

It takes the extra `curation`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gptjax.curation.quality.hashed_words import sklearn_module
from gptjax.data.labelled.multilabel import LabelledText
from gptjax.judging.detection import average_precision

FEATURES = 1 << 16
STRENGTHS = (1.0, 10.0, 100.0)  # scikit-learn's C, the inverse of the regularisation


def fit_baseline(
    learned: Sequence[LabelledText], choosing: Sequence[LabelledText]
) -> Callable[[Sequence[str]], np.ndarray]:
    """Fits a regression a category on the rows whose label is known.

    Args:
      learned: what is fitted on.
      choosing: on these the C of each category is chosen, by its AUPRC.

    Returns:
      A function from texts to probabilities [N, C] float64. A category of which all known labels
      are alike has their share.

    Raises:
      ValueError: scikit-learn is not installed.
    """
    features = _features()
    counts, held = (features([x.text for x in texts]) for texts in (learned, choosing))
    wanted, right = (np.array([x.labels for x in texts], float) for texts in (learned, choosing))
    models = [_best(counts, wanted[:, i], held, right[:, i]) for i in range(wanted.shape[1])]

    def predict(texts: Sequence[str]) -> np.ndarray:
        rows = features(texts)
        return np.stack([model(rows) for model in models], axis=1)

    return predict


def _features() -> Callable[[Sequence[str]], Any]:
    """Words and pairs of them, and three to five characters within words; each a unit vector."""
    make = sklearn_module("sklearn.feature_extraction.text").HashingVectorizer
    hstack = sklearn_module("scipy.sparse").hstack
    parts = [
        make(ngram_range=(1, 2), n_features=FEATURES, alternate_sign=False),
        make(analyzer="char_wb", ngram_range=(3, 5), n_features=FEATURES, alternate_sign=False),
    ]
    return lambda texts: hstack([part.transform(texts) for part in parts], format="csr")


def _best(counts: Any, wanted: np.ndarray, held: Any, right: np.ndarray) -> Callable[..., Any]:
    known, judged = ~np.isnan(wanted), ~np.isnan(right)
    labels = wanted[known]
    if len(set(labels.tolist())) < 2:
        share = float(labels.mean()) if len(labels) else 0.0
        return lambda rows: np.full(rows.shape[0], share)
    regression = sklearn_module("sklearn.linear_model").LogisticRegression
    models = [
        regression(C=strength, solver="liblinear").fit(counts[known], labels)
        for strength in STRENGTHS
    ]

    def figure(model: Any) -> float:
        scores = model.predict_proba(held[judged])[:, 1] if judged.any() else np.zeros(0)
        value = average_precision(scores, right[judged]) if judged.any() else np.nan
        return float(np.nan_to_num(value))

    best = max(models, key=figure)
    return lambda rows: best.predict_proba(rows)[:, 1]
