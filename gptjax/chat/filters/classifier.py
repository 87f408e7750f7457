"""The stage of a classifier: a text is flagged where a category is as likely as its threshold.

stage = ClassifierStage("classifier", "both", "refuse", classify, {"S": 0.8})
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from gptjax.chat.filters.decision import Judged
from gptjax.chat.filters.stages import Guard, Stage

Classify = Callable[[Sequence[str]], Sequence[Mapping[str, float]]]


@dataclasses.dataclass(frozen=True)
class ClassifierStage(Stage):
    """A classifier with thresholds; it cannot redact, as it judges whole texts.

    A stream is judged each time that it has `every` more characters, from its beginning, and at its
    end. What comes in between is shown at once and may have to be withdrawn, or, if it holds, only
    when it has been judged.

    Attributes:
      classify: gives the probabilities of texts by category.
      thresholds: by category, the probability from which a text is flagged; of others it is not.
      every: characters between two judgements of a stream.
      hold: whether text of a stream waits for its judgement.
    """

    classify: Classify
    thresholds: Mapping[str, float]
    every: int = 200
    hold: bool = False

    def guard(self, where: str) -> Guard:
        return _ClassifierGuard(self, where)

    def judge(self, text: str, where: str) -> Judged:
        """The stage on a whole text, of which nothing is left where it is flagged."""
        (scores,) = self.classify([text])
        over = tuple(
            self.decision(where, category, float(scores[category]))
            for category, threshold in self.thresholds.items()
            if category in scores and scores[category] >= threshold
        )
        return Judged("" if over else text, over, bool(over))


class _ClassifierGuard(Guard):
    """Judges what there is of a text, at the same lengths whatever pieces it comes in."""

    def __init__(self, stage: ClassifierStage, where: str):
        self._stage, self._where = stage, where
        self._text, self._shown, self._judged = "", 0, 0

    def push(self, text: str) -> Judged:
        stage = self._stage
        self._text += text
        while len(self._text) - self._judged >= stage.every:
            self._judged += stage.every
            judged = stage.judge(self._text[: self._judged], self._where)
            if judged.stopped:
                return judged
        return self._show(self._judged if stage.hold else len(self._text))

    def finish(self) -> Judged:
        if self._judged < len(self._text):
            judged = self._stage.judge(self._text, self._where)
            if judged.stopped:
                return judged
        return self._show(len(self._text))

    def _show(self, end: int) -> Judged:
        new, self._shown = self._text[self._shown : end], end
        return Judged(new)
