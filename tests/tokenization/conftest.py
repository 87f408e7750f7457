"""Texts that are hard to get right, and one small tokenizer of every kind."""

import gzip
import inspect
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gptjax.tokenization import (
    END_OF_TEXT,
    GPT1BPE,
    ByteLevelBPE,
    ChatTokenizer,
    ImageTokenizer,
    RawBytes,
    SentencePiece,
    TaskTokenizer,
    Tokenizer,
    WordPiece,
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


@pytest.fixture(scope="session")
def code() -> str:
    """Some 100 kB of Python."""
    return CODE


@pytest.fixture(scope="session")
def hard_texts() -> list[str]:
    """What tokenizers commonly get wrong, and random Unicode."""
    return [*HARD_TEXTS, *random_texts(300)]


@pytest.fixture(scope="session")
def mixed_text(shared_data: Path) -> str:
    """1 MB: books, web text, code, other alphabets, and what is hard."""
    book = (shared_data / "gutenberg/pride/1342-0.txt").read_text(encoding="utf-8")
    with gzip.open(shared_data / "noisy_web/dolma_cc/warc/sample-0000.warc.gz") as file:
        web = file.read().decode(errors="replace")
    trivia = (shared_data / "triviaqa_3k/triviaqa_sm_sub.jsonl").read_text(encoding="utf-8")
    foreign = " ".join(re.findall(r"[^\x00-\x7f]+", trivia))
    rare = "\n".join([*HARD_TEXTS, *random_texts(500)])
    return book[:450_000] + web[:450_000] + CODE + foreign + rare


MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "raw_bytes": RawBytes,
    "byte_level_bpe": lambda: ByteLevelBPE.train([CODE], 300),
    "unigram": lambda: SentencePiece.train([CODE[:50_000]], 400, "unigram"),
    "sentencepiece_bpe": lambda: SentencePiece.train([CODE[:50_000]], 400, "bpe"),
    "gpt1_bpe": lambda: GPT1BPE(
        {"<unk>": 0, "a": 1, "b": 2, "a</w>": 3, "b</w>": 4, "ab</w>": 5}, [("a", "b</w>")]
    ),
    "chat": lambda: ChatTokenizer(ByteLevelBPE.train([CODE], 300)),
    "wordpiece": lambda: WordPiece.train([CODE], 300),
    "task": lambda: TaskTokenizer(RawBytes()),
    "images": lambda: ImageTokenizer(ChatTokenizer(RawBytes())),
}


@pytest.fixture(scope="session")
def makers() -> dict[str, Callable[[], Tokenizer]]:
    """Kind of tokenizer -> a function that makes a small one."""
    return MAKERS


@pytest.fixture(scope="module", params=MAKERS)
def maker(request: pytest.FixtureRequest) -> Callable[[], Tokenizer]:
    """Each of `makers`."""
    return MAKERS[request.param]


@pytest.fixture(scope="module")
def tokenizer(maker: Callable[[], Tokenizer]) -> Tokenizer:
    """A tokenizer of each kind."""
    return maker()
