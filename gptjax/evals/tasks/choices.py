r"""Multiple choice: PIQA, ARC, OpenBookQA, HellaSwag, MMLU, TruthfulQA.

By what each choice is counted is the option `normalisation` of each task, see `forms.choices`.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import scipy.special

from gptjax.data.dialogue.records import Row
from gptjax.evals.forms.choices import NORMALISATIONS, ChoiceItem, Choices
from gptjax.evals.metrics import Metric, mean, share
from gptjax.evals.registry import Source, task
from gptjax.evals.requests import Answer, LikelihoodAnswer
from gptjax.evals.rows import id_of, table_rows
from gptjax.evals.task import Judged, Layout
from gptjax.registry import unknown_name

_ABOUT_A_PASSAGE = "This question refers to the following information"  # MMLU's, several of one
_LETTERED = re.compile(r"\(([A-Z])\)\s*")


def answering(
    id: str, question: str, choices: Sequence[str], answer: int, cue: str = "\nAnswer:"
) -> ChoiceItem:
    """An item whose choices all follow the question and a cue."""
    if not all(choice.strip() for choice in choices):
        raise ValueError(f"{id}: choices: got an empty one, expected text")
    texts = tuple((question + cue, f" {choice.strip()}") for choice in choices)
    return ChoiceItem(id, texts, answer)


def index_of(row: Row, answer: object, count: int) -> int:
    """The index of the right one of `count` choices, which must be one."""
    if not str(answer).isdecimal() or int(str(answer)) >= count:
        raise row.wrong("answer", repr(answer), f"0 to {count - 1}, the index of a choice")
    return int(str(answer))


def normalisation_of(name: str, given: str) -> str:
    """A normalisation that was given for a task, which must be one."""
    if given not in NORMALISATIONS:
        raise unknown_name(f"normalisation of {name}", given, NORMALISATIONS)
    return given


@task(
    "piqa",
    file="piqa/valid.jsonl",
    train_file="piqa/train.jsonl",
    get="PIQA's valid.jsonl with valid-labels.lst beside it",
)
def piqa(source: Source, *, normalisation: str = "token") -> Choices:
    """PIQA, everyday physics (Bisk et al. 2019): a goal and two solutions."""

    def of(path: str) -> tuple[ChoiceItem, ...]:
        labels = Path(path).expanduser().with_name(f"{Path(path).stem}-labels.lst")
        if not labels.exists():
            raise ValueError(f"{source.name}: got no file {labels}, expected the labels of {path}")
        answers = iter(labels.read_text().split())

        def read(row: Row) -> Iterator[ChoiceItem]:
            choices = [row.text("sol1"), row.text("sol2")]
            answer = index_of(row, next(answers, None), 2)
            made = answering(id_of(row), row.text("goal"), choices, answer, cue="")
            yield dataclasses.replace(made, cluster=row.text("goal"))

        items = dataclasses.replace(source, path=path, train=None).json(read)["items"]
        if (left := len(list(answers))) > 0:
            raise ValueError(f"{labels}: got {left} labels too many, expected {len(items)}")
        return items

    training = () if source.train is None else of(source.train)
    normalisation = normalisation_of(source.name, normalisation)
    return Choices(source.name, of(source.path), training, normalisation=normalisation)


def _with_gold(source: Source, normalisation: str, cue: str) -> Choices:
    """JSON lines with query, choices and gold, the index of the right one."""

    def read(row: Row) -> Iterator[ChoiceItem]:
        choices = row.as_list("'choices'", row.value("choices"))
        answer = index_of(row, row.value("gold"), len(choices))
        yield answering(id_of(row), row.text("query"), choices, answer, cue)

    normalisation = normalisation_of(source.name, normalisation)
    return Choices(**source.json(read), normalisation=normalisation)


@task(
    "arc_easy",
    file="arc/arc_easy.jsonl",
    train_file="arc/arc_easy_train.jsonl",
    get="ARC-Easy as JSON lines with query, choices and gold",
)
def arc_easy(source: Source, *, normalisation: str = "unconditional") -> Choices:
    """ARC-Easy, school science (Clark et al. 2018, arXiv 1803.05457)."""
    return _with_gold(source, normalisation, cue="\nAnswer:")


@task(
    "arc_challenge",
    file="arc/arc_challenge.jsonl",
    train_file="arc/arc_challenge_train.jsonl",
    get="ARC-Challenge as JSON lines with query, choices and gold",
)
def arc_challenge(source: Source, *, normalisation: str = "unconditional") -> Choices:
    """ARC-Challenge, what word counts do not solve (Clark et al. 2018, arXiv 1803.05457)."""
    return _with_gold(source, normalisation, cue="\nAnswer:")


@task(
    "hellaswag",
    file="hellaswag_1k/hellaswag_val_1000.jsonl",
    get="HellaSwag as JSON lines with query, choices and gold",
)
def hellaswag(source: Source, *, normalisation: str = "token") -> Choices:
    """HellaSwag, how a scene goes on (Zellers et al. 2019, arXiv 1905.07830)."""
    return _with_gold(source, normalisation, cue="")


@task(
    "openbookqa",
    file="openbookqa/test.tsv",
    train_file="openbookqa/train.tsv",
    get="OpenBookQA's test.tsv, with train.tsv beside it",
)
def openbookqa(source: Source, *, normalisation: str = "unconditional") -> Choices:
    """OpenBookQA, elementary science (Mihaylov et al. 2018, arXiv 1809.02789)."""

    def read(row: Row) -> Iterator[ChoiceItem]:
        _, *parts = _LETTERED.split(row.text("Choices"))
        letters, choices = parts[::2], parts[1::2]
        key = row.text("Answer Key")
        if key not in letters:
            raise row.wrong("Answer Key", repr(key), f"one of {', '.join(letters)}")
        question = f"Question: {row.text('Question Stem')}"
        yield answering(id_of(row), question, choices, letters.index(key))

    normalisation = normalisation_of(source.name, normalisation)
    return Choices(**source.table(read, "\t"), normalisation=normalisation)


@dataclasses.dataclass(frozen=True)
class SubjectItem(ChoiceItem):
    """A question of a subject."""

    subject: str = ""


@dataclasses.dataclass(frozen=True)
class OfSubjects(Choices):
    """Questions of several subjects; shots are of the item's own."""

    def pool(self, item: ChoiceItem) -> Sequence[ChoiceItem]:
        assert isinstance(item, SubjectItem)
        return self.by_subject[item.subject]

    @functools.cached_property
    def by_subject(self) -> dict[str, tuple[SubjectItem, ...]]:
        """The training split's items of each subject."""
        found: dict[str, list[SubjectItem]] = {}
        for each in (*self.items, *self.training):
            assert isinstance(each, SubjectItem)
            found.setdefault(each.subject, [])
        for each in self.training:
            assert isinstance(each, SubjectItem)
            found[each.subject].append(each)
        return {subject: tuple(items) for subject, items in found.items()}

    def layout_of(self, item: ChoiceItem) -> Layout:
        assert isinstance(item, SubjectItem)
        subject = item.subject.replace("_", " ")
        return Layout(
            f"The following are multiple choice questions (with answers) about {subject}.\n\n"
        )


