"""Translations of texts by a model, and their scores.

translate = Translations(model, params, tokenizer, config.translation)
translate(["How are you?"])
"""

from collections.abc import Sequence
from typing import Any, Protocol

from gptjax.data.batches.pair_rows import encoded, end_of
from gptjax.data.corpora.pairs import Pair
from gptjax.inference.translate import Translator
from gptjax.judging import bleu
from gptjax.models.encoder_decoder import EncoderDecoder
from gptjax.tokenization import Tokenizer


class Search(Protocol):
    """How targets are searched for, see `Translator`, and scored, see `bleu.scores`."""

    num_beams: int
    length_penalty: float
    more_tokens: int
    bleu_tokenizer: str


class Translations:
    """Translates texts with one model."""

    def __init__(self, model: EncoderDecoder, params: Any, tokenizer: Tokenizer, search: Search):
        """Makes `params` of `model` ready; nothing is translated yet."""
        self._tokenizer, self._end = tokenizer, end_of(tokenizer)
        self._bleu_tokenizer = search.bleu_tokenizer
        self._translate = Translator(
            model,
            params,
            num_beams=search.num_beams,
            length_penalty=search.length_penalty,
            more_tokens=search.more_tokens,
        )

    def __call__(self, texts: Sequence[str]) -> list[str]:
        """The translation of each text, one line; ValueError for a text past the context."""
        end = self._end
        found = self._translate(encoded(texts, self._tokenizer, end), end)
        decoded = (self._tokenizer.decode(each.tokens[each.tokens != end]) for each in found)
        return [" ".join(text.split()) for text in decoded]

    def scored(self, pairs: Sequence[Pair]) -> tuple[list[str], dict[str, Any]]:
        """Translations of the sources of pairs, and their BLEU and chrF.

        The figures are those of `bleu.scores`, and `exact`, the share that is as its reference.
        """
        bleu.check_available()
        found = self([pair.source for pair in pairs])
        references = [pair.target for pair in pairs]
        same = sum(a == b for a, b in zip(found, references, strict=True))
        figures = bleu.scores(found, references, self._bleu_tokenizer)
        return found, {"exact": same / len(found), **figures}
