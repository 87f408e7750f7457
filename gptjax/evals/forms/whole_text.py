"""Whole texts: how well a model predicts each token of them.

GPT-2 (section 3.1) computes log-probabilities of texts "with invertible de-tokenizers", which undo
what a corpus' own tokenizer did, and scales them by the corpus' own count of tokens: a perplexity
is of the words that others count, whatever the model's tokens are.
"""

import dataclasses
from collections.abc import Sequence

from gptjax.evals.metrics import Metric, bits_per, exponential
from gptjax.evals.requests import Answer, LikelihoodAnswer, Request, Rolling
from gptjax.evals.task import Judged, Task


@dataclasses.dataclass(frozen=True)
class Passage:
    """One document.

    Attributes:
      id: see `Identified`.
      text: as it is given to the model.
      words: tokens of the corpus, by its own count.
    """

    id: str
    text: str
    words: int


@dataclasses.dataclass(frozen=True)
class WholeText(Task[Passage]):
    """Documents.

    Attributes:
      stride: tokens between two windows; None: windows do not overlap.
      unit: what is counted by `Passage.words`.
    """

    stride: int | None = None
    unit: str = "words"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Perplexity of a word, of a model's token, and bits of a byte."""
        return (
            exponential("perplexity", "nats", "words"),
            bits_per("bits_per_byte", "nats", "bytes"),
            exponential("token_perplexity", "nats", "tokens"),
        )

    @property
    def protocol(self) -> str:
        windows = "that do not overlap" if self.stride is None else f"with stride {self.stride}"
        return (
            f"Each token of a document is scored once, in windows {windows}; perplexity is of the "
            f"{self.unit}, of documents together."
        )

    def shown(self, item: Passage) -> str:
        return item.text

    def requests(self, item: Passage, before: str) -> list[Request]:
        if before:
            raise ValueError(f"shots: got some for {self.name}, expected 0: texts are scored alone")
        return [Rolling(item.text, self.stride)]

    def judge(self, item: Passage, answers: Sequence[Answer]) -> Judged:
        (answer,) = answers
        assert isinstance(answer, LikelihoodAnswer)
        size = float(len(item.text.encode()))
        columns = {
            "nats": -answer.log_prob,
            "words": float(item.words),
            "tokens": float(answer.tokens),
            "bytes": size,
        }
        return Judged(columns, f"{-answer.log_prob / size:.3f} nats a byte", "", answer.log_prob)
