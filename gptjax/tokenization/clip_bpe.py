"""CLIP's BPE: lower-cased words of bytes, their last symbol marked with `</w>`; 49,408 tokens.

Radford et al. 2021 (arXiv 2103.00020, section 2.4); openai/CLIP, simple_tokenizer.py. Case and the
kind of white space are lost. `<|startoftext|>` begins a text and `<|endoftext|>` ends it.

    ClipBPE.load(Path("DIR"))   # DIR/vocab.json, DIR/merges.txt

Differs from the original: HTML entities and broken Unicode are not mended first, as in
`transformers`.
"""

import dataclasses

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers

from gptjax.tokenization.added_tokens import BEGIN, AddedTokens
from gptjax.tokenization.byte_level_bpe import BYTES
from gptjax.tokenization.merges import END_OF_WORD, MergesTokenizer

START_OF_TEXT = "<|startoftext|>"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class ClipBPE(MergesTokenizer):
    """CLIP's tokenizer, from the files that `transformers` has of it."""

    kind = "clip_bpe"
    vocab_file = "vocab.json"
    merges_file = "merges.txt"
    symbols = frozenset((*BYTES, *(symbol + END_OF_WORD for symbol in BYTES)))

    def __init__(
        self,
        vocab: dict[str, int],
        merges: list[tuple[str, str]],
        added: AddedTokens | None = None,
    ):
        if START_OF_TEXT not in vocab:
            raise ValueError(f"no token {START_OF_TEXT!r}; expected CLIP's vocabulary")
        added = AddedTokens() if added is None else added
        begins = {BEGIN: START_OF_TEXT} | dict(added.roles)
        super().__init__(vocab, merges, dataclasses.replace(added, roles=begins))
        self._texts = [
            token.encode() if token in self._added else _content(token) for token in self._vocab
        ]

    @property
    def start_of_text(self) -> int | None:
        """The id that begins a text."""
        return self.role_id(BEGIN)

    def _pipeline(
        self, vocab: dict[str, int], merges: list[tuple[str, str]]
    ) -> tokenizers.Tokenizer:
        model = models.BPE(
            vocab=vocab,
            merges=merges,
            unk_token=self.unknown,
            continuing_subword_prefix="",
            end_of_word_suffix=END_OF_WORD,
            fuse_unk=False,
        )
        library = tokenizers.Tokenizer(model)
        library.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        library.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        return library

    def _decode(self, ids: list[int]) -> str:
        text = b"".join([self._texts[index] for index in ids]).decode(errors="replace")
        return text.removesuffix(" ")


def _content(token: str) -> bytes:
    """The bytes of a token, and a space behind the last of a word."""
    word = token.removesuffix(END_OF_WORD)
    behind = b" " if word != token else b""
    return bytes(BYTES[symbol] for symbol in word) + behind
