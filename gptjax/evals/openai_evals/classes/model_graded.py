"""ModelBasedClassify: a grader is asked about answers, and its choices are counted.

The last of several completion functions is the grader; one alone grades itself. A sample that has
its answer already is not asked for one.

Differs from the original: the prompt of a specification that is a list of messages is not changed,
where the original adds how to answer to it once more for each sample.

Source: evals/elsuite/modelgraded/classify.py of openai/evals 3.0.1.
"""

import dataclasses
import random
import string
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from gptjax.evals.openai_evals.classes.base import GRADER, Asks, Call, Event, FromFile, field
from gptjax.evals.openai_evals.classes.choices import (
    INVALID,
    MATCHES,
    asking,
    choice_of,
    choices_of,
    score_of,
    scores_of,
    strict_choice_of,
)
from gptjax.evals.openai_evals.prompts import Prompt, checked, escaped, filled
from gptjax.evals.openai_evals.registry import resolved
from gptjax.registry import unknown_name

_ARGUMENTS = {"top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "n": 1}
_MAX_TOKENS = 1024


@dataclasses.dataclass
class ModelBasedClassify(FromFile):
    """Counts a grader's choices.

    Attributes:
      modelgraded_spec: name of what the grader is asked.
      modelgraded_spec_args: values of fields of its prompt.
      sample_kwargs: arguments of the calls for answers: max_tokens, temperature.
      eval_kwargs: of those for grades.
      multicomp_n: answers to each sample, numbered in one text; from_models: one a model.
      eval_type: how the grader is to answer; None: as the specification says.
      match_fn: when a line names a choice.
      metaeval: whether samples say the right choice, and the grader is judged.
    """

    modelgraded_spec: str
    modelgraded_spec_args: dict[str, Any] | None = None
    sample_kwargs: dict[str, Any] | None = None
    eval_kwargs: dict[str, Any] | None = None
    multicomp_n: int | str = 1
    eval_type: str | None = None
    match_fn: str | None = None
    metaeval: bool = False
    last = "metrics"
    graded = True

    def check(self) -> None:
        super().check()
        registry = self.context.registry
        entry = resolved("modelgraded_spec", self.modelgraded_spec, registry.modelgraded)
        for name in ("prompt", "choice_strings", "input_outputs"):
            if name not in entry.fields:
                raise ValueError(f"modelgraded_spec {entry.key!r}: got no {name!r}, expected it")
        spec = entry.fields
        self._models = max(self.context.functions - 1, 1)
        self._n = self._answers()
        self._choices = choices_of(spec["choice_strings"], self._n)
        self._scores = scores_of(spec.get("choice_scores"), self._choices)
        self._inputs: dict[str, str] = spec["input_outputs"]
        self._template = spec.get("output_template")
        if self._n > 1 and not self._template:
            raise ValueError(
                f"modelgraded_spec {entry.key!r}: got no output_template, expected one with "
                f"multicomp_n={self.multicomp_n}"
            )
        self._read_as = spec.get("eval_type") or self.eval_type
        if self._read_as is None:
            raise ValueError("eval_type: got none, here or in the modelgraded_spec, expected one")
        prompt = spec["prompt"]
        self._asked: Prompt = (
            asking(prompt, self.eval_type, self._choices)
            if self.eval_type
            else [{"role": "user", "content": prompt}]
            if isinstance(prompt, str)
            else prompt
        )
        if self.match_fn is not None and self.match_fn not in MATCHES:
            raise unknown_name("match_fn", self.match_fn, MATCHES)

    def also_read(self) -> list[Any]:
        entry = resolved(
            "modelgraded_spec", self.modelgraded_spec, self.context.registry.modelgraded
        )
        return [dict(entry.fields)]

    def _answers(self) -> int:
        n, models = self.multicomp_n, self._models
        if n == "from_models":
            n = models
            if models < 2:
                raise ValueError(
                    "multicomp_n: got from_models with one model, expected two or more completion "
                    "functions before the grader: MODEL,MODEL,GRADER"
                )
        if not isinstance(n, int) or n < 1:
            raise ValueError(f"multicomp_n: got {n!r}, expected a whole number or from_models")
        if models > 1 and n != models:
            raise ValueError(
                f"multicomp_n: got {n} with {models} completion functions before the grader, "
                "expected as many"
            )
        return n

    def asks(self, sample: Any, rng: random.Random) -> Asks:
        del rng
        sample = dict(sample) if isinstance(sample, dict) else sample
        for name in self._inputs:
            sample[name] = escaped(checked(field(sample, name), f"sample: {name!r}"))
        if self.metaeval:
            field(sample, "choice")
        answers: dict[str, str] = {}
        for name, output in self._inputs.items():
            if output not in sample:
                answers[output] = yield from self._answer(sample[name])
        values = {**answers, **sample, **(self.modelgraded_spec_args or {}), "n": self._n}
        text = yield _call(self._asked, values, self.eval_kwargs, GRADER)
        if self.context.strict_choice:
            choice = strict_choice_of(text, str(self._read_as), self._choices)
        else:
            by = self.match_fn or "starts_or_endswith"
            choice = choice_of(text, str(self._read_as), by, self._choices)
        metrics: dict[str, Any] = {"choice": choice, "score": score_of(choice, self._scores)}
        if self.metaeval:
            metrics["metascore"] = choice == sample["choice"]
        return [Event("metrics", metrics)]

    def _answer(self, prompt: Prompt) -> Generator[Call, str, str]:
        """The answer to a prompt; several are one text, each as the specification's template."""
        if self._n == 1:
            return (yield _call(prompt, {}, self.sample_kwargs, 0))
        whole = ""
        for i in range(self._n):
            by = i if self._models > 1 else 0
            values = {
                "i": i + 1,
                "i_abc": string.ascii_lowercase[i % 26],
                "i_ABC": string.ascii_uppercase[i % 26],
                "output": (yield _call(prompt, {}, self.sample_kwargs, by)),
                "n": self._n,
            }
            whole += str(filled(str(self._template), values))
        return whole.strip()

    def report(self, events: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
        rows = events.get("metrics", ())
        counts = Counter(row["choice"] for row in rows)
        report: dict[str, Any] = {f"counts/{choice}": count for choice, count in counts.items()}
        scores = [row["score"] for row in rows if row["score"] is not None]
        if scores:
            report["score"] = sum(scores) / len(scores)
        metascores = [row["metascore"] for row in rows if "metascore" in row]
        if metascores:
            report["metascore"] = sum(metascores) / len(metascores)
        return report

    def unread(self, report: Mapping[str, Any]) -> int:
        """How many answers of the grader name none of the choices."""
        return report.get(f"counts/{INVALID}", 0)


def _call(
    template: Prompt, values: Mapping[str, Any], arguments: Mapping[str, Any] | None, by: int
) -> Call:
    arguments = {"max_tokens": _MAX_TOKENS, "temperature": 0, **(arguments or {})}
    return Call(filled(template, values), {**arguments, **_ARGUMENTS}, by)
