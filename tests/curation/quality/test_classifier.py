"""The quality classifier, against Spark's published features, loops, and draws of NumPy's own."""

import pickle

import numpy as np
import pytest

from gptjax.curation.document import document_key
from gptjax.curation.quality.draws import draw, keep_probability, keeps

pytest.importorskip("sklearn", reason="scikit-learn is not installed: extra `curation`")

from gptjax.curation.quality.classifier import Classifier, fit, load_classifier
from gptjax.curation.quality.hashed_words import FEATURES, HashedWords
from gptjax.curation.quality.report import border, measure, roc


def test_features_are_sparks():
    """The example of HashingTF in Spark's documentation: a, b and c are 7, 5 and 8 of 10."""
    assert [HashedWords(10)[word] for word in "abc"] == [7, 5, 8]


def murmur3(data: bytes, seed: int) -> int:
    """MurmurHash3 x86 32 as its author wrote it down, as a signed number."""
    value, whole = seed, len(data) // 4 * 4
    blocks = [int.from_bytes(data[i : i + 4], "little") for i in range(0, whole, 4)]
    for last, block in [*((False, block) for block in blocks), (True, data[whole:])]:
        k = int.from_bytes(block, "little") if last else block
        k = k * 0xCC9E2D51 & 0xFFFFFFFF
        k = (k << 15 | k >> 17) & 0xFFFFFFFF
        value ^= k * 0x1B873593 & 0xFFFFFFFF
        if not last:
            value = (value << 13 | value >> 19) & 0xFFFFFFFF
            value = value * 5 + 0xE6546B64 & 0xFFFFFFFF
    value ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        value = (value ^ value >> shift) * factor & 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def test_counts_are_those_of_a_loop():
    texts = ["The cat sat on the CAT's mat", "", "Çédille ΑΒΓ 中文\n中文\tthe", "x" * 13]
    matrix = HashedWords().counts(texts)
    expected = np.zeros((4, FEATURES))
    for row, text in enumerate(texts):
        for word in text.lower().split():
            expected[row, murmur3(word.encode(), 42) % FEATURES] += 1
    np.testing.assert_array_equal(matrix.toarray(), expected)
    assert matrix.has_canonical_format


GOOD = ["The river runs quietly below the old town and its people walk there", "He read a book"]
RAW = ["Buy cheap watches online now click here", "Login cart checkout free shipping click"]


def test_it_learns_which_is_which_and_is_kept_whole(tmp_path):
    positives = [f"{text} number {i}" for i in range(30) for text in GOOD]
    negatives = [f"{text} number {i}" for i in range(30) for text in RAW]
    classifier = fit(positives, negatives)
    scores = classifier.score([*GOOD, *RAW, "", "zzz"])
    assert (scores[:2] > 0.9).all() and (scores[2:4] < 0.1).all()
    assert scores[4] == pytest.approx(1 / (1 + np.exp(-classifier.bias)))
    again = fit(positives, negatives)
    assert again.content_hash() == classifier.content_hash()
    classifier.save(tmp_path / "c.npz")
    loaded = load_classifier(tmp_path / "c.npz")
    np.testing.assert_array_equal(loaded.score(GOOD * 300), classifier.score(GOOD * 300))
    assert loaded.score([]).shape == (0,)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(loaded)).score(GOOD), scores[:2])


def test_scores_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.linear_model")
    texts = GOOD + RAW
    model = sklearn.LogisticRegression(max_iter=1000)
    words = HashedWords(1 << 10)
    model.fit(words.counts(texts), [1, 1, 0, 0])
    ours = fit(GOOD, RAW, features=1 << 10)
    np.testing.assert_allclose(
        ours.score(texts), model.predict_proba(words.counts(texts))[:, 1], atol=1e-4
    )


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got no positives, expected texts of both kinds"):
        fit([], RAW)
    (tmp_path / "x.npz").write_bytes(b"nothing")
    for path in (tmp_path / "x.npz", tmp_path / "none.npz"):
        with pytest.raises(ValueError, match=r"expected a file of Classifier\.save"):
            load_classifier(path)


