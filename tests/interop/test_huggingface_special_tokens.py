"""Added tokens, other ends of text and padded tables, against transformers, both ways."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import traverse_util

from gptjax.interop.huggingface_directory import Pretrained, write_pretrained
from gptjax.interop.huggingface_tokenizer import read_tokenizer
from gptjax.models.gpt import GPT
from gptjax.tokenization import ChatTokenizer, SentencePiece, Tokenizer, load_tokenizer
from gptjax.tokenization.loading import REPOSITORY_TOKENIZERS
from tests.interop.theirs import huggingface, their_logits

TEXT = "x = 1    [X] <mask>  y[PAD]</s><|im_end|>[X]'s"
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "[UNK]", "pad_token": "[PAD]"}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The repository's tokenizer without its end of text, as GPT-2's files: 1,023 ids."""
    kept, folder = REPOSITORY_TOKENIZERS / "python_docs_1024", tmp_path_factory.mktemp("files")
    vocab = json.loads((kept / "encoder.json").read_text())
    del vocab["<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_bytes((kept / "vocab.bpe").read_bytes())
    return folder


@pytest.fixture(scope="module")
def theirs(files):
    """Their tokenizer with special tokens, and others that are found in any text."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.GPT2Tokenizer(
        str(files / "vocab.json"),
        str(files / "merges.txt"),
        **NAMES,
        additional_special_tokens=["<|im_end|>"],
    )
    tokenizer.add_tokens(["    ", "[X]", transformers.AddedToken("<mask>", lstrip=True)])
    return tokenizer


def spelt(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text in which special tokens are meant."""
    return tokenizer.encode(text, allowed_special=tokenizer.special_tokens).tolist()


@pytest.mark.parametrize(("tied", "rows"), [(True, 1088), (False, 1152)])
def test_a_model_goes_out_as_it_came_in(theirs, tmp_path, tied, rows):
    transformers = pytest.importorskip("transformers")
    ids = {f"{role}_id": theirs.convert_tokens_to_ids(name) for role, name in NAMES.items()}
    ids.pop("unk_token_id")
    model = huggingface("gpt2", vocab_size=rows, tie_word_embeddings=tied, **ids)
    ends = [ids["eos_token_id"], theirs.convert_tokens_to_ids("<|im_end|>")]
    model.generation_config.eos_token_id = ends
    model.save_pretrained(tmp_path / "in")
    theirs.save_pretrained(tmp_path / "in")

    source = Pretrained(tmp_path / "in")
    ours = source.tokenizer()
    config = source.fitted(ours)
    assert config.vocab_size == ours.vocab_size == len(theirs) == 1031
    ours.save(tmp_path / "kept")
    kept = load_tokenizer(str(tmp_path / "kept"))
    assert kept.end_of_text == ids["eos_token_id"]
    assert spelt(kept, TEXT) == theirs(TEXT).input_ids
    assert kept.decode(spelt(kept, TEXT)) == theirs.decode(theirs(TEXT).input_ids)
    assert 1026 not in kept.encode("[PAD]") and 1029 in kept.encode("[X]")  # special, and not

    params = jax.tree.map(lambda leaf: leaf.read(), source.params(config))
    tokens = np.random.default_rng(0).integers(0, 1031, (2, 24))
    expected = their_logits(model, tokens)[..., :1031]
    if rows == 1088:  # the others differ in what is read, not in what is computed
        logits = jax.jit(GPT(config).apply)({"params": params}, tokens.astype(np.int32))
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)

    leaves = traverse_util.flatten_dict(params, sep="/")
    write_pretrained(tmp_path / "out", config, lambda name: leaves[name], kept)
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    np.testing.assert_array_equal(their_logits(back, tokens), expected)
    assert ids == {name: getattr(back.config, name) for name in ids}
    assert back.generation_config.eos_token_id == ends
    assert back.generation_config.pad_token_id == ids["pad_token_id"]
    for _ in range(2):  # with and without tokenizer.json
        again = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
        assert again.get_vocab() == theirs.get_vocab()
        assert {role: getattr(again, role) for role in NAMES} == NAMES
        assert again.extra_special_tokens == ["<|im_end|>"]
        assert again(TEXT).input_ids == theirs(TEXT).input_ids
        read = read_tokenizer(tmp_path / "out", "gpt2")
        assert read.content_hash() == kept.content_hash() == ours.content_hash()
        (tmp_path / "out/tokenizer.json").unlink(missing_ok=True)


def written(files: Path, directory: Path, **contents: object) -> Tokenizer:
    """The tokenizer of a directory with GPT-2's files and these, their suffix left out."""
    for file in files.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    for name, content in contents.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return read_tokenizer(directory, "gpt2")


def test_older_files_and_models_name_the_end_of_text_too(files, tmp_path):
    legacy = written(
        files,
        tmp_path,
        added_tokens={"[PAD]": 1024, "</s>": 1023},
        special_tokens_map={"eos_token": {"content": "</s>", "lstrip": False}},
        tokenizer_config={"pad_token": "[PAD]", "eos_token": None},
    )
    assert (legacy.end_of_text, legacy.special_tokens) == (1023, {"</s>": 1023, "[PAD]": 1024})
    by_id = written(
        files,
        tmp_path,
        added_tokens={"<eos>": 1023, "[PAD]": 1024},
        special_tokens_map={},
        tokenizer_config={},
        config={"eos_token_id": 1023},
    )
    assert (by_id.end_of_text, by_id.special_tokens) == (None, {})  # found in any text there
    content = {"content": "<eos>", "special": True}
    config = {"added_tokens_decoder": {"1023": content}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert read_tokenizer(tmp_path, "gpt2").end_of_text == 1023


def test_a_special_token_without_an_id_gets_the_next_row_if_there_is_one(files, tmp_path):
    names = {"eos_token": "<eos>", "pad_token": "[PAD]"}
    given = {"special_tokens_map": names, "config": {"vocab_size": 1024}}
    tokenizer = written(files, tmp_path, **given)
    assert tokenizer.special_tokens == {"<eos>": 1023}
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (1024, 1023)


def test_the_end_of_text_of_a_chat_is_that_of_its_inner_tokenizer(shared_data):
    path = shared_data / "tok_sentencepiece/test_model.model"
    inner = SentencePiece.from_file(path)
    assert inner.decode([inner.end_of_text]) == "</s>"
    assert ChatTokenizer(inner).end_of_text == inner.end_of_text
