"""Tokenizer files, against what transformers makes of them on real text."""

import json
from pathlib import Path

import numpy as np
import pytest

from gptjax.interop.huggingface_tokenizer import read_tokenizer, tokenizer_files
from gptjax.tokenization import GPT1BPE, ByteLevelBPE, RawBytes, Tokenizer, load_tokenizer

TEXT = (
    "def f(x):\r\n    return x**2  # naïve\n\n\tThe Café's 2,048 tokens\u00a0cost £1.50; "
    "don't they? 漢字 🙂 e\u0301 <unk> </w> a==b!='c'   "
)
PUBLISHED = {
    "gpt2": ("tok_gpt2_bpe", "encoder.json", "vocab.bpe"),
    "openai-gpt": ("tok_gpt1_bpe", "encoder_bpe_40000.json", "vocab_40000.bpe"),
}


def long_text(shared_data: Path) -> str:
    return TEXT + (shared_data / "tinyshakespeare/input.txt").read_text()[:20_000]


def published(kind: str, shared_data: Path, directory: Path) -> Path:
    """OpenAI's files under the names that transformers gives them."""
    folder, vocab, merges = PUBLISHED[kind]
    directory.mkdir(exist_ok=True)
    (directory / "vocab.json").write_bytes((shared_data / folder / vocab).read_bytes())
    (directory / "merges.txt").write_bytes((shared_data / folder / merges).read_bytes())
    return directory


def write(tokenizer: Tokenizer, directory: Path, kind: str = "gpt2") -> Path:
    for name, content in tokenizer_files(tokenizer, 64).items():
        (directory / name).write_bytes(content)
    (directory / "config.json").write_text(json.dumps({"model_type": kind}))
    return directory


def theirs(directory: Path):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(directory)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_files_are_read_as_transformers_reads_them(kind, shared_data, tmp_path):
    transformers = pytest.importorskip("transformers")
    directory, text = published(kind, shared_data, tmp_path / "files"), long_text(shared_data)
    name = {"gpt2": "GPT2Tokenizer", "openai-gpt": "OpenAIGPTTokenizer"}[kind]
    library = getattr(transformers, name).from_pretrained(directory)
    ours = read_tokenizer(directory, kind)
    assert type(ours) is {"gpt2": ByteLevelBPE, "openai-gpt": GPT1BPE}[kind]
    folder = shared_data / PUBLISHED[kind][0]
    original = load_tokenizer(f"{'gpt2' if kind == 'gpt2' else 'gpt1'}:{folder}")
    assert ours.content_hash() == original.content_hash()

    # Special tokens that are spelled out in a text are text to us, tokens to them.
    expected = library(text.replace("<unk>", "")).input_ids
    np.testing.assert_array_equal(ours.encode(text.replace("<unk>", "")), expected)

    library.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved/vocab.json").exists()
    assert read_tokenizer(tmp_path / "saved", kind).content_hash() == ours.content_hash()


def check_exported(tokenizer: Tokenizer, text: str, directory: Path, kind: str = "gpt2"):
    """Writes the files; with and without tokenizer.json theirs gives our ids."""
    write(tokenizer, directory, kind)
    for _ in range(2):
        library = theirs(directory)
        ids = library(text).input_ids
        np.testing.assert_array_equal(tokenizer.encode(text), ids)
        assert library.decode(ids) == tokenizer.decode(ids)
        assert len(library) == tokenizer.vocab_size
        assert library.eos_token_id == library.bos_token_id == tokenizer.end_of_text
        assert library.model_max_length == 64
        back = read_tokenizer(directory, kind)
        if not isinstance(tokenizer, RawBytes):
            assert back.content_hash() == tokenizer.content_hash()
        (directory / "tokenizer.json").unlink(missing_ok=True)
    return library


@pytest.mark.slow
def test_gpt2s_own_files_go_out_and_come_back(shared_data, tmp_path):
    tokenizer = load_tokenizer(f"gpt2:{shared_data / 'tok_gpt2_bpe'}")
    library = check_exported(tokenizer, long_text(shared_data), tmp_path)
    assert library("a<|endoftext|>b").input_ids == [64, 50256, 65]


