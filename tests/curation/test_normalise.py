"""Repair of texts, against ftfy itself, Unicode's own forms, and examples written by hand."""

import random
import re
import unicodedata

import pytest

from gptjax.curation.normalise import _DOUBTFUL, _ODD, normalise

ftfy = pytest.importorskip("ftfy", reason="ftfy is not installed: extra `curation`")

EXAMPLES = [
    ("schÃ¶n", "schön"),
    ("â€œquotedâ€\x9d it isnâ€™t", "“quoted” it isn’t"),
    ("a &amp; b &lt;c&gt; d &#233;", "a & b <c> d é"),
    ("<p>a &amp; b</p>", "<p>a &amp; b</p>"),
    ("one\r\ntwo\rthree\u2028four\u2029five\x85", "one\ntwo\nthree\nfour\nfive…"),
    ("bell\x07, null\x00, mark\ufeff, delete\x7f", "bell, null, mark, delete"),
    ("\x1b[31mred\x1b[0m", "red"),
    ("e\u0301t\u0065\u0301", "été"),
    ("\ud83d\ude00 and half \ud83d", "😀 and half \ufffd"),
    ("left \x81 control", "left  control"),
    ("“curly” ﬁne ＡＢＣ — …", "“curly” ﬁne ＡＢＣ — …"),
    ("tab\tand line\n", "tab\tand line\n"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "expected"), EXAMPLES)
def test_examples(text, expected):
    assert normalise(text) == expected
    assert normalise(normalise(text)) == normalise(text)


def pieces():
    """Strings of which texts are made: sound ones, and what ftfy repairs."""
    sound = [
        "the day ",
        "été ",
        "中文。",
        "Привет ",
        "“so” ",
        "a & b ",
        "\n",
        "don’t ",
        "£5 ",
        "😀",
    ]
    broken = [text.encode().decode("windows-1252", "ignore") for text in ("é", "“x”", "ñ ")]
    broken += [text.encode().decode("mac-roman", "ignore") for text in ("é", "– x")]
    return sound * 4 + broken + [text for text, _ in EXAMPLES]


def test_the_short_way_gives_what_ftfy_gives():
    config = ftfy.TextFixerConfig(
        fix_latin_ligatures=False, fix_character_width=False, uncurl_quotes=False
    )
    draw, changed = random.Random(0), 0
    for _ in range(600):
        text = "".join(draw.choices(pieces(), k=draw.randint(1, 8)))
        expected = re.sub("[\x80-\x9f]", "", ftfy.fix_text(text, config))
        assert normalise(text) == expected
        assert unicodedata.is_normalized("NFC", expected)
        changed += expected != text
    assert 150 < changed < 500


def test_no_sequence_that_ftfy_doubts_is_overlooked():
    badness = pytest.importorskip("ftfy.badness")
    letters = set("abZ .,?!中文ЖяГўВЂв")
    for category in badness.MOJIBAKE_CATEGORIES.values():
        wanted = re.compile(f"[{category}]")
        letters |= {chr(code) for code in range(0x80, 0x3000) if wanted.match(chr(code))}
    draw, alphabet, doubted = random.Random(1), sorted(letters), 0
    for _ in range(30_000):
        text = "".join(draw.choices(alphabet, k=3))
        if badness.is_bad(text):
            doubted += 1
            assert _DOUBTFUL.search(text) or _ODD.search(text), ascii(text)
    assert doubted > 10_000