@task("mmlu", file="mmlu/test", train_file="mmlu/dev", get="MMLU's folders test and dev")
def mmlu(source: Source, *, subject: str | None = None, normalisation: str = "plain") -> Choices:
    """MMLU, 57 subjects (Hendrycks et al. 2020, arXiv 2009.03300): the letter of the answer.

    Differs from the paper: shots of a subject are drawn; the paper takes its first five.
    """

    def of(folder: str | None) -> tuple[SubjectItem, ...]:
        if folder is None:
            return ()
        files = sorted(Path(folder).expanduser().glob("*.csv"))
        subjects = {re.sub("_(test|dev|val)$", "", file.stem): file for file in files}
        if subject is not None and subject not in subjects:
            raise unknown_name("subject of mmlu", subject, subjects)
        wanted = subjects if subject is None else {subject: subjects[subject]}
        return tuple(item for name, file in wanted.items() for item in _of_subject(name, file))

    items = of(source.path)
    if not items:
        raise ValueError(f"{source.name}: got no *.csv in {source.path}, expected one a subject")
    normalisation = normalisation_of(source.name, normalisation)
    return OfSubjects(source.name, items, of(source.train), normalisation=normalisation)


def _of_subject(subject: str, file: Path) -> Iterator[SubjectItem]:
    for row in table_rows(str(file), ",", ("question", *"ABCD", "answer")):
        answer = row.text("answer").strip()
        if answer not in tuple("ABCD"):
            raise row.wrong("answer", repr(answer), "A, B, C or D")
        lines = [row.text("question").strip(), *(f"{x}. {row.text(x).strip()}" for x in "ABCD")]
        context = "\n".join([*lines, "Answer:"])
        texts = tuple((context, f" {letter}") for letter in "ABCD")
        passage, _, _ = lines[0].rpartition("\n")
        yield SubjectItem(
            id_of(row),
            texts,
            "ABCD".index(answer),
            tuple(row.text(x) for x in "ABCD"),
            subject,
            cluster=passage if passage.startswith(_ABOUT_A_PASSAGE) else None,
        )


