"""The detector of generated text, on chains of words whose orderings are known."""

import numpy as np
import pytest

from gptjax.curation.quality.detector import Texts, by_length, detection, fit_detector

pytest.importorskip("sklearn", reason="scikit-learn is not installed: extra `curation`")

WORDS = [f"{a}{b}{c}" for a in "bdfg" for b in "aeiou" for c in "lm"]


def chain(generator, sharpness):
    """A table of probabilities of the next word; the larger `sharpness`, the fewer words follow."""
    logits = generator.normal(size=(len(WORDS), len(WORDS))) * sharpness
    table = np.exp(logits)
    return table / table.sum(axis=1, keepdims=True)


def sampled(table, generator, number, words=60, top_k=None):
    """Texts of a chain."""
    if top_k is not None:
        lowest = np.sort(table, axis=1)[:, -top_k][:, None]
        table = np.where(table >= lowest, table, 0)
        table = table / table.sum(axis=1, keepdims=True)
    sums, texts = table.cumsum(axis=1), []
    for _ in range(number):
        word, text = generator.integers(len(WORDS)), []
        for draw in generator.random(words):
            word = min(int(np.searchsorted(sums[word], draw)), len(WORDS) - 1)
            text.append(WORDS[word])
        texts.append(" ".join(text))
    return texts


@pytest.fixture(scope="module")
def texts():
    """Real texts of a chain, and samples of a model that is that chain blurred, in two ways."""
    generator = np.random.default_rng(0)
    real = chain(generator, 1.5)
    model = 0.7 * real + 0.3 / len(WORDS)
    return {
        "real": sampled(real, generator, 300),
        "temperature 1": sampled(model, generator, 300),
        "top-k": sampled(model, generator, 300, top_k=5),
    }


def detector_of(texts, sampler):
    parts = (slice(0, 150), slice(150, 220), slice(220, 300))
    train, chosen, judged = (Texts(texts["real"][at], texts[sampler][at]) for at in parts)
    return fit_detector(train, chosen), judged


def test_the_published_orderings(texts):
    """Top-k is easier than temperature 1, and longer text is easier (1908.09203, section 4)."""
    plain, judged = detector_of(texts, "temperature 1")
    cut, judged_cut = detector_of(texts, "top-k")
    assert 0.55 < detection(plain, judged).accuracy < detection(cut, judged_cut).accuracy
    rates = by_length(plain, judged, (40, 100, 230))
    assert rates[0].auc < rates[1].auc < rates[2].auc
    assert [rate.characters for rate in rates] == [40, 100, 230]


def test_texts_of_one_chain_are_not_told_apart(texts):
    same = Texts(texts["real"][:150], texts["real"][150:])
    detector = fit_detector(same, same.cut(100))
    others = Texts(texts["temperature 1"][:150], texts["temperature 1"][150:])
    assert detection(detector, others).auc == pytest.approx(0.5, abs=0.08)


def test_it_is_scikit_learns_pipeline(texts):
    pipeline = pytest.importorskip("sklearn.pipeline")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    detector, judged = detector_of(texts, "top-k")
    theirs = pipeline.make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=5),
        LogisticRegression(C=detector.strength, solver="liblinear"),
    ).fit(texts["real"][:150] + texts["top-k"][:150], [0] * 150 + [1] * 150)
    np.testing.assert_allclose(detector.score(judged.all), theirs.predict_proba(judged.all)[:, 1])
    assert detector.features == len(theirs[0].vocabulary_)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="got no generated texts, expected both kinds"):
        Texts(["a"], [])
    few = Texts(["one text"], ["another text"])
    with pytest.raises(ValueError, match="got no word in 5 of 2 texts, expected more"):
        fit_detector(few, few)
