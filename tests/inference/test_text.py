"""Prompts, and text that comes piece by piece."""

import numpy as np
import pytest

from gptjax.inference.text import GrowingText, TextStream, encode_prompt, whole_text
from gptjax.tokenization import RawBytes, SentencePiece, Tokenizer, load_tokenizer

TEXT = "naïve café, 中文 and 🎉🎉 in one line\n"


@pytest.fixture(scope="module", params=["bytes", "byte_level_bpe", "sentencepiece"])
def tokenizer(request) -> Tokenizer:
    if request.param == "bytes":
        return RawBytes()
    if request.param == "byte_level_bpe":
        return load_tokenizer("python_docs_1024")
    return SentencePiece.train(["a plain line of text to learn from\n"] * 20, 280, "bpe")


def pieces(tokenizer: Tokenizer, tokens: np.ndarray) -> list[str]:
    stream = TextStream(tokenizer)
    return [*(stream.push(tokens[i : i + 1]) for i in range(tokens.size)), stream.finish()]


def test_characters_come_whole(tokenizer):
    tokens = tokenizer.encode(TEXT)
    shown = pieces(tokenizer, tokens)
    assert "".join(shown) == tokenizer.decode(tokens)
    assert not any("\ufffd" in piece for piece in shown)
    assert tokens.size > len(TEXT) or not isinstance(tokenizer, RawBytes)


def test_text_is_shown_as_soon_as_it_is_settled():
    stream = TextStream(RawBytes())
    shown = [stream.push(np.array([byte])) for byte in "aé🎉b".encode()]
    assert shown == ["a", "", "é", "", "", "", "🎉", "b"]


def test_the_stop_token_is_not_shown_whichever_it_is():
    chat = load_tokenizer("chat:bytes")
    tokens = np.append(chat.encode("ab"), chat.end_of_turn)
    assert whole_text(chat, tokens, stop_token=chat.end_of_turn) == "ab"
    assert whole_text(chat, tokens) == "ab<|endofturn|>"


def test_nothing_is_lost_or_changed_in_broken_text(tokenizer):
    """Random tokens are mostly not UTF-8; what was shown stays, and in the end all is."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        tokens = rng.integers(3, tokenizer.vocab_size, 40)
        tokens = tokens[tokens != tokenizer.end_of_text]
        assert "".join(pieces(tokenizer, tokens)) == tokenizer.decode(tokens)


def test_broken_text_does_not_hold_the_stream_back():
    stream = TextStream(RawBytes())
    shown = stream.push(np.full(10, 0xFF)) + stream.push(np.full(10, 0xFF))
    assert shown == "\ufffd" * 17
    assert stream.finish() == "\ufffd" * 3


def test_end_of_text_is_not_shown():
    tokenizer = load_tokenizer("python_docs_1024")
    end = np.array([tokenizer.end_of_text])
    tokens = np.concatenate([end, tokenizer.encode("return"), end])
    assert "".join(pieces(tokenizer, tokens)) == "return"


def test_prompts():
    tokenizer = load_tokenizer("python_docs_1024")
    assert encode_prompt(tokenizer, "").tolist() == [tokenizer.end_of_text]
    assert encode_prompt(tokenizer, "The <|endoftext|>").tolist() == (
        tokenizer.encode("The <|endoftext|>").tolist()
    )
    assert tokenizer.end_of_text not in encode_prompt(tokenizer, "The <|endoftext|>")
    with pytest.raises(ValueError, match="this tokenizer has no end-of-text"):
        encode_prompt(RawBytes(), "")


@pytest.mark.parametrize("name", ["bytes", "chat:python_docs_1024", "python_docs_wordpiece_2048"])
def test_a_growing_text_is_that_of_all_tokens_and_decodes_a_few_at_a_time(name, monkeypatch):
    tokenizer, rng = load_tokenizer(name), np.random.default_rng(0)
    text = "A naïve 🙂👩‍👩‍👧 text, of 漢字 and words. " * 6
    written = tokenizer.encode(text).tolist()
    anything = rng.integers(0, tokenizer.vocab_size, 300).tolist()
    for tokens in (written, anything, written[:50] + anything[:50] + written[50:]):
        growing = GrowingText(tokenizer)
        for i, token in enumerate(tokens):
            assert growing.add([token]) == tokenizer.decode(tokens[: i + 1])
    sizes, plain = [], tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda ids: sizes.append(len(ids)) or plain(ids))
    stream = TextStream(tokenizer)
    pieces = [stream.push(np.array([token])) for token in written]
    assert "".join(pieces) + stream.finish() == plain(written)
    assert max(sizes) < 50 < len(written)
