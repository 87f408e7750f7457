"""Tokenizers against tiktoken, tokenizers, sentencepiece, transformers, and BPE in plain loops."""

import gzip
import inspect
import itertools
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tiktoken
import tiktoken.load
from tokenizers.implementations import ByteLevelBPETokenizer

from gptjax.tokenization import (
    END_OF_TEXT,
    GPT1BPE,
    ByteLevelBPE,
    RawBytes,
    SentencePiece,
    Tokenizer,
    load_tokenizer,
)
from gptjax.tokenization.loading import REPOSITORY_TOKENIZERS

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GPT2_WORDS_ASCII = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+"
)

CODE = Path(inspect.__file__).read_text(encoding="utf-8")
HARD_TEXTS = [
    "",
    " ",
    "\n\n\t  \r\n x ",
    "I'll say 'tis we've DON'T",
    "深度学习模型需要大量的数据。我们在北京大学研究自然语言处理,2019年。",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇫🇷🇩🇪 👍🏽 ☃️ 😀😀",
    "".join(map(chr, range(0x20))) + "\x7f\x80\x85\xa0\xad\u200b\u2028\ufeff\ufffe\U0010ffff",
    "e\u0301 é ﬁ ẞ İ ǅ ① ¾ 𝔘𝔫𝔦 ١٢٣ हिन्दी ไทย עברית العربية 한국어 日本語カナ",
    f"{END_OF_TEXT} <|endoftext |><s></s><unk>",
    "a" * 500 + " " * 500 + "1" * 500,
]


def random_texts(count: int) -> list[str]:
    """Texts drawn from all of Unicode, each plane as likely as ASCII."""
    rng = random.Random(0)
    blocks = [(0, 0x80), (0x80, 0x3000), (0x3000, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000)]
    return [
        "".join(chr(rng.randrange(*rng.choice(blocks))) for _ in range(rng.randrange(40)))
        for _ in range(count)
    ]


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


@pytest.fixture(scope="session")
def mixed_text(shared_data: Path) -> str:
    """1 MB: books, web text, code, trivia, and what is hard."""
    book = (shared_data / "gutenberg/pride/1342-0.txt").read_text(encoding="utf-8")
    with gzip.open(shared_data / "noisy_web/dolma_cc/warc/sample-0000.warc.gz") as file:
        web = file.read().decode(errors="replace")
    trivia = (shared_data / "triviaqa_3k/triviaqa_sm_sub.jsonl").read_text(encoding="utf-8")
    trivia = "".join(json.loads(f'"{part}"') for part in re.findall(r"(?:\\u[0-9a-f]{4})+", trivia))
    rare = "\n".join([*HARD_TEXTS, *random_texts(500)])
    return book[:450_000] + web[:450_000] + CODE + trivia[:50_000] + rare


@pytest.fixture(scope="session")
def gpt2_files(shared_data: Path) -> Path:
    return shared_data / "tok_gpt2_bpe"


@pytest.fixture(scope="session")
def gpt1_files(shared_data: Path) -> Path:
    return shared_data / "tok_gpt1_bpe"


@pytest.fixture(scope="session")
def gpt2(gpt2_files: Path) -> Tokenizer:
    return load_tokenizer(f"gpt2:{gpt2_files}")


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def trained() -> ByteLevelBPE:
    return ByteLevelBPE.train([CODE], 512)


MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "raw_bytes": RawBytes,
    "byte_level_bpe": lambda: ByteLevelBPE.train([CODE], 300),
    "unigram": lambda: SentencePiece.train([CODE[:50_000]], 400, "unigram"),
    "sentencepiece_bpe": lambda: SentencePiece.train([CODE[:50_000]], 400, "bpe"),
    "gpt1_bpe": lambda: GPT1BPE(
        {"<unk>": 0, "a": 1, "b": 2, "a</w>": 3, "b</w>": 4, "ab</w>": 5}, [("a", "b</w>")]
    ),
}


