r"""Free text: what a model writes behind a prompt, beside the right answers.

GPT-3 (2005.14165, section 2.4): beam search of 4 beams with length penalty 0.6, scored by F1, BLEU
or exact match, as each set does. Arithmetic and word scrambling are greedy.

    task = FreeText("sums", items, scores={"exact_match": exact}, stop=("\n",))
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from gptjax.evals.metrics import Metric, mean, share
from gptjax.evals.requests import Answer, Generation, GenerationAnswer, Request
from gptjax.evals.task import Judged, Task
from gptjax.judging import free_answers

Score = Callable[[str, Sequence[str]], float]

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


@dataclasses.dataclass(frozen=True)
class TextItem:
    """One prompt.

    Attributes:
      id: see `Identified`.
      prompt: text that the answer follows.
      answers: right ones, one or more; the first is what a shot shows.
      worked: what a shot shows in place of the first answer, where that is more than the answer.
      cluster: see `Task.cluster`; None: the item is one.
    """

    id: str
    prompt: str
    answers: tuple[str, ...]
    worked: str | None = None
    cluster: str | None = dataclasses.field(default=None, kw_only=True)


@dataclasses.dataclass(frozen=True)
class FreeText(Task[TextItem]):
    """Prompts whose answers are written.

    Attributes:
      scores: by name, of an answer and the right ones, 0 to 1; the first is the task's figure, and
        decides what is right. One called exact_match is a share.
      stop: strings that end an answer.
      max_new_tokens: of an answer.
      num_beams: 1 is greedy.
      answer_space: whether a shot's answer follows its prompt with a space.
    """

    scores: Mapping[str, Score] = dataclasses.field(default_factory=dict)
    stop: tuple[str, ...] = ("\n",)
    max_new_tokens: int = 32
    num_beams: int = 1
    answer_space: bool = True

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """A figure for each score."""
        return tuple(
            share(name, name) if name == "exact_match" else mean(name, name) for name in self.scores
        )

    @property
    def protocol(self) -> str:
        decoding = (
            "greedy decoding"
            if self.num_beams == 1
            else f"beam search with {self.num_beams} beams and length penalty 0.6"
        )
        ends = " or ".join(map(repr, self.stop)) or "end of text"
        return (
            f"Answers are written by {decoding}, up to {ends} or {self.max_new_tokens} tokens, and "
            f"scored by {', '.join(self.scores)}."
        )

    def cluster(self, item: TextItem) -> str:
        return item.id if item.cluster is None else item.cluster

    def shown(self, item: TextItem) -> str:
        answer = item.answers[0] if item.worked is None else item.worked
        return f"{item.prompt}{' ' if self.answer_space else ''}{answer}"

    def requests(self, item: TextItem, before: str) -> list[Request]:
        return [
            Generation(
                before + item.prompt,
                stop=self.stop,
                max_new_tokens=self.max_new_tokens,
                num_beams=self.num_beams,
            )
        ]

    def judge(self, item: TextItem, answers: Sequence[Answer]) -> Judged:
        (answer,) = answers
        assert isinstance(answer, GenerationAnswer)
        columns = {name: score(answer.text, item.answers) for name, score in self.scores.items()}
        first = next(iter(columns.values()))
        return Judged(columns, answer.text.strip(), item.answers[0], first - 0.5)


def stripped_match(given: str, right: Sequence[str]) -> float:
    """1 if an answer, without white space around it, is a right one."""
    return float(given.strip() in {each.strip() for each in right})


def final_number(given: str, right: Sequence[str]) -> float:
    """1 if the last number of an answer is a right one (GSM8K, arXiv 2110.14168)."""
    numbers = _NUMBER.findall(given)
    if not numbers:
        return 0.0
    return float(any(_number(numbers[-1]) == _number(each) for each in right))


def _number(text: str) -> float:
    return float(text.replace(",", ""))


SQUAD: Mapping[str, Score] = {"exact_match": free_answers.exact_match, "f1": free_answers.f1}
