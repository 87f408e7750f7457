"""Items of evals of the sizes of real ones, made from a seed.

tokenizer = tokenizer_of_size(50_257)
requests = choices(8, Words(), context=(200, 400), answers=4, answer=(10, 20))
"""

import itertools
import re

import numpy as np

from gptjax.evals.requests import Likelihood
from gptjax.tokenization.byte_level_bpe import ByteLevelBPE
from gptjax.tokenization.loading import REPOSITORY_TOKENIZERS
from gptjax.tokenization.protocol import END_OF_TEXT, read_json

BASE = REPOSITORY_TOKENIZERS / "python_docs_4096"
Range = tuple[int, int]  # the least and the most, both included


class Words:
    """Words that are drawn; each, with the blank before it, is a token of `BASE`."""

    def __init__(self, seed: int = 0):
        vocabulary = read_json(BASE / ByteLevelBPE.vocab_file)
        self._words = [token[1:] for token in vocabulary if re.fullmatch("Ġ[a-zA-Z]+", token)]
        self._rng = np.random.default_rng(seed)

    def number(self, of: Range) -> int:
        """A number of a range."""
        return int(self._rng.integers(of[0], of[1] + 1))

    def text(self, count: int) -> str:
        """So many words, with blanks between."""
        return " ".join(self._rng.choice(self._words, count))


def choices(
    questions: int, words: Words, *, context: Range, answers: int, answer: Range
) -> list[Likelihood]:
    """Requests of multiple choice, those of a question one after another.

    Args:
      questions: how many.
      words: what they are made of.
      context: words that the answers to a question share.
      answers: of a question.
      answer: words of each.
    """
    made = []
    for _ in range(questions):
        shared = words.text(words.number(context))
        made += [Likelihood(shared, " " + words.text(words.number(answer))) for _ in range(answers)]
    return made


def tokenizer_of_size(size: int) -> ByteLevelBPE:
    """`BASE` with further merges, of punctuation marks and tokens, up to `size` tokens."""
    vocabulary = read_json(BASE / ByteLevelBPE.vocab_file)
    lines = (BASE / ByteLevelBPE.merges_file).read_text(encoding="utf-8").splitlines()[1:]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    tokens = dict.fromkeys(token for token in vocabulary if token != END_OF_TEXT)
    assert size > len(tokens), size
    for left, right in itertools.product(list(tokens), repeat=2):
        if len(tokens) == size - 1:
            break
        if left + right not in tokens:
            tokens[left + right] = None
            merges.append((left, right))
    return ByteLevelBPE({token: id for id, token in enumerate([*tokens, END_OF_TEXT])}, merges)
