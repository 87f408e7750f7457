"""GPT-1's BPE: lower-cased words, their last symbol marked with `</w>`; 40,478 tokens.

Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training", section 4.1.
Text outside the vocabulary becomes `<unk>`; case, accents and the kind of white space are lost.

    GPT1BPE.load(Path("DIR"))   # DIR/encoder_bpe_40000.json, DIR/vocab_40000.bpe

Differs from the paper: words are split at white space and around punctuation, as BERT does (and
`transformers` for GPT-1), not by spaCy and ftfy.
"""

import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from gptjax.tokenization.added_tokens import AddedTokens
from gptjax.tokenization.merges import END_OF_WORD, MergesTokenizer

_UNKNOWN = "<unk>"


class GPT1BPE(MergesTokenizer):
    """GPT-1's tokenizer, from its own files; it has `<unk>` and no end-of-text."""

    kind = "gpt1_bpe"
    vocab_file = "encoder_bpe_40000.json"
    merges_file = "vocab_40000.bpe"
    unknown = _UNKNOWN

    def __init__(
        self,
        vocab: dict[str, int],
        merges: list[tuple[str, str]],
        added: AddedTokens | None = None,
    ):
        if _UNKNOWN not in vocab:
            raise ValueError(f"no token {_UNKNOWN!r}; expected GPT-1's vocabulary")
        super().__init__(vocab, merges, added)
        self._texts = [token.replace(END_OF_WORD, " ") for token in self._vocab]

    def _pipeline(
        self, vocab: dict[str, int], merges: list[tuple[str, str]]
    ) -> tokenizers.Tokenizer:
        model = models.BPE(
            vocab=vocab, merges=merges, unk_token=_UNKNOWN, end_of_word_suffix=END_OF_WORD
        )
        library = tokenizers.Tokenizer(model)
        library.normalizer = normalizers.BertNormalizer(lowercase=True)
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return library

    def _decode(self, ids: list[int]) -> str:
        return "".join([self._texts[index] for index in ids]).removesuffix(" ")
