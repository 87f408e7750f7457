"""BPE against tiktoken, the tokenizers library, transformers, and BPE in plain loops."""

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import tiktoken.load
from tokenizers.implementations import ByteLevelBPETokenizer

from gptjax.tokenization import END_OF_TEXT, ByteLevelBPE, Tokenizer, load_tokenizer

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GPT2_WORDS_ASCII = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
)


def bpe_in_loops(symbols: list[str], merges: list[tuple[str, str]]) -> list[str]:
    """One word's tokens: the earliest applicable merge, everywhere, until none is left."""
    for left, right in merges:
        index = 0
        while index < len(symbols) - 1:
            if symbols[index] == left and symbols[index + 1] == right:
                symbols[index : index + 2] = [left + right]
            index += 1
    return symbols


def read_merges(content: str) -> list[tuple[str, str]]:
    return [tuple(line.split(" ")) for line in content.split("\n")[1:-1]]


@pytest.fixture(scope="module")
def gpt2_files(shared_data: Path) -> Path:
    return shared_data / "tok_gpt2_bpe"


@pytest.fixture(scope="module")
def gpt1_files(shared_data: Path) -> Path:
    return shared_data / "tok_gpt1_bpe"


@pytest.fixture(scope="module")
def gpt2(gpt2_files: Path) -> Tokenizer:
    return load_tokenizer(f"gpt2:{gpt2_files}")


@pytest.fixture(scope="module")
def gpt1(gpt1_files: Path) -> Tokenizer:
    return load_tokenizer(f"gpt1:{gpt1_files}")


@pytest.fixture(scope="module")
def gpt2_in_tiktoken(gpt2_files: Path) -> tiktoken.Encoding:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")
        ranks = tiktoken.load.data_gym_to_mergeable_bpe_ranks(
            str(gpt2_files / "vocab.bpe"), str(gpt2_files / "encoder.json")
        )
    special = {END_OF_TEXT: len(ranks)}
    return tiktoken.Encoding(
        "gpt2", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=special
    )


@pytest.fixture(scope="module")
def trained(code: str) -> ByteLevelBPE:
    return ByteLevelBPE.train([code], 512)


class TestGPT2:
    def test_vocabulary(self, gpt2: Tokenizer):
        assert gpt2.vocab_size == 50257
        assert gpt2.special_tokens == {END_OF_TEXT: 50256}
        assert gpt2.end_of_text == 50256

    def test_ids_are_those_of_tiktoken(self, gpt2, gpt2_in_tiktoken, mixed_text):
        assert len(mixed_text.encode()) > 1e6
        ids = gpt2.encode(mixed_text)
        assert ids.dtype == np.int32
        np.testing.assert_array_equal(ids, gpt2_in_tiktoken.encode_ordinary(mixed_text))
        assert gpt2.decode(ids) == mixed_text

    @pytest.mark.slow
    def test_ids_are_those_of_the_tokenizers_library(self, gpt2, gpt2_files, mixed_text):
        library = ByteLevelBPETokenizer.from_file(
            str(gpt2_files / "encoder.json"), str(gpt2_files / "vocab.bpe")
        )
        texts = mixed_text.split("\n\n")
        for ids, expected in zip(
            gpt2.encode_batch(texts), library.encode_batch(texts), strict=True
        ):
            np.testing.assert_array_equal(ids, expected.ids)

    def test_batch_equals_one_by_one(self, gpt2, hard_texts):
        for ids, text in zip(gpt2.encode_batch(hard_texts), hard_texts, strict=True):
            np.testing.assert_array_equal(ids, gpt2.encode(text))

    def test_special_tokens_as_in_tiktoken(self, gpt2, gpt2_in_tiktoken):
        text = f"{END_OF_TEXT}one{END_OF_TEXT}{END_OF_TEXT} two <|endoftext"
        as_text = gpt2.encode(text)
        assert 50256 not in as_text
        assert gpt2.decode(as_text) == text
        allowed = gpt2.encode(text, allowed_special=[END_OF_TEXT])
        expected = gpt2_in_tiktoken.encode(text, allowed_special={END_OF_TEXT})
        np.testing.assert_array_equal(allowed, expected)
        assert list(allowed).count(50256) == 3
        assert gpt2.decode(allowed) == text

    def test_any_ids_decode_as_in_tiktoken(self, gpt2, gpt2_in_tiktoken):
        rng = np.random.default_rng(0)
        for ids in rng.integers(0, 50257, (200, 20)):
            assert gpt2.decode(ids) == gpt2_in_tiktoken.decode(ids.tolist())


