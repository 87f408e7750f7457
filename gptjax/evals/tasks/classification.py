"""Sentences and their labels, in words: CoLA, SST-2, STS-B, SNLI.

A model has learned none of these, and answers by the probabilities of words behind a question, as
GPT-3 does for SuperGLUE (2005.14165, section 3.7). The columns are those of the published files.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.special
import scipy.stats

from gptjax.data.dialogue.records import Row
from gptjax.evals.forms.choices import ChoiceItem, Choices, of_classes
from gptjax.evals.metrics import Columns, Metric
from gptjax.evals.registry import Source, task
from gptjax.evals.requests import Answer
from gptjax.evals.rows import id_of
from gptjax.evals.task import Judged
from gptjax.evals.tasks.choices import answering, index_of
from gptjax.judging.metrics import metrics

_RATINGS = tuple("012345")


@task(
    "cola",
    file="glue_cola/in_domain_dev.tsv",
    train_file="glue_cola/in_domain_train.tsv",
    get="CoLA's in_domain_dev.tsv and in_domain_train.tsv",
)
def cola(source: Source) -> Choices:
    """CoLA, whether a sentence is English (Warstadt et al. 2018): Matthews' correlation."""

    def read(row: Row) -> Iterator[ChoiceItem]:
        question = f"{row.text('sentence')}\nQuestion: Does this sentence make sense?"
        yield answering(id_of(row), question, ("no", "yes"), index_of(row, row.text("label"), 2))

    return Choices(
        **source.table(read, "\t", ("source", "label", "mark", "sentence")),
        normalisation="plain",
        class_metrics=(of_classes("matthews", metrics(2)["matthews"]),),
    )


@task(
    "sst2",
    file="glue_sst2/dev.tsv",
    train_file="glue_sst2/train.tsv",
    get="SST-2's dev.tsv and train.tsv, a sentence, a tab, 0 or 1",
)
def sst2(source: Source) -> Choices:
    """SST-2, whether a review is positive (Socher et al. 2013)."""

    def read(row: Row) -> Iterator[ChoiceItem]:
        question = f"{row.text('text')}\nQuestion: Is this sentence positive or negative?"
        answer = index_of(row, row.text("label"), 2)
        yield answering(id_of(row), question, ("negative", "positive"), answer)

    return Choices(**source.table(read, "\t", ("text", "label")), normalisation="plain")


@task(
    "snli",
    file="glue_snli/test.tsv",
    train_file="glue_snli/validation.tsv",
    get="SNLI as test.tsv with premise, hypothesis and label, 0, 1 or 2",
)
def snli(source: Source) -> Choices:
    """SNLI, whether one sentence follows from another (Bowman et al. 2015); shots of validation."""

    def read(row: Row) -> Iterator[ChoiceItem]:
        question = (
            f"{row.text('premise')}\nQuestion: {row.text('hypothesis')} True, False, or Neither?"
        )
        answer = index_of(row, row.text("label"), 3)
        made = answering(id_of(row), question, ("True", "Neither", "False"), answer)
        yield dataclasses.replace(made, cluster=row.text("premise"))

    return Choices(**source.table(read, "\t"), normalisation="plain")


@dataclasses.dataclass(frozen=True)
class Rated(ChoiceItem):
    """A pair of sentences, and people's rating of their similarity, 0 to 5."""

    rating: float = 0.0


@dataclasses.dataclass(frozen=True)
class Ratings(Choices):
    """Pairs that are rated by the mean of the digits 0 to 5 under their probabilities."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (_correlation("spearman"), _correlation("pearson"))

    @property
    def protocol(self) -> str:
        return "The rating is the mean of the digits 0 to 5 under their probabilities."

    def judge(self, item: ChoiceItem, answers: Sequence[Answer]) -> Judged:
        assert isinstance(item, Rated)
        shares = scipy.special.softmax(self.scores(item, answers)["plain"])
        predicted = float(shares @ np.arange(len(_RATINGS)))
        columns = {"predicted": predicted, "target": item.rating}
        given, expected = f"{predicted:.2f}", f"{item.rating:.2f}"
        return Judged(columns, given, expected, 0.5 - abs(predicted - item.rating))


def _correlation(name: str) -> Metric:
    figure = metrics(None)[name]

    def compute(columns: Columns) -> float:
        return figure(columns["predicted"], columns["target"])

    return Metric(name, compute)


@task(
    "stsb",
    file="glue_stsb/sts-dev.csv",
    train_file="glue_stsb/sts-train.csv",
    get="STS-B's sts-dev.csv and sts-train.csv",
)
def stsb(source: Source) -> Choices:
    """STS-B, how similar two sentences are (Cer et al. 2017): Spearman's correlation."""

    def read(row: Row) -> Iterator[Rated]:
        try:
            rating = float(row.text("score"))
        except ValueError:
            rating = -1.0
        if not 0 <= rating <= 5:
            raise row.wrong("score", repr(row.text("score")), "a number, 0 to 5")
        question = (
            f"Sentence 1: {row.text('one')}\nSentence 2: {row.text('two')}\n"
            "Question: How similar are they, from 0 to 5?"
        )
        made = answering(id_of(row), question, _RATINGS, round(rating))
        yield Rated(id_of(row), made.texts, made.answer, rating=rating)

    columns = ("genre", "file", "year", "number", "score", "one", "two")
    return Ratings(**source.table(read, "\t", columns, more=True), normalisation="plain")
