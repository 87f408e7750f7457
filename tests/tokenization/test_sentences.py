"""Sentences of a text, and the token that ends each."""

import json

import pytest

from gptjax.tokenization import WordPiece, load_tokenizer
from gptjax.tokenization.sentences import SentenceTokenizer, sentences
from gptjax.tokenization.wordpiece import SPECIAL

SEP = SPECIAL.index("[SEP]")


def test_sentences_end_where_readers_say_so():
    text = (
        'Mr. J. Ito came. "Why?" asked she. He said "No!" Then what... who knows? 东京。北京！ '
        "(Yes.) 3\nlines go on\n \nA title\n\nv. 1.5 is it"
    )
    found = sentences(text)
    assert [part.strip() for part in found] == [
        *("Mr. J. Ito came.", '"Why?" asked she.', 'He said "No!"', "Then what... who knows?"),
        *("东京。", "北京！", "(Yes.)", "3\nlines go on", "A title", "v. 1.5 is it"),
    ]
    assert "".join(found) == text and sentences(" \n\n ") == []


def test_sentences_are_marked_in_the_stream():
    words = WordPiece([*SPECIAL, "a", "bb", "."])
    marked = SentenceTokenizer(words, "[SEP]")
    assert marked.encode("A bb. BB.\n\n\x00\n\nbb a").tolist() == [
        5,
        6,
        7,
        SEP,
        6,
        7,
        SEP,
        6,
        5,
        SEP,
    ]
    lines = SentenceTokenizer(words, "[SEP]", lines=True)
    assert lines.encode("a. bb.\n\nbb").tolist() == [5, 7, 6, 7, SEP, 6, SEP]
    hashes = {each.content_hash() for each in (words, marked, lines)}
    assert len(hashes) == 3 and marked.decode([5, SEP]) == "a [SEP]"


@pytest.mark.parametrize("lines", [False, True])
def test_it_is_saved_and_loaded(tmp_path, lines):
    made = SentenceTokenizer(WordPiece([*SPECIAL, "a", "."]), "[SEP]", lines=lines)
    made.save(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.content_hash() == made.content_hash()
    text = "a. a.\na"
    assert loaded.encode(text).tolist() == made.encode(text).tolist()


@pytest.mark.parametrize("changed", [{"separator": "[EOS]"}, {"lines": 1}, {"rules": 0}])
def test_a_damaged_description_is_named(tmp_path, changed):
    SentenceTokenizer(WordPiece([*SPECIAL, "a"]), "[SEP]").save(tmp_path)
    file = tmp_path / "sentences.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    with pytest.raises(ValueError, match=r"sentences\.json: got .*, expected the name of"):
        SentenceTokenizer.load(tmp_path)