class TestByteLevelBPE:
    def test_text_round_trips(self, trained, code, hard_texts):
        for text in [*hard_texts, code]:
            assert trained.decode(trained.encode(text)) == text

    def test_ids_are_those_of_plain_loops(self, trained, code):
        vocab = json.loads(trained.files()["encoder.json"])
        merges = read_merges(trained.files()["vocab.bpe"].decode())
        text = "".join(character for character in code[:20_000] if character.isascii())
        visible = str.maketrans({" ": "Ġ", "\n": "Ċ", "\t": "ĉ"})
        words = [word.translate(visible) for word in GPT2_WORDS_ASCII.findall(text)]
        tokens = [token for word in words for token in bpe_in_loops(list(word), merges)]
        assert len(tokens) < 0.6 * len(text)
        assert [vocab[token] for token in tokens] == trained.encode(text).tolist()

    def test_each_merge_joins_a_most_frequent_pair(self):
        text = "the cat and the hat sat there, then they ate the other thing " * 3
        merges = read_merges(ByteLevelBPE.train([text], 275).files()["vocab.bpe"].decode())
        assert len(merges) == 18
        words = [list(word.replace(" ", "Ġ")) for word in GPT2_WORDS_ASCII.findall(text)]
        for merge in merges:
            pairs = Counter(pair for word in words for pair in itertools.pairwise(word))
            assert pairs[merge] == max(pairs.values())
            words = [bpe_in_loops(word, [merge]) for word in words]

    def test_the_longest_allowed_special_token_wins(self, trained):
        vocab = json.loads(trained.files()["encoder.json"]) | {"<x>": 512, "<x>>": 513}
        merges = read_merges(trained.files()["vocab.bpe"].decode())
        ids = ByteLevelBPE(vocab, merges).encode("<x>><x>", allowed_special=["<x>", "<x>>"])
        assert ids.tolist() == [513, 512]

    def test_ids_are_ordered_as_gpt2s(self, trained, gpt2):
        """Bytes as in GPT-2's files, merges in their order, end-of-text last."""
        names = list(json.loads(trained.files()["encoder.json"]))
        assert names[:256] == list(json.loads(gpt2.files()["encoder.json"]))[:256]
        merges = read_merges(trained.files()["vocab.bpe"].decode())
        assert names[256:-1] == list(dict.fromkeys(map("".join, merges)))
        assert trained.special_tokens == {END_OF_TEXT: 511}
        assert trained.vocab_size == 512

    @pytest.mark.parametrize(("size", "message"), [(256, "at least 257"), (9999, "at most 2")])
    def test_refuses_sizes_it_cannot_reach(self, size, message):
        with pytest.raises(ValueError, match=message):
            ByteLevelBPE.train(["some text"], size)


class TestGPT1:
    def test_vocabulary(self, gpt1):
        assert gpt1.vocab_size == 40478
        assert gpt1.special_tokens == {"<unk>": 0}
        assert gpt1.end_of_text is None

    def test_ids_are_those_of_plain_loops(self, gpt1, gpt1_files):
        vocab = json.loads((gpt1_files / "encoder_bpe_40000.json").read_text(encoding="utf-8"))
        merges = read_merges((gpt1_files / "vocab_40000.bpe").read_text(encoding="utf-8"))
        text = 'Mr. Darcy\'s 10,000 a year: "It is a TRUTH" <unk> universally_acknowledged...\n\n'
        words = re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())
        tokens = [
            t for word in words for t in bpe_in_loops([*word[:-1], word[-1] + "</w>"], merges)
        ]
        ids = gpt1.encode(text)
        assert [vocab[token] for token in tokens] == ids.tolist()
        assert gpt1.decode(ids) == " ".join(words)

    @pytest.mark.slow
    def test_ids_are_those_of_transformers(self, gpt1, gpt1_files, mixed_text):
        transformers = pytest.importorskip("transformers", reason="transformers is not installed")
        theirs = transformers.OpenAIGPTTokenizer(
            vocab=str(gpt1_files / "encoder_bpe_40000.json"),
            merges=str(gpt1_files / "vocab_40000.bpe"),
        )
        text = mixed_text[:200_000] + mixed_text[-200_000:]
        expected = theirs(text, verbose=False).input_ids
        ids = gpt1.encode(text, allowed_special=["<unk>"])
        np.testing.assert_array_equal(ids, expected)
        assert gpt1.decode(ids[:5000]) == theirs.decode(expected[:5000])
