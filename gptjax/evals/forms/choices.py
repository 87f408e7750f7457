"""Multiple choice: the choice whose text is the most probable, by one of five counts.

    plain          log P(choice | context)
    token          plain, over the choice's tokens (GPT-3, 2005.14165, section 2.4)
    byte           plain, over the choice's bytes in UTF-8
    character      plain, over its characters (`acc_norm` of lm-evaluation-harness)
    unconditional  log P(choice | context) - log P(choice | answer context)  (GPT-3, section 2.4)

A choice is a context and a continuation. Mostly the context is the same; where the choice is a word
inside, the continuation is: "partial evaluation" of Winograd's schemas (Trinh and Le 2018).
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from gptjax.evals.metrics import Columns, Metric, share
from gptjax.evals.requests import Answer, Likelihood, LikelihoodAnswer, Request
from gptjax.evals.task import Judged, Task

Count = Callable[[LikelihoodAnswer, str], float]

COUNTS: dict[str, Count] = {
    "plain": lambda answer, text: answer.log_prob,
    "token": lambda answer, text: answer.log_prob / answer.tokens,
    "byte": lambda answer, text: answer.log_prob / len(text.encode()),
    "character": lambda answer, text: answer.log_prob / len(text),
}
UNCONDITIONAL = "unconditional"
NORMALISATIONS = (*COUNTS, UNCONDITIONAL)


@dataclasses.dataclass(frozen=True)
class ChoiceItem:
    """One question.

    Attributes:
      id: see `Identified`.
      texts: (context, continuation) of each choice; two or more.
      answer: index of the right one.
      labels: what is said of the choices to people; (): the continuations, or the contexts.
      cluster: see `Task.cluster`; None: the item is one.
    """

    id: str
    texts: tuple[tuple[str, str], ...]
    answer: int
    labels: tuple[str, ...] = ()
    cluster: str | None = dataclasses.field(default=None, kw_only=True)

    def label(self, choice: int) -> str:
        """A choice for people."""
        if self.labels:
            return self.labels[choice]
        same = len({continuation for _, continuation in self.texts}) == 1
        return self.texts[choice][0 if same else 1].strip()


@dataclasses.dataclass(frozen=True)
class Choices(Task[ChoiceItem]):
    """Questions with choices.

    Attributes:
      normalisation: the count that the task's figure is of; the others are given beside.
      answer_context: what stands before a choice for the unconditional probability.
      class_metrics: further metrics, of the columns `predicted` and `target`; the first is the one
        that is reported, if there is one.
    """

    normalisation: str = "token"
    answer_context: str = "Answer:"
    class_metrics: tuple[Metric, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy by the task's count, then by the counts that cost nothing more."""
        others = [name for name in COUNTS if name != self.normalisation]
        return (
            *self.class_metrics,
            share("accuracy", "right"),
            *(share(f"accuracy_{name}", f"right_{name}") for name in others),
        )

    @property
    def protocol(self) -> str:
        counts = {
            "plain": "log-probability of its text",
            "token": "mean log-probability of a token",
            "byte": "log-probability over its bytes",
            "character": "log-probability over its characters",
            UNCONDITIONAL: f"log-probability less that of the same text behind "
            f"{self.answer_context!r}",
        }
        return f"The choice of the highest {counts[self.normalisation]} is the model's answer."

    def cluster(self, item: ChoiceItem) -> str:
        return item.id if item.cluster is None else item.cluster

    def shown(self, item: ChoiceItem) -> str:
        return "".join(item.texts[item.answer])

    def requests(self, item: ChoiceItem, before: str) -> list[Request]:
        asked: list[Request] = [
            Likelihood(before + context, continuation) for context, continuation in item.texts
        ]
        if self.normalisation == UNCONDITIONAL:
            asked += [Likelihood(self.answer_context, text) for _, text in item.texts]
        return asked

    def judge(self, item: ChoiceItem, answers: Sequence[Answer]) -> Judged:
        scores = self.scores(item, answers)
        chosen = scores[self.normalisation]
        picked = int(np.argmax(chosen))
        columns = {"predicted": float(picked), "target": float(item.answer)}
        columns["right"] = float(picked == item.answer)
        for name, of in scores.items():
            columns[f"right_{name}"] = float(int(np.argmax(of)) == item.answer)
        margin = chosen[item.answer] - np.delete(chosen, item.answer).max()
        return Judged(columns, item.label(picked), item.label(item.answer), float(margin))

    def scores(self, item: ChoiceItem, answers: Sequence[Answer]) -> dict[str, np.ndarray]:
        """Scores [choices] of each count."""
        given = [answer for answer in answers if isinstance(answer, LikelihoodAnswer)]
        texts = [continuation for _, continuation in item.texts]
        first, rest = given[: len(texts)], given[len(texts) :]
        scores = {
            name: np.array([count(a, text.strip()) for a, text in zip(first, texts, strict=True)])
            for name, count in COUNTS.items()
        }
        if rest:
            alone = np.array([answer.log_prob for answer in rest])
            scores[UNCONDITIONAL] = scores["plain"] - alone
        return scores


def of_classes(name: str, figure: Callable[[np.ndarray, np.ndarray], float]) -> Metric:
    """A metric of predicted and right choices, [N] integers each."""

    def compute(columns: Columns) -> float:
        return figure(columns["predicted"].astype(int), columns["target"].astype(int))

    return Metric(name, compute)
