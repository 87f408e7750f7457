"""GPT-3's quality classifier: logistic regression on hashed words (2005.14165, appendix A).

    classifier = fit(positives=books, negatives=crawl)
    classifier.score(["A text to judge."])      # [0.31]
    classifier.save("quality.npz")

Positives are texts of quality: GPT-3 took WebText, Wikipedia and books. Negatives are raw crawl.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gptjax.atomic_files import replaced
from gptjax.curation.quality.hashed_words import FEATURES, HashedWords, sklearn_module

_BATCH = 256  # texts that are scored at once


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Logistic regression.

    Attributes:
      weights: float64 [features].
      bias: its constant.
    """

    weights: np.ndarray
    bias: float

    def __post_init__(self):
        object.__setattr__(self, "_words", HashedWords(self.weights.size))

    def score(self, texts: Iterable[str]) -> np.ndarray:
        """Probability that each text is one of the positives, float64 [texts]."""
        scores, batch = [], []
        for text in texts:
            batch.append(text)
            if len(batch) == _BATCH:
                scores.append(self._score(batch))
                batch = []
        return np.concatenate([*scores, self._score(batch)])

    def _score(self, texts: Sequence[str]) -> np.ndarray:
        words: HashedWords = getattr(self, "_words")  # noqa: B009, of a frozen dataclass
        logits = words.counts(texts) @ self.weights + self.bias
        return 0.5 * (1.0 + np.tanh(0.5 * logits))

    def content_hash(self) -> str:
        """SHA-256 (hex) of the weights and the constant."""
        content = hashlib.sha256(np.ascontiguousarray(self.weights, "<f8").tobytes())
        content.update(np.float64(self.bias).astype("<f8").tobytes())
        return content.hexdigest()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes one file, which `load_classifier` reads."""
        with replaced(path, "wb") as file:
            np.savez_compressed(file, weights=self.weights, bias=np.float64(self.bias))

    def __getstate__(self) -> dict[str, Any]:
        return {"weights": self.weights, "bias": self.bias}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)
        self.__post_init__()


def fit(
    positives: Iterable[str],
    negatives: Iterable[str],
    *,
    features: int = FEATURES,
    regularization: float = 1.0,
) -> Classifier:
    """Fits a classifier; the same texts in the same order give the same one.

    Args:
      positives: texts of quality, those that are kept.
      negatives: raw texts.
      features: that words are hashed to.
      regularization: inverse strength of the L2 penalty, scikit-learn's C.

    Raises:
      ValueError: no positives or no negatives, or scikit-learn is not installed.
    """
    words = HashedWords(features)
    of_positives, of_negatives = words.counts(positives), words.counts(negatives)
    rows = {"positives": of_positives.shape[0], "negatives": of_negatives.shape[0]}
    for name, number in rows.items():
        if not number:
            raise ValueError(f"quality classifier: got no {name}, expected texts of both kinds")
    sparse = sklearn_module("scipy.sparse")
    labels = np.repeat([1, 0], list(rows.values()))
    model = sklearn_module("sklearn.linear_model").LogisticRegression(
        C=regularization, max_iter=1000
    )
    counts = sparse.vstack([of_positives, of_negatives]).tocsc()
    met = np.flatnonzero(np.diff(counts.indptr))  # the penalty leaves the others at zero
    model.fit(counts[:, met].tocsr(), labels)
    weights = np.zeros(features)
    weights[met] = model.coef_[0]
    return Classifier(weights, float(model.intercept_[0]))


def load_classifier(path: str | os.PathLike[str]) -> Classifier:
    """The classifier of a file.

    Raises:
      ValueError: the file is missing, or no classifier.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Classifier(arrays["weights"], float(arrays["bias"]))
    except (OSError, KeyError, ValueError) as error:
        said = json.dumps(str(error))
        raise ValueError(f"{path}: {said}, expected a file of Classifier.save") from error
