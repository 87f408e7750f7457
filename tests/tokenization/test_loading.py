"""What users write to name a tokenizer, and files that are missing, torn or changed."""

import pytest

from gptjax.tokenization import WordPiece, load_tokenizer
from gptjax.tokenization.loading import REPOSITORY_TOKENIZERS


@pytest.mark.parametrize("name", sorted(path.name for path in REPOSITORY_TOKENIZERS.glob("*/")))
def test_demo_tokenizers(name, hard_texts):
    demo = load_tokenizer(name)
    assert demo.vocab_size == int(name.rpartition("_")[2])
    if isinstance(demo, WordPiece):  # which loses case and white space, and ends no document
        return
    assert demo.end_of_text == demo.vocab_size - 1
    for text in hard_texts:
        assert demo.decode(demo.encode(text)) == text


def test_tokenizers_folder_is_no_package():
    assert not (REPOSITORY_TOKENIZERS / "__init__.py").exists()


def refused(spec: str, message: str):
    """Loading is refused in one line that names the file, or what was given and what is allowed."""
    with pytest.raises(ValueError, match=message) as caught:
        load_tokenizer(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("byte", r"unknown tokenizer 'byte' \(did you mean 'bytes'\?\); .*gpt2:DIR"),
        ("", "expected a saved tokenizer"),
        ("gpt2:/nowhere", "cannot read /nowhere/encoder.json: No such file"),
        ("gpt1:/nowhere", "cannot read /nowhere/encoder_bpe_40000.json: No such file"),
        ("sentencepiece:/nowhere", "^cannot read /nowhere: No such file"),
        ("sentencepiece:/", "cannot read /: Is a directory"),
        ("wordpiece:/nowhere", "^cannot read /nowhere/vocab.txt: No such file"),
    ],
)
def test_specification(spec, message):
    refused(spec, message)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("encoder.json", lambda c: c[:-9], "encoder.json: .*expected a JSON object"),
        ("encoder.json", lambda c: b"\xff", "encoder.json: .*expected a JSON object"),
        ("encoder.json", lambda c: b"[]", "got a JSON list, expected an object"),
        ("encoder.json", lambda c: b"{}", "do not fit: .*needs the token"),
        ("encoder.json", lambda c: c.replace(b":299", b":300"), "not 0 to 299, each once"),
        ("encoder.json", lambda c: c.replace(b":299", b':"x"'), "not 0 to 299, each once"),
        (
            "encoder.json",
            lambda c: c.replace(b'"Z"', '"深"'.encode()),
            "no token for byte 0x5a",
        ),
        ("vocab.bpe", lambda c: c[: len(c) // 2], "vocab.bpe"),
        ("vocab.bpe", lambda c: b"\xff", "vocab.bpe: .*expected merges in UTF-8"),
        ("vocab.bpe", lambda c: c + b"one two three\n", "line 45: got 'one two three'"),
        ("vocab.bpe", lambda c: c + b"Z Z\n", "merge 'Z Z' needs the token 'ZZ'"),
        ("vocab.bpe", lambda c: c.rpartition(b"\n")[0].rpartition(b"\n")[0], "of no merge"),
        ("kind.json", lambda c: c.replace(b"byte_level", b"byte_love"), "did you mean"),
        ("kind.json", lambda c: b"", "kind.json: .*expected a JSON object"),
    ],
)
def test_files(makers, tmp_path, file, change, message):
    makers["byte_level_bpe"]().save(tmp_path)
    path = tmp_path / file
    path.write_bytes(change(path.read_bytes()))
    refused(str(tmp_path), message)


@pytest.mark.parametrize("names", [("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")])
def test_published_files_are_read_by_either_name(makers, tmp_path, names):
    ours = makers["byte_level_bpe"]()
    for name, content in zip(names, ours.files().values(), strict=True):
        (tmp_path / name).write_bytes(content)
    assert load_tokenizer(f"gpt2:{tmp_path}").content_hash() == ours.content_hash()
    refused(str(tmp_path), rf"\(did you mean 'gpt2:{tmp_path}'\?\)")


def test_missing_files(makers, tmp_path):
    refused(str(tmp_path), "has no kind.json")
    refused("a/b.model", r"unknown tokenizer .* \(did you mean 'sentencepiece:a/b.model'\?\)")
    makers["byte_level_bpe"]().save(tmp_path)
    (tmp_path / "vocab.bpe").unlink()
    refused(str(tmp_path), "cannot read .*vocab.bpe: No such file")


@pytest.mark.parametrize("model", [b"", b"no model", "half"])
def test_sentencepiece_model(makers, tmp_path, model):
    path = tmp_path / "a.model"
    whole = makers["unigram"]().files()["sentencepiece.model"]
    path.write_bytes(whole[: len(whole) // 2] if model == "half" else model)
    refused(f"sentencepiece:{path}", "a.model: got no SentencePiece model")
