"""The train_tokenizer binary: what it writes, prints and refuses; the demo tokenizers' recipes."""

import hashlib
import importlib.metadata
import json
import random

import pytest

from gptjax.data.corpora.text import load_corpus
from gptjax.tokenization import ByteLevelBPE, SentencePiece, WordPiece, load_tokenizer
from gptjax.tokenization.loading import REPOSITORY_TOKENIZERS
from tests.support.binaries import call


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty documents of words made of random syllables."""
    folder = tmp_path_factory.mktemp("documents")
    rng = random.Random(0)
    for index in range(40):
        words = ["".join(rng.choices(["ka", "lo", "mi", "té"], k=3)) for _ in range(200)]
        (folder / f"{index:02}.txt").write_text(" ".join(words), encoding="utf-8")
    return f"text:{folder}"


@pytest.mark.parametrize(
    ("kind", "train"),
    [
        ("bpe", lambda texts: ByteLevelBPE.train(texts, 280)),
        ("sentencepiece_unigram", lambda texts: SentencePiece.train(texts, 280, "unigram")),
        ("sentencepiece_bpe", lambda texts: SentencePiece.train(texts, 280, "bpe")),
    ],
)
def test_trains_on_the_training_documents_alone(corpus, tmp_path, kind, train):
    done = call(
        "train_tokenizer",
        f"--kind={kind}",
        f"--corpus={corpus}",
        "--vocab_size=280",
        "--validation_fraction=0.3",
        f"--output={tmp_path / 'new'}",
    )
    assert (done.code, done.errors) == (0, "")

    documents = load_corpus(corpus)
    is_held_out = documents.held_out(0.3)
    held_out = [document.text for document in documents if is_held_out(document)]
    training = [document.text for document in documents if document.text not in held_out]
    assert 0 < len(held_out) < 20
    tokenizer = load_tokenizer(str(tmp_path / "new"))
    assert tokenizer.content_hash() == train(training).content_hash()
    assert tokenizer.content_hash() in done.output

    num_bytes = len("".join(held_out).encode())
    num_tokens = sum(tokenizer.encode(text).size for text in held_out)
    expected = round(num_bytes / num_tokens, 4)
    assert done.output.splitlines()[-1] == (
        f"held out: documents={len(held_out)} bytes={num_bytes} tokens={num_tokens} "
        f"bytes_per_token={expected}"
    )
    recipe = json.loads((tmp_path / "new" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["command"].startswith("python -m experiments.train_tokenizer --kind=")
    assert recipe["corpus_hash"] == load_corpus(corpus).content_hash()
    assert recipe["held_out_bytes_per_token"] == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"corpus": "python_dcs"}, "unknown corpus 'python_dcs' (did you mean 'python_docs'?)"),
        ({"corpus": "text:/nowhere"}, "no files at '/nowhere'"),
        ({"kind": "unigram"}, "--kind=unigram: expected one of bpe, sentencepiece_"),
        ({"vocab_size": "100"}, "vocab_size: got 100, expected at least 257"),
        ({"vocab_size": "99999"}, "vocab_size: got 99999, expected at most"),
        (
            {"output": str(REPOSITORY_TOKENIZERS)},
            "tokenizers has files in it, expected a new or empty directory",
        ),
        ({"output": f"{__file__}/x"}, "Not a directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(corpus, tmp_path, changes, message):
    wanted = {"corpus": corpus, "vocab_size": "300", "output": str(tmp_path)} | changes
    refused = call("train_tokenizer", *[f"--{name}={value}" for name, value in wanted.items()])
    assert message in refused.refusal
    assert list(tmp_path.iterdir()) == []


def test_a_corpus_of_which_nothing_is_held_out_is_warned_of(tmp_path):
    (tmp_path / "one.txt").write_text("ka lo mi té " * 50, encoding="utf-8")
    flags = (f"--corpus=text:{tmp_path}/one.txt", "--vocab_size=260", f"--output={tmp_path}/new")
    done = call("train_tokenizer", *flags, "--validation_fraction=0.0001")
    assert done.code == 0 and "bytes_per_token=None" in done.output
    assert f"nothing is held out of text:{tmp_path}/one.txt" in done.errors


DEMOS = sorted(path.parent for path in REPOSITORY_TOKENIZERS.glob("*/recipe.json"))


def corpus_of(folder):
    return folder.name.rpartition("_")[0].removesuffix("_wordpiece")


def test_every_demo_tokenizer_has_a_recipe():
    assert DEMOS
    assert sorted(path for path in REPOSITORY_TOKENIZERS.iterdir() if path.is_dir()) == DEMOS
    table = (REPOSITORY_TOKENIZERS / "README.md").read_text(encoding="utf-8")
    for folder in DEMOS:
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        size = load_tokenizer(folder.name).vocab_size
        assert (
            f"--corpus={corpus_of(folder)} --vocab_size={size} --output=tokenizers/{folder.name}"
            in (recipe["command"])
        )
        assert f"| `{folder.name}` | {size:,} | {recipe['held_out_bytes_per_token']} |" in table


@pytest.mark.slow
@pytest.mark.parametrize("folder", DEMOS, ids=lambda folder: folder.name)
def test_recipes_make_the_same_tokenizers_again(folder):
    documents = load_corpus(corpus_of(folder))
    is_held_out = documents.held_out(0.05)
    digests = b"".join(document.digest for document in documents)
    here = (hashlib.sha256(digests).hexdigest(), importlib.metadata.version("tokenizers"))
    texts = [document.text for document in documents if not is_held_out(document)]
    recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    if (recipe["corpus_hash"], recipe["tokenizers"]) != here:
        pytest.skip(f"{folder.name} was made of another Python's docs or by another library")
    demo = load_tokenizer(folder.name)
    train = WordPiece.train if "wordpiece" in folder.name else ByteLevelBPE.train
    assert train(texts, demo.vocab_size).content_hash() == demo.content_hash()
