"""Long texts: the tokens of the whole, and what the library behind is given of it."""

import json
import random

import numpy as np
import pytest

from gptjax.tokenization import ByteLevelBPE, merges
from gptjax.tokenization.added_tokens import AddedToken, AddedTokens

SPACES = " \n\t\r\x0b\x1c\x85\xa0\u1680\u180e\u2003\u2028\u200b\u3000\ufeff"
ENDS = ["a", "'s", "9", "!", "é", "漢", "\u0301", "Σ", ""]


def hard_joints(hard_texts):
    """Texts whose words meet all sorts of white space and marks."""
    rng = random.Random(0)

    def piece():
        text = rng.choice(hard_texts)
        start = rng.randrange(len(text) + 1)
        spaces = "".join(rng.choice(SPACES) for _ in range(rng.randrange(4)))
        return text[start : start + rng.randrange(30)] + spaces + rng.choice(ENDS)

    return ["".join(piece() for _ in range(20)) for _ in range(60)]


@pytest.fixture(params=["byte_level_bpe", "gpt1_bpe"])
def trained(request, makers):
    return makers[request.param]()


def test_a_text_in_parts_has_the_tokens_of_the_whole(trained, hard_texts, code, monkeypatch):
    texts = [*hard_joints(hard_texts), *hard_texts, code[:20_000]]
    whole = trained._library.encode_batch_fast(texts, add_special_tokens=False)
    monkeypatch.setattr(merges, "_PART", 1)
    monkeypatch.setattr(merges, "_CALL", 50)
    parts = [list(merges.parts_of(text)) for text in texts]
    assert ["".join(each) for each in parts] == texts
    assert sum(map(len, parts)) > 5 * len(texts)
    for ids, expected in zip(trained.encode_batch(texts), whole, strict=True):
        np.testing.assert_array_equal(ids, expected.ids)


def test_the_library_gets_a_little_of_a_long_text_at_once(trained, monkeypatch):
    assert merges._PART <= merges._CALL <= 1 << 20
    monkeypatch.setattr(merges, "_PART", 1000)
    monkeypatch.setattr(merges, "_CALL", 10_000)
    library, asked = trained._library, []

    class Watched:
        def encode_batch_fast(self, texts, **options):
            asked.append(sum(map(len, texts)))
            return library.encode_batch_fast(texts, **options)

    trained._library = Watched()
    text = "a ab b\n" * 10_000
    trained.encode_batch(["", text])
    assert max(asked) < 12_000 and sum(asked) == len(text)


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (AddedToken("b\nc", special=False), "ab\ncd"),
        (AddedToken("XY", special=False, rstrip=True), "aXY  d"),
        (AddedToken("<m>", special=False, lstrip=True), "ab  <m>d"),
    ],
)
def test_a_token_that_is_found_in_any_text_is_found_where_parts_meet(token, text, monkeypatch):
    vocab = json.loads(ByteLevelBPE.of_bytes().files()["encoder.json"]) | {token.content: 256}
    tokenizer = ByteLevelBPE(vocab, [], AddedTokens((token,)))
    monkeypatch.setattr(merges, "_PART", 1)
    whole = tokenizer._library.encode(text, add_special_tokens=False).ids
    assert tokenizer.encode(text).tolist() == whole and 256 in whole
    assert tokenizer.keeps_text == (tokenizer.decode(whole) == text)