@pytest.fixture(scope="module", params=MAKERS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return MAKERS[request.param]()


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

    def test_ids_are_those_of_the_tokenizers_library(self, gpt2, gpt2_files, mixed_text):
        library = ByteLevelBPETokenizer.from_file(
            str(gpt2_files / "encoder.json"), str(gpt2_files / "vocab.bpe")
        )
        texts = mixed_text.split("\n\n")
        for ids, expected in zip(
            gpt2.encode_batch(texts), library.encode_batch(texts), strict=True
        ):
            np.testing.assert_array_equal(ids, expected.ids)

    def test_batch_equals_one_by_one(self, gpt2):
        for ids, text in zip(gpt2.encode_batch(HARD_TEXTS), HARD_TEXTS, strict=True):
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
    def test_text_round_trips(self, trained):
        for text in [*HARD_TEXTS, *random_texts(300), CODE]:
            assert trained.decode(trained.encode(text)) == text

    def test_ids_are_those_of_plain_loops(self, trained):
        vocab = json.loads(trained.files()["encoder.json"])
        merges = read_merges(trained.files()["vocab.bpe"].decode())
        text = "".join(character for character in CODE[:20_000] if character.isascii())
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


class TestSentencePiece:
    def test_ids_are_those_of_the_library(self, shared_data, mixed_text):
        path = shared_data / "tok_sentencepiece/test_model.model"
        library = sentencepiece.SentencePieceProcessor(model_file=str(path))
        ours = load_tokenizer(f"sentencepiece:{path}")
        assert ours.vocab_size == library.get_piece_size() == 1000
        assert ours.special_tokens == {"<s>": 1, "</s>": 2}
        assert ours.end_of_text == library.eos_id() == 2
        texts = mixed_text[:200_000].split("\n")
        for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
            assert ids.tolist() == library.encode(text)
            assert ours.decode(ids) == library.decode(ids.tolist())

    @pytest.mark.parametrize("model_type", ["unigram", "bpe"])
    def test_trained_models_lose_only_the_sign_for_a_space(self, model_type):
        ours = SentencePiece.train([CODE[:50_000]], 400, model_type)
        assert ours.vocab_size == 400
        assert ours.special_tokens == {END_OF_TEXT: 1}
        assert ours.end_of_text == 1
        for text in [*HARD_TEXTS, *random_texts(300), CODE]:
            ids = ours.encode(text)
            assert not set(ids.tolist()) & {0, 1}
            assert ours.decode(ids) == text.replace("\u2581", " ")
        assert len(ours.encode(CODE)) < 0.7 * len(CODE)

    def test_special_tokens_between_texts(self):
        ours = SentencePiece.train([CODE[:50_000]], 400, "unigram")
        text = f" a{END_OF_TEXT} b c{END_OF_TEXT}"
        ids = ours.encode(text, allowed_special=[END_OF_TEXT]).tolist()
        assert ids == [*ours.encode(" a"), 1, *ours.encode(" b c"), 1]
        assert ours.decode(ids) == text

    @pytest.mark.parametrize(
        ("texts", "size", "message"),
        [
            (["some text"], 100, "smaller than required_chars. 100 vs 26"),
            (["some text"], 9999, "too high"),
            (["\n"], 300, "got none"),
        ],
    )
    def test_refuses_what_it_cannot_train(self, texts, size, message):
        with pytest.raises(ValueError, match=message):
            SentencePiece.train(texts, size, "unigram")


class TestRawBytes:
    def test_tokens_are_bytes(self):
        tokenizer = load_tokenizer("bytes")
        assert tokenizer.vocab_size == 256
        assert tokenizer.end_of_text is None
        for text in [*HARD_TEXTS, *random_texts(300)]:
            ids = tokenizer.encode(text)
            assert bytes(ids.tolist()) == text.encode()
            assert tokenizer.decode(ids) == text
        assert tokenizer.decode([0xFF, 0x41, 0xC3]) == "\ufffdA\ufffd"


class TestEveryKind:
    def test_arrays_are_int32(self, tokenizer):
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

    def test_special_tokens_in_text_are_text(self, tokenizer):
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

    def test_lone_surrogates_are_refused(self, tokenizer):
        message = r"^text has a lone surrogate, U\+D83D at character 2; expected valid Unicode$"
        with pytest.raises(ValueError, match=message):
            tokenizer.encode("ab\ud83d")
        with pytest.raises(ValueError, match=message):
            tokenizer.encode_batch(["fine", "ab\ud83d"])

    @pytest.mark.parametrize("ids", [[-1], [10**6], [0.5], [[1, 2]]])
    def test_ids_outside_the_vocabulary_are_refused(self, tokenizer, ids):
        with pytest.raises(ValueError, match="expected"):
            tokenizer.decode(ids)

    def test_saved_directory_is_all_it_needs(self, tokenizer, tmp_path):
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
        for text in HARD_TEXTS:
            np.testing.assert_array_equal(again.encode(text), tokenizer.encode(text))

    def test_training_again_gives_the_same(self, request, tokenizer):
        name = request.node.callspec.params["tokenizer"]
        assert MAKERS[name]().content_hash() == tokenizer.content_hash()

    def test_changed_files_are_refused(self, tokenizer, tmp_path):
        tokenizer.save(tmp_path)
        description = json.loads((tmp_path / "kind.json").read_text(encoding="utf-8"))
        description["content_hash"] = "0" * 64
        (tmp_path / "kind.json").write_text(json.dumps(description), encoding="utf-8")
        with pytest.raises(ValueError, match=f"was changed: content hash .*expected {'0' * 64}"):
            load_tokenizer(str(tmp_path))


def test_content_hash_tells_tokenizers_apart():
    hashes = {make().content_hash() for make in MAKERS.values()}
    assert len(hashes) == len(MAKERS)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)
    assert ByteLevelBPE.train([CODE], 301).content_hash() not in hashes


