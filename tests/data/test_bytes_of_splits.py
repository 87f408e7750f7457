"""Bytes that figures of a split are a share of, and splits that have none."""

import hashlib
import itertools
import json
import re

import pytest

from gptjax.data.batches.shards import prepare
from gptjax.data.corpora.text import load_corpus
from gptjax.tokenization import GPT1BPE, RawBytes, SentencePiece


def test_a_split_without_a_token_to_predict_is_refused(tmp_path):
    """At once, and from the files of an earlier call; blank text has no token of GPT-1's."""
    ours = GPT1BPE({"<unk>": 0, "a": 1, "a</w>": 2}, [])
    for i, (text, tokenizer, found) in enumerate(
        [("a", RawBytes(), "1 token(s) and 1"), (" \n ", ours, "0 token(s) and 0")]
    ):
        (tmp_path / f"{i}.txt").write_text(text)
        for _ in range(2):
            with pytest.raises(ValueError, match=re.escape(f"has {found} byte(s) of text; expec")):
                prepare(load_corpus(f"text:{tmp_path}/{i}.txt"), tokenizer, tmp_path / "c", 1.0)


@pytest.mark.parametrize("name", ["gpt1", "sentencepiece", "bytes"])
def test_bytes_are_those_of_the_text_that_tokens_stand_for(tmp_path, name):
    """Each document by itself, end-of-text aside."""
    texts = ["A  a\n\n  aa", "ba A.", "  \u2581a \u00e9\u00e9 "]
    vocab = {token: i for i, token in enumerate(("<unk>", "a", "b", "a</w>", ".</w>"))}
    tokenizer = {
        "gpt1": lambda: GPT1BPE(vocab, []),
        "sentencepiece": lambda: SentencePiece.train(["a b ab ba " * 9], 266, "bpe"),
        "bytes": RawBytes,
    }[name]()
    for i, text in enumerate(texts):
        (tmp_path / f"{i}.txt").write_text(text)
    split = prepare(load_corpus(f"text:{tmp_path}"), tokenizer, tmp_path / "c", 1.0).validation
    decoded = [tokenizer.decode(tokenizer.encode(text)) for text in texts]
    assert (decoded == texts) == (name == "bytes")
    assert split.num_bytes == sum(len(text.encode()) for text in decoded)
    assert split.bytes_of == ("documents" if name == "bytes" else "decoded tokens")
    assert split.bytes_per_target == split.num_bytes / (len(split.tokens) - 1)


def test_a_small_fraction_that_holds_most_of_the_text_is_told(tmp_path, caplog):
    def below(text):
        return hashlib.sha256(text.encode()).digest()[0] < 12  # of 256, under 0.05

    numbered = [f"text {i} " * 9 for i in range(200)]
    held_out = next(filter(below, numbered))
    left = list(itertools.filterfalse(below, (f"text {i}" for i in range(5))))
    rows = [json.dumps({"text": text}) + "\n" for text in (held_out, *left)]
    (tmp_path / "x.jsonl").write_text("".join(rows))
    corpus = load_corpus(f"jsonl:{tmp_path}/x.jsonl#text")
    prepare(corpus, RawBytes(), tmp_path / "c", 0.05)
    size = sum(map(len, (held_out, *left)))
    said = f"{corpus.name}: {len(held_out)} of {size} bytes are held out at validation_fraction = "
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [f"{said}0.05"]