@pytest.mark.slow
def test_gpt1s_own_files_go_out_and_come_back(shared_data, tmp_path):
    tokenizer = load_tokenizer(f"gpt1:{shared_data / 'tok_gpt1_bpe'}")
    text = long_text(shared_data).replace("<unk>", "")
    write(tokenizer, tmp_path, "openai-gpt")
    for _ in range(2):
        library = theirs(tmp_path)
        np.testing.assert_array_equal(tokenizer.encode(text), library(text).input_ids)
        assert (library.eos_token, library.unk_token_id, len(library)) == (None, 0, 40478)
        assert read_tokenizer(tmp_path, "openai-gpt").content_hash() == tokenizer.content_hash()
        (tmp_path / "tokenizer.json").unlink(missing_ok=True)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_tokenizers_trained_here_go_out_and_come_back(kind, tmp_path):
    text = TEXT + Path(json.__file__).read_text()
    check_exported(load_tokenizer("python_docs_1024"), text, tmp_path, kind)


def test_bytes_go_out_as_a_bpe_without_merges(tmp_path):
    check_exported(RawBytes(), TEXT, tmp_path)
    assert read_tokenizer(tmp_path, "gpt2").encode("é").tolist() == [195, 169]


def test_sentencepiece_is_refused(shared_data):
    tokenizer = load_tokenizer(
        f"sentencepiece:{shared_data / 'tok_sentencepiece/test_model.model'}"
    )
    with pytest.raises(ValueError, match=r"got sentencepiece, expected .* apply merges"):
        tokenizer_files(tokenizer, 64)


def change_library(directory: Path, change) -> None:
    content = json.loads((directory / "tokenizer.json").read_text())
    change(content)
    (directory / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].update(type="WordPiece", merges=None), "got no BPE of a vocabulary"),
        (lambda c: c["model"]["merges"].append(["a", "b", "c"]), "got no BPE of a vocabulary"),
        (lambda c: c["model"]["merges"].append(["zq", "qz"]), "needs the token 'zq'"),
        (lambda c: c.update(pre_tokenizer=None), "got the pre_tokenizer None, expected ByteLevel"),
        (lambda c: c["pre_tokenizer"].update(type="Whitespace"), "the pre_tokenizer Whitespace"),
        (lambda c: c["pre_tokenizer"].update(add_prefix_space=True), "it splits text otherwise"),
        (lambda c: c["pre_tokenizer"].update(use_regex=False), "it splits text otherwise"),
        (lambda c: c.update(normalizer={"type": "Lowercase"}), "it splits text otherwise"),
        (lambda c: c.update(normalizer={"type": "Nothing"}), "expected a file of the tokenizers"),
        (lambda c: c["model"].update(dropout=0.1), "got dropout 0.1, expected None"),
        (lambda c: c["model"].update(ignore_merges=True), "got ignore_merges True, expected False"),
        (
            lambda c: c["model"]["vocab"].update({"[PAD]": 1024}),
            r"token '\[PAD\]' comes of no merge",
        ),
        (lambda c: c["added_tokens"][0].update(id=5), "has the ids 1023 and 5; expected added"),
    ],
)
def test_other_tokenizers_are_refused_with_the_reason(change, message, tmp_path):
    write(load_tokenizer("python_docs_1024"), tmp_path)
    change_library(tmp_path, change)
    with pytest.raises(ValueError, match=message) as caught:
        read_tokenizer(tmp_path, "gpt2")
    assert "\n" not in str(caught.value) and "tokenizer.json" in str(caught.value)


def test_merges_as_strings_and_added_special_tokens_are_understood(tmp_path):
    tokenizer = load_tokenizer("python_docs_1024")
    write(tokenizer, tmp_path)

    def change(content):
        content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
        del content["model"]["vocab"]["<|endoftext|>"]
        content["added_tokens"].append(content["added_tokens"][0] | {"content": "<u>", "id": 1024})

    change_library(tmp_path, change)
    read = read_tokenizer(tmp_path, "gpt2")
    assert read.special_tokens == {"<|endoftext|>": 1023, "<u>": 1024}
    np.testing.assert_array_equal(read.encode(TEXT), tokenizer.encode(TEXT))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"got no tokenizer\.json and no vocab\.json and no m"):
        read_tokenizer(tmp_path, "gpt2")
    write(load_tokenizer("python_docs_1024"), tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(ValueError, match=r"got no tokenizer\.json and no merges\.txt, expected"):
        read_tokenizer(tmp_path, "gpt2")