def test_the_probability_is_that_of_numpys_pareto():
    draws = np.random.default_rng(0).pareto(9, 200_000)
    for score in (0.0, 0.3, 0.5, 0.9, 0.99):
        share = (draws > 1 - score).mean()
        error = 4 * np.sqrt(share / draws.size)
        assert keep_probability(np.array(score)) == pytest.approx(share, abs=error)
    figures = keep_probability(np.array([0, 0.5, 0.9, 1])) * 100
    np.testing.assert_allclose(figures, [0.195, 2.6, 42.4, 100], atol=0.05)


def test_a_draw_is_a_function_of_the_document_and_the_seed():
    keys = [document_key("web", f"a#{i}") for i in range(4000)]
    draws = np.array([draw(key) for key in keys])
    assert draws.tolist() == [draw(key) for key in keys]
    assert np.histogram(draws, 10, (0, 1))[0] == pytest.approx(400, abs=90)
    others = np.array([draw(key, seed=1) for key in keys])
    assert abs(np.corrcoef(draws, others)[0, 1]) < 0.06
    score = np.full(4000, 0.9)
    assert keeps(score, draws).mean() == pytest.approx(0.424, abs=0.03)
    assert keeps(np.ones(4000), draws).all()


def test_figures_are_those_of_loops():
    generator = np.random.default_rng(3)
    labels = generator.random(200) < 0.4
    scores = np.round(np.clip(generator.normal(0.4 + 0.2 * labels, 0.2), 0, 1), 2)
    report = measure(scores, labels)
    pairs = [(p, n) for p in scores[labels] for n in scores[~labels]]
    assert report.auc == pytest.approx(np.mean([(p > n) + 0.5 * (p == n) for p, n in pairs]))
    right = sum(s > 0.5 and label for s, label in zip(scores, labels, strict=True))
    assert report.precision == pytest.approx(right / (scores > 0.5).sum())
    assert report.recall == pytest.approx(right / labels.sum())
    assert report.f1 == pytest.approx(
        2 * report.precision * report.recall / (report.precision + report.recall)
    )
    raw = scores[~labels]
    assert report.kept_above_half == pytest.approx(np.mean([s > 0.5 for s in raw]))
    assert report.kept_by_draw == pytest.approx(np.mean([(2 - s) ** -9 for s in raw]))
    assert sum(report.histogram["negatives"]) == raw.size
    assert report.summary().count("\n") == 2


def test_the_curve_is_that_of_a_loop_over_thresholds():
    generator = np.random.default_rng(4)
    labels = generator.random(80) < 0.5
    scores = np.round(generator.random(80), 1)
    expected = [(0.0, 0.0)]
    for threshold in sorted({*scores.tolist()}, reverse=True):
        chosen = scores >= threshold
        wrong, right = (chosen & ~labels).sum(), (chosen & labels).sum()
        expected.append((wrong / (~labels).sum(), right / labels.sum()))
    np.testing.assert_allclose(np.transpose(roc(scores, labels)), expected)


def test_the_border_and_one_kind_alone():
    assert border(np.array([0.1, 0.52, 0.9, 0.49]), ["a", "b", "c", "d"], 2) == [
        ("d", 0.49),
        ("b", 0.52),
    ]
    with pytest.raises(ValueError, match="got 0 positives and 3 negatives, expected both"):
        measure(np.zeros(3), np.zeros(3))


def test_books_against_web_pages(shared_data):
    """Positives of the sample data, books, against raw pages; half of each is held out."""
    from gptjax.curation.readers.faults import Faults
    from gptjax.curation.readers.registered import ReaderOptions, documents

    def texts(format, location):
        options = ReaderOptions(source="x")
        return [d.text for d in documents(format, str(shared_data / location), options, Faults())]

    books = [
        book[start : start + 3000]
        for book in texts("gutenberg", "gutenberg/*/[0-9]*.txt")
        for start in range(20_000, 200_000, 20_000)
    ]
    pages = texts("jsonl", "noisy_web/c4_sample/*.json.gz")
    pages += texts("jsonl", "noisy_web/dolma_cc/multiple_files")
    classifier = fit(books[::2], pages[::2])
    held_out = books[1::2] + pages[1::2]
    report = measure(classifier.score(held_out), np.arange(len(held_out)) < len(books[1::2]))
    assert report.auc > 0.95 and report.f1 > 0.9
    assert isinstance(classifier, Classifier)
