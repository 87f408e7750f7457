"""The last word of a passage, which LAMBADA asks for (Paperno et al. 2016, arXiv 1606.06031).

    accuracy     greedy decoding would have written the word
    perplexity   of the word: the exponential of its mean negative log-probability, in nats

GPT-2 (section 3.3) leaves out guesses that are stop words. It is done here by beams: of the texts
that are found, the best whose first word is no stop word is the guess.
"""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from gptjax.evals.forms.stop_words import STOP_WORDS
from gptjax.evals.metrics import Metric, exponential, share
from gptjax.evals.requests import (
    Answer,
    Generation,
    GenerationAnswer,
    Likelihood,
    LikelihoodAnswer,
    Request,
)
from gptjax.evals.task import Judged, Task

_BEAMS = 16
_WORD_TOKENS = 12
_WORD = re.compile(r"\s*([\w'’-]+)")


@dataclasses.dataclass(frozen=True)
class WordItem:
    """One passage.

    Attributes:
      id: see `Identified`.
      context: the passage, without the word.
      word: the last one, without a space before it.
    """

    id: str
    context: str
    word: str


@dataclasses.dataclass(frozen=True)
class LastWord(Task[WordItem]):
    """Passages.

    Attributes:
      stop_words: whether guesses that are stop words are left out.
    """

    stop_words: bool = False

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy, that without stop words first if it is wanted, and perplexity."""
        filtered = (share("accuracy_stop_words", "right_stop_words"),) if self.stop_words else ()
        return (*filtered, share("accuracy", "right"), exponential("perplexity", "nats", "words"))

    @property
    def protocol(self) -> str:
        rest = (
            f" accuracy_stop_words is that of the best of {_BEAMS} beams whose first word is no "
            "stop word."
            if self.stop_words
            else ""
        )
        return (
            "A word counts as right if each of its tokens is the most probable one; perplexity is "
            f"that of the whole word.{rest}"
        )

    def shown(self, item: WordItem) -> str:
        return f"{item.context} {item.word}"

    def requests(self, item: WordItem, before: str) -> list[Request]:
        asked: list[Request] = [Likelihood(before + item.context, f" {item.word}")]
        if self.stop_words:
            asked.append(
                Generation(
                    before + item.context,
                    max_new_tokens=_WORD_TOKENS,
                    num_beams=_BEAMS,
                    num_best=_BEAMS,
                    length_penalty=0.0,
                )
            )
        return asked

    def judge(self, item: WordItem, answers: Sequence[Answer]) -> Judged:
        word, *written = answers
        assert isinstance(word, LikelihoodAnswer)
        columns = {"right": float(word.greedy), "nats": -word.log_prob, "words": 1.0}
        given = item.word if word.greedy else "another word"
        for answer in written:
            assert isinstance(answer, GenerationAnswer)
            given = _guess(answer.texts)
            columns["right_stop_words"] = float(given == item.word)
        # Half probability is the middle, at which a word may be the most probable one or not.
        return Judged(columns, given, item.word, float(word.log_prob - np.log(0.5)))


def _guess(texts: Sequence[str]) -> str:
    """The first word of the best text that does not begin with a stop word; empty: none does."""
    words = [found[1] for text in texts if (found := _WORD.match(text))]
    return next((word for word in words if word.lower() not in STOP_WORDS), "")
