"""Detector of generated text: TF-IDF of 1- and 2-grams of words, and logistic regression.

    detector = fit_detector(Texts(real, samples), held_out)
    detector.score(["A text."])                        # [0.4], 1: generated
    for row in by_length(detector, held_out, (100, 500, 1000)):
        print(row.characters, row.accuracy)

It is the baseline of GPT-2's release (openai/gpt-2-output-dataset, 1908.09203, section 4): words in
5 texts or more, 2^21 features at most, C of 2^-6 to 2^6 by the accuracy on held-out texts. There it
finds samples of temperature 1 in 88.3, 88.9, 77.2 and 74.3% (117M to 1.5B parameters) and of top-k
40 in 96.8, 95.2, 94.4 and 92.7%: larger models are harder, top-k is easier, and so is longer text.

What lengths and ends of texts give away is no detection: give real texts that are cut like the
samples, and no document that is in both `Texts`.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gptjax.curation.quality.hashed_words import sklearn_module
from gptjax.curation.quality.report import roc

MOST_FEATURES = 1 << 21
STRENGTHS = tuple(2.0**power for power in range(-6, 7))


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts of both kinds.

    Attributes:
      real: written by people.
      generated: by a model.
    """

    real: Sequence[str]
    generated: Sequence[str]

    def __post_init__(self):
        for name in ("real", "generated"):
            if not getattr(self, name):
                raise ValueError(f"detector: got no {name} texts, expected both kinds")

    @property
    def all(self) -> list[str]:
        """The real ones, then the generated ones."""
        return [*self.real, *self.generated]

    @property
    def labels(self) -> np.ndarray:
        """0 for real ones and 1 for generated ones, in the order of `all`."""
        return np.repeat([0, 1], [len(self.real), len(self.generated)])

    def cut(self, characters: int) -> "Texts":
        """Their first characters."""
        return Texts(*([text[:characters] for text in of] for of in (self.real, self.generated)))


@dataclasses.dataclass(frozen=True)
class Detector:
    """A fitted detector.

    Attributes:
      strength: C that was chosen.
      features: number of 1- and 2-grams that it knows.
    """

    strength: float
    features: int
    _vectorizer: Any = dataclasses.field(repr=False)
    _model: Any = dataclasses.field(repr=False)

    def score(self, texts: Iterable[str]) -> np.ndarray:
        """Probability that each text is generated, float64 [texts]."""
        return self._model.predict_proba(self._vectorizer.transform(texts))[:, 1]


@dataclasses.dataclass(frozen=True)
class Detection:
    """How well texts are told apart.

    Attributes:
      characters: to which texts were cut; None: whole.
      accuracy: mean of the shares of real and of generated texts that are taken for what they are.
      auc: probability that a generated text has a higher score than a real one.
      texts: of both kinds.
    """

    characters: int | None
    accuracy: float
    auc: float
    texts: int


def fit_detector(texts: Texts, held_out: Texts, fewest_texts: int = 5) -> Detector:
    """Fits a detector for each of `STRENGTHS`, and takes the one that is best on held-out texts.

    Args:
      texts: to fit on.
      held_out: to choose on; of other documents.
      fewest_texts: that a 1- or 2-gram is in, to be a feature.

    Raises:
      ValueError: no 1- or 2-gram is in so many texts, or scikit-learn is not installed.
    """
    vectorizer = sklearn_module("sklearn.feature_extraction.text").TfidfVectorizer(
        ngram_range=(1, 2), min_df=fewest_texts, max_features=MOST_FEATURES
    )
    try:
        counts = vectorizer.fit_transform(texts.all)
    except ValueError as error:
        raise ValueError(
            f"detector: got no word in {fewest_texts} of {len(texts.all)} texts, expected more"
        ) from error
    regression = sklearn_module("sklearn.linear_model").LogisticRegression
    best: tuple[float, Detector] | None = None
    for strength in STRENGTHS:
        model = regression(C=strength, solver="liblinear").fit(counts, texts.labels)
        detector = Detector(strength, counts.shape[1], vectorizer, model)
        accuracy = detection(detector, held_out).accuracy
        if best is None or accuracy > best[0]:
            best = accuracy, detector
    assert best is not None
    return best[1]


def detection(detector: Detector, texts: Texts, characters: int | None = None) -> Detection:
    """Accuracy of a detector on texts that it was neither fitted nor chosen on.

    Args:
      detector: of `fit_detector`.
      texts: of both kinds.
      characters: to which they are cut; None: whole.
    """
    texts = texts if characters is None else texts.cut(characters)
    scores, labels = detector.score(texts.all), texts.labels.astype(bool)
    right = (scores > 0.5) == labels
    false_rate, true_rate = roc(scores, labels)
    return Detection(
        characters=characters,
        accuracy=float((right[labels].mean() + right[~labels].mean()) / 2),
        auc=float(np.trapezoid(true_rate, false_rate)),
        texts=labels.size,
    )


def by_length(detector: Detector, texts: Texts, lengths: Sequence[int]) -> list[Detection]:
    """Detection of texts cut to each number of characters; shorter texts are left out."""
    found = []
    for characters in lengths:
        long = Texts(
            *(
                [text for text in of if len(text) >= characters]
                for of in (texts.real, texts.generated)
            )
        )
        found.append(detection(detector, long, characters))
    return found
