"""What every kind of tokenizer promises: ids, special tokens, saving, the content hash."""

import json
import re
import shutil

import numpy as np
import pytest

from gptjax.tokenization import GPT1BPE, ByteLevelBPE, RawBytes, load_tokenizer


def test_arrays_are_int32(tokenizer):
    for ids in [
        tokenizer.encode(""),
        tokenizer.encode("ab"),
        *tokenizer.encode_batch(["", "a"]),
    ]:
        assert ids.dtype == np.int32
        assert ids.ndim == 1
    assert tokenizer.encode("").size == 0
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.decode([]) == ""


def test_a_tokenizer_that_keeps_texts_gives_them_back(tokenizer, hard_texts):
    """And the bytes of what it decodes to are counted, of one that loses some."""
    for text in hard_texts:
        decoded = tokenizer.decode(ids := tokenizer.encode(text))
        assert tokenizer.decoded_bytes(ids) == len(decoded.encode())
        assert decoded == text or not tokenizer.keeps_text


def test_special_tokens_in_text_are_text(tokenizer):
    for name, index in tokenizer.special_tokens.items():
        text = f"a{name}b"
        if not isinstance(tokenizer, GPT1BPE):  # whose "<" is unknown here
            assert index not in tokenizer.encode(text)
        ids = tokenizer.encode(text, allowed_special=[name])
        expected = [*tokenizer.encode("a"), index, *tokenizer.encode("b")]
        assert ids.tolist() == expected
        assert name in tokenizer.decode(ids)
    with pytest.raises(ValueError, match="unknown special token '<nonesuch>'"):
        tokenizer.encode("a", allowed_special=["<nonesuch>"])


def test_lone_surrogates_are_refused(tokenizer):
    message = r"^text has a lone surrogate, U\+D83D at character 2; expected valid Unicode$"
    with pytest.raises(ValueError, match=message):
        tokenizer.encode("ab\ud83d")
    with pytest.raises(ValueError, match=message):
        tokenizer.encode_batch(["fine", "ab\ud83d"])


def test_escaped_bytes_are_for_raw_bytes_alone(tokenizer):
    text = b"ab\xff".decode(errors="surrogateescape")
    if isinstance(tokenizer, RawBytes):
        assert tokenizer.encode(text).tolist() == [97, 98, 255]
    else:
        with pytest.raises(ValueError, match=r"lone surrogate, U\+DCFF at character 2; expected"):
            tokenizer.encode(text)


@pytest.mark.parametrize("ids", [[-1], [10**6], [0.5], [[1, 2]]])
def test_ids_outside_the_vocabulary_are_refused(tokenizer, ids):
    with pytest.raises(ValueError, match="expected"):
        tokenizer.decode(ids)


def test_saved_directory_is_all_it_needs(tokenizer, hard_texts, tmp_path):
    tokenizer.save(tmp_path / "a" / "b")
    moved = shutil.move(tmp_path / "a" / "b", tmp_path / "moved")
    again = load_tokenizer(str(moved))
    assert type(again) is type(tokenizer)
    assert again.vocab_size == tokenizer.vocab_size
    assert again.special_tokens == tokenizer.special_tokens
    assert again.content_hash() == tokenizer.content_hash()
    again.save(tmp_path / "again")
    for path in (tmp_path / "moved").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    for text in hard_texts:
        np.testing.assert_array_equal(again.encode(text), tokenizer.encode(text))


def test_training_again_gives_the_same(maker, tokenizer):
    assert maker().content_hash() == tokenizer.content_hash()


def test_changed_files_are_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    description = json.loads((tmp_path / "kind.json").read_text(encoding="utf-8"))
    description["content_hash"] = "0" * 64
    (tmp_path / "kind.json").write_text(json.dumps(description), encoding="utf-8")
    with pytest.raises(ValueError, match=f"was changed: content hash .*expected {'0' * 64}"):
        load_tokenizer(str(tmp_path))


def test_raw_bytes_are_bytes(hard_texts):
    tokenizer = load_tokenizer("bytes")
    assert tokenizer.vocab_size == 256
    assert tokenizer.end_of_text is None
    for text in hard_texts:
        ids = tokenizer.encode(text)
        assert bytes(ids.tolist()) == text.encode()
        assert tokenizer.decode(ids) == text
    assert tokenizer.decode([0xFF, 0x41, 0xC3]) == "\ufffdA\ufffd"


def test_content_hash_tells_tokenizers_apart(makers, code):
    hashes = {make().content_hash() for make in makers.values()}
    assert len(hashes) == len(makers)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)
    assert ByteLevelBPE.train([code], 301).content_hash() not in hashes


def test_content_hash_is_of_content_not_of_layout(makers, tmp_path):
    trained = makers["byte_level_bpe"]()
    trained.save(tmp_path)
    vocab = json.loads((tmp_path / "encoder.json").read_text(encoding="utf-8"))
    shuffled = dict(sorted(vocab.items()))
    (tmp_path / "encoder.json").write_text(json.dumps(shuffled, indent=2), encoding="utf-8")
    (tmp_path / "vocab.bpe").write_bytes(
        (tmp_path / "vocab.bpe").read_bytes().removeprefix(b"#version: 0.2\n")
    )
    assert load_tokenizer(f"gpt2:{tmp_path}").content_hash() == trained.content_hash()
    assert load_tokenizer(str(tmp_path)).content_hash() == trained.content_hash()
