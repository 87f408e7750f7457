"""Byte-level BPE as GPT-2 has it: any Unicode text, and nothing is lost.

Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.2: merges
join the bytes of a text's UTF-8 form, and never cross from letters to digits to punctuation.
GPT-2's files write each byte as one visible character, its *symbol*.

    ByteLevelBPE.load(Path("DIR"))              # DIR/encoder.json, DIR/vocab.bpe
    ByteLevelBPE.train(texts, vocab_size=2048)
"""

import itertools
import json
from collections.abc import Iterable
from typing import Self

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from gptjax.tokenization.added_tokens import AddedTokens
from gptjax.tokenization.merges import MergesTokenizer, parts_of
from gptjax.tokenization.protocol import END_OF_TEXT, well_formed


def _byte_symbols() -> dict[str, int]:
    """Symbol -> byte, in the order of GPT-2's ids: first the bytes that are visible in Latin-1."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    symbols = {chr(byte): byte for byte in visible}
    return symbols | {chr(256 + index): byte for index, byte in enumerate(others)}


BYTES = _byte_symbols()  # symbol -> byte


class ByteLevelBPE(MergesTokenizer):
    """GPT-2's tokenizer, from its own files or trained on a corpus."""

    kind = "byte_level_bpe"
    vocab_file = "encoder.json"
    merges_file = "vocab.bpe"
    symbols = BYTES

    def __init__(
        self,
        vocab: dict[str, int],
        merges: list[tuple[str, str]],
        added: AddedTokens | None = None,
    ):
        super().__init__(vocab, merges, added)
        self.keeps_text = not any(token.lstrip or token.rstrip for token in self._found)
        ordinary = self._vocab.keys() - self._added.keys()
        if missing := BYTES.keys() - ordinary:
            raise ValueError(f"no token for byte {BYTES[min(missing)]:#04x}; expected all 256")
        if foreign := set().union(*ordinary) - BYTES.keys():
            raise ValueError(f"{min(foreign)!r} stands for no byte; expected GPT-2's symbols")
        self._bytes = [
            token.encode() if token in self._added else bytes(BYTES[s] for s in token)
            for token in self._vocab
        ]

    @classmethod
    def of_bytes(cls) -> Self:
        """Raw bytes as a byte-level BPE: id i is byte i, and there are no merges."""
        return cls(BYTES, [])

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Self:
        """Learns the merges of `texts`.

        Args:
          texts: Documents.
          vocab_size: 256 bytes, the merges, and `<|endoftext|>` with the last id, as in GPT-2.

        Returns:
          A tokenizer of exactly `vocab_size` ids.

        Raises:
          ValueError: For a size that is too small to hold all bytes, or too large for `texts`.
        """
        smallest = len(BYTES) + 1
        if vocab_size < smallest:
            raise ValueError(f"vocab_size: got {vocab_size}, expected at least {smallest}")
        library = tokenizers.Tokenizer(models.BPE())
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - 1, initial_alphabet=list(BYTES), show_progress=False
        )
        parts = (part for text in well_formed(texts) for part in parts_of(text))
        library.train_from_iterator(parts, trainer)
        merges = [(left, right) for left, right in json.loads(library.to_str())["model"]["merges"]]
        tokens = dict.fromkeys(itertools.chain(BYTES, map("".join, merges), [END_OF_TEXT]))
        if len(tokens) < vocab_size:
            raise ValueError(
                f"vocab_size: got {vocab_size}, expected at most {len(tokens)}, as many as the "
                "texts have merges for"
            )
        return cls({token: index for index, token in enumerate(tokens)}, merges)

    def _pipeline(
        self, vocab: dict[str, int], merges: list[tuple[str, str]]
    ) -> tokenizers.Tokenizer:
        library = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        return library

    def _decode(self, ids: list[int]) -> str:
        return b"".join([self._bytes[index] for index in ids]).decode(errors="replace")

    def token_bytes(self, index: int) -> bytes:
        """The bytes of a token."""
        self.decode([index])  # refuses what is no id
        return self._bytes[index]
