"""Programs: a model ends one, and tests say whether it works (Chen et al. 2021, arXiv 2107.03374).

    pass@k = 1 - C(n - c, k) / C(n, k)      of n samples of a problem, c of which pass (equation 1)

That is the share of the choices of k of the n samples in which one or more pass, so its mean over
problems has no bias, as 1 - (1 - c / n)^k has. See `sandbox` for where the programs run.
"""

import concurrent.futures
import dataclasses
import math
import os
from collections.abc import Sequence

from gptjax.evals import sandbox
from gptjax.evals.metrics import Metric, mean, share
from gptjax.evals.requests import Answer, Generation, GenerationAnswer, Request
from gptjax.evals.task import Judged, Task

_TROUBLE = (sandbox.TIMED_OUT, sandbox.REFUSED)


@dataclasses.dataclass(frozen=True)
class ProgramItem:
    """One problem.

    Attributes:
      id: see `Identified`.
      prompt: the start of a program.
      test: text of a program that follows an answer; it raises where the answer is wrong.
      solution: an answer that passes.
    """

    id: str
    prompt: str
    test: str
    solution: str


@dataclasses.dataclass(frozen=True)
class Programs(Task[ProgramItem]):
    """Problems whose answers are run.

    Attributes:
      samples: n, answers to a problem.
      k: of pass@k, at most n.
      temperature: of the draws; 0: greedy, and one sample.
      stop: strings that end an answer.
      max_new_tokens: of an answer.
      limits: of the run of each.
    """

    samples: int = 1
    k: int = 1
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    max_new_tokens: int = 256
    limits: sandbox.Limits = dataclasses.field(default_factory=sandbox.Limits)

    def __post_init__(self):
        if not 1 <= self.k <= self.samples:
            raise ValueError(
                f"{self.name}: k: got {self.k}, expected 1 to {self.samples}, the number of samples"
            )
        if self.samples > 1 and self.temperature <= 0:
            raise ValueError(
                f"{self.name}: temperature: got {self.temperature:g} with {self.samples} samples, "
                "which would all be equal, expected one above 0"
            )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """pass@k, pass@1 if that is another, and shares of programs that were stopped."""
        of_one = share if self.samples == 1 else mean
        return (
            of_one(f"pass@{self.k}", f"pass@{self.k}"),
            *([mean("pass@1", "pass@1")] if self.k > 1 else []),
            *(of_one(kind.replace(" ", "_"), kind.replace(" ", "_")) for kind in _TROUBLE),
        )

    @property
    def protocol(self) -> str:
        drawn = (
            f"{self.samples} answers to a problem are drawn with temperature {self.temperature:g}"
            if self.temperature
            else "One answer to a problem is written by greedy decoding"
        )
        ends = " or ".join(map(repr, self.stop)) or "end of text"
        return (
            f"{drawn}, up to {ends} or {self.max_new_tokens} tokens, and run with the problem's "
            f"tests for {self.limits.cpu_seconds} seconds of processor time at most. pass@{self.k} "
            "is the estimate without bias of Chen et al. (2021)."
        )

    def shown(self, item: ProgramItem) -> str:
        return item.prompt + item.solution

    def requests(self, item: ProgramItem, before: str) -> list[Request]:
        return [
            Generation(
                before + item.prompt,
                stop=self.stop,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                draw=draw,
            )
            for draw in range(self.samples)
        ]

    def judge(self, item: ProgramItem, answers: Sequence[Answer]) -> Judged:
        texts = [answer.text for answer in answers if isinstance(answer, GenerationAnswer)]
        assert len(texts) == self.samples
        once = {text: self._outcome(item, text) for text in dict.fromkeys(texts)}
        outcomes = [once[text] for text in texts]
        kinds = [outcome.kind for outcome in outcomes]
        passed = kinds.count(sandbox.PASSED)
        columns = {f"pass@{k}": pass_at(k, len(kinds), passed) for k in {1, self.k}}
        for kind in _TROUBLE:
            columns[kind.replace(" ", "_")] = kinds.count(kind) / len(kinds)
        shown = kinds.index(sandbox.PASSED) if passed else 0
        why = f": {outcomes[shown].why}" if outcomes[shown].why else ""
        given = f"{texts[shown]}\n# {kinds[shown]}{why}"
        return Judged(columns, given, item.solution, passed / len(kinds) - 0.5)

    def judge_all(self, answers: Sequence[Sequence[Answer]]) -> list[Judged]:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(self.judge, self.items, answers))

    def _outcome(self, item: ProgramItem, text: str) -> sandbox.Outcome:
        return sandbox.run(f"{item.prompt}{text}\n{item.test}", self.limits)


def pass_at(k: int, samples: int, passed: int) -> float:
    """pass@k of one problem, of `samples` of which `passed` pass; see the module."""
    return 1 - math.comb(samples - passed, k) / math.comb(samples, k)