def test_content_hash_is_of_content_not_of_layout(trained, tmp_path):
    trained.save(tmp_path)
    vocab = json.loads((tmp_path / "encoder.json").read_text(encoding="utf-8"))
    shuffled = dict(sorted(vocab.items()))
    (tmp_path / "encoder.json").write_text(json.dumps(shuffled, indent=2), encoding="utf-8")
    (tmp_path / "vocab.bpe").write_bytes(
        (tmp_path / "vocab.bpe").read_bytes().removeprefix(b"#version: 0.2\n")
    )
    assert load_tokenizer(f"gpt2:{tmp_path}").content_hash() == trained.content_hash()
    assert load_tokenizer(str(tmp_path)).content_hash() == trained.content_hash()


@pytest.mark.parametrize("name", sorted(path.name for path in REPOSITORY_TOKENIZERS.glob("*/")))
def test_demo_tokenizers(name):
    demo = load_tokenizer(name)
    assert demo.vocab_size == int(name.rpartition("_")[2])
    assert demo.end_of_text == demo.vocab_size - 1
    for text in HARD_TEXTS:
        assert demo.decode(demo.encode(text)) == text


def test_tokenizers_folder_is_no_package():
    assert not (REPOSITORY_TOKENIZERS / "__init__.py").exists()


class TestBadInput:
    """Each is one line that names the file, or what was given and what is allowed."""

    def refused(self, spec: str, message: str):
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
            ("sentencepiece:/nowhere", "cannot read /nowhere: No such file"),
            ("sentencepiece:/", "cannot read /: Is a directory"),
        ],
    )
    def test_specification(self, spec, message):
        self.refused(spec, message)

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
    def test_files(self, tmp_path, file, change, message):
        MAKERS["byte_level_bpe"]().save(tmp_path)
        path = tmp_path / file
        path.write_bytes(change(path.read_bytes()))
        self.refused(str(tmp_path), message)

    def test_missing_files(self, tmp_path):
        self.refused(str(tmp_path), "has no kind.json")
        MAKERS["byte_level_bpe"]().save(tmp_path)
        (tmp_path / "vocab.bpe").unlink()
        self.refused(str(tmp_path), "cannot read .*vocab.bpe: No such file")

    @pytest.mark.parametrize("model", [b"", b"no model", "half"])
    def test_sentencepiece_model(self, tmp_path, model):
        path = tmp_path / "a.model"
        whole = MAKERS["unigram"]().files()["sentencepiece.model"]
        path.write_bytes(whole[: len(whole) // 2] if model == "half" else model)
        self.refused(f"sentencepiece:{path}", "a.model: got no SentencePiece model")