@dataclasses.dataclass(frozen=True)
class TruthItem(ChoiceItem):
    """A question; the best answer is its first choice.

    Attributes:
      true: how many of its choices are true, which come before the others.
    """

    true: int = 1


@dataclasses.dataclass(frozen=True)
class Truthful(Choices):
    """Questions with a best answer, other true ones and false ones.

    mc1: the best answer is more probable than each false one. mc2: the share of probability that
    the true answers have, of all.
    """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (share("mc1", "right"), mean("mc2", "mass"))

    @property
    def protocol(self) -> str:
        return (
            "mc1: the best answer has a higher log-probability than each false one; mc2: the "
            "probability of all true answers over that of all answers (arXiv 2109.07958)."
        )

    def judge(self, item: ChoiceItem, answers: Sequence[Answer]) -> Judged:
        assert isinstance(item, TruthItem)
        logs = np.array([a.log_prob for a in answers if isinstance(a, LikelihoodAnswer)])
        false = logs[item.true :]
        mass = float(scipy.special.softmax(logs)[: item.true].sum())
        margin = float(logs[0] - false.max())
        picked = 0 if margin > 0 else item.true + int(np.argmax(false))
        columns = {"right": float(margin > 0), "mass": mass}
        return Judged(columns, item.label(picked), item.label(0), margin)


@task("truthfulqa", file="truthfulqa/TruthfulQA.csv", get="TruthfulQA.csv")
def truthfulqa(source: Source, *, primer: str | None = None) -> Choices:
    """TruthfulQA, common misconceptions (Lin et al. 2021, arXiv 2109.07958): MC1 and MC2.

    In the paper six other questions with answers stand before each (appendix E, the "QA prompt").
    They are not in its file of questions: `primer` names a text file that holds them.
    """
    layout = Layout() if primer is None else Layout(f"{primer_of(source.name, primer)}\n\n")

    def read(row: Row) -> Iterator[TruthItem]:
        def listed(field: str) -> list[str]:
            return [text for each in row.text(field).split(";") if (text := each.strip())]

        best = row.text("Best Answer").strip()
        if not listed("Incorrect Answers"):
            raise row.wrong("Incorrect Answers", "none", "one or more")
        true = [best, *(text for text in listed("Correct Answers") if text != best)]
        texts = tuple(
            (f"Q: {row.text('Question')}\nA:", f" {text}")
            for text in (*true, *listed("Incorrect Answers"))
        )
        yield TruthItem(id_of(row), texts, 0, true=len(true))

    return Truthful(**source.table(read, ","), normalisation="plain", layout=layout)


def primer_of(task: str, path: str) -> str:
    """The text of a file that stands before each question, without white space around it.

    Raises:
      ValueError: the file cannot be read as text in UTF-8, or is empty.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{task}: primer: got {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{task}: primer: got {path}, expected text in UTF-8") from error
    if not text:
        raise ValueError(f"{task}: primer: got an empty {path}, expected questions with answers")
    return text
