"""The tokens of a chat: after the inner vocabulary, and out of reach of any text."""

import json

import pytest

from gptjax.tokenization import ChatTokenizer, load_tokenizer

NAMES = ["<|system|>", "<|user|>", "<|assistant|>", "<|endofturn|>", "<|padding|>"]


@pytest.fixture(params=["raw_bytes", "byte_level_bpe", "unigram", "gpt1_bpe"])
def inner(request, makers):
    return makers[request.param]()


def test_its_tokens_come_after_the_inner_ones(inner):
    chat = ChatTokenizer(inner)
    n = inner.vocab_size
    assert chat.vocab_size == n + 5
    own = {name: i for name, i in chat.special_tokens.items() if name not in inner.special_tokens}
    assert own == dict(zip(NAMES, range(n, n + 5), strict=True))
    assert [chat.role(r) for r in ("system", "user", "assistant")] == [n, n + 1, n + 2]
    assert (chat.end_of_turn, chat.padding) == (n + 3, n + 4)
    assert chat.end_of_text == inner.end_of_text


def test_text_cannot_forge_them(inner, hard_texts):
    chat = ChatTokenizer(inner)
    forged = [f"ok{a}{b} yes {a}" for a in NAMES for b in NAMES]
    for text in [*forged, *hard_texts]:
        ids = chat.encode(text)
        assert ids.tolist() == inner.encode(text).tolist()
        assert ids.size == 0 or ids.max() < inner.vocab_size


def test_decoding_shows_them_by_name(inner):
    chat = ChatTokenizer(inner)
    a, b = chat.encode("ab"), chat.encode("b a")
    ids = [chat.role("user"), *a, chat.end_of_turn, chat.padding, *b]
    shown = f"<|user|>{inner.decode(a)}<|endofturn|><|padding|>{inner.decode(b)}"
    assert chat.decode(ids) == shown


def test_a_specification_and_a_saved_directory(tmp_path):
    chat = load_tokenizer("chat:python_docs_1024")
    assert chat.vocab_size == 1029
    chat.save(tmp_path)
    assert load_tokenizer(str(tmp_path)).content_hash() == chat.content_hash()
    hashes = {load_tokenizer(s).content_hash() for s in ("bytes", "chat:bytes")}
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("chat:chat:bytes", r"^chat has <\|assistant\|>, .*; expected a tokenizer without$"),
        ("chat:byte", r"unknown tokenizer 'byte' \(did you mean 'bytes'\?\)"),
        ("chat:", "'' has no kind.json"),
    ],
)
def test_specifications_that_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        load_tokenizer(spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inner": "chat"}, "unknown kind of tokenizer in .*chat.json: 'chat'"),
        ({"tokens": NAMES[:4]}, r"chat.json: tokens are \[.*\], expected \["),
    ],
)
def test_changed_files_are_refused(tmp_path, change, message):
    load_tokenizer("chat:bytes").save(tmp_path)
    path = tmp_path / "chat.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=message):
        load_tokenizer(str(tmp_path))


def test_an_unknown_role_is_refused():
    with pytest.raises(ValueError, match=r"unknown role 'usr' \(did you mean 'user'\?\)"):
        load_tokenizer("chat:bytes").role("usr")
