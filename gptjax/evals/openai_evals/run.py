"""One eval from its entry in a registry to its final report.

    settings = Settings(max_samples=20)
    entry = registry.eval("test-match")
    with opened(entry, ["dummy"], functions, registry, settings, Path("log.jsonl")) as run:
        report = run()

The samples are asked some hundreds at a time, so that a model answers many calls at once. Their
order, their random draws and the report are those of the original with EVALS_SEQUENTIAL=1.
"""

import contextlib
import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from gptjax.evals.openai_evals import samples
from gptjax.evals.openai_evals.classes import make
from gptjax.evals.openai_evals.classes.base import Asks, Call, Context, Eval, Event
from gptjax.evals.openai_evals.classes.choices import INVALID
from gptjax.evals.openai_evals.completion import Answer, CompletionFunction, Failure
from gptjax.evals.openai_evals.log import Log, RunSpec
from gptjax.evals.openai_evals.registry import Entry, Registry

_AT_ONCE = 512  # samples
_MOST_CALLS = 128  # of a sample, for the numbers of draws


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the command line says of a run.

    Attributes:
      max_samples: asked at most, of the shuffled ones; None: all.
      seed: of the draws of samples, and of the report's.
      extra: arguments of the eval that take the place of its entry's.
      options: of the completion functions.
      datasets: see `Context`.
      strict_choice: see `Context`.
      user: who is logged as having begun it.
      again: whether a log that is there is begun anew.
      noted: what the log's first line has besides.
    """

    max_samples: int | None = None
    seed: int = samples.SEED
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    datasets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    strict_choice: bool = False
    user: str = ""
    again: bool = False
    noted: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def opened(
    entry: Entry,
    names: Sequence[str],
    functions: Callable[[str], CompletionFunction],
    registry: Registry,
    settings: Settings,
    path: Path | None,
) -> Iterator["Run"]:
    """Prepares an eval, and opens its log.

    Args:
      entry: of the eval.
      names: of the completion functions; the last is the grader, where there is one.
      functions: makes one by its name.
      registry: of all names.
      settings: see there.
      path: of the log; None: none is written.

    Raises:
      ValueError: a class that does not run here, arguments, samples or functions that are not
        right, or a log of another run.
    """
    args = {**entry.args, **settings.extra}
    context = Context(
        registry,
        entry.root,
        len(names),
        settings.datasets,
        settings.strict_choice,
        settings.seed,
    )
    one = make(entry.key, entry.class_name or "", context, args)
    rows = one.samples()
    made = [functions(name) for name in names]
    spec = RunSpec(
        list(names),
        entry.key,
        {
            "completion_fns": list(names),
            "eval_spec": {
                "cls": entry.class_name,
                "registry_path": str(entry.root),
                "args": args,
                "key": entry.key,
                "group": entry.group,
            },
            "seed": settings.seed,
            "max_samples": settings.max_samples,
            "identities": [function.identity for function in made],
            "completion_args": dict(settings.options),
            "strict_choice": settings.strict_choice,
            "samples": samples.content_hash([*rows, *one.also_read()]),
            **settings.noted,
        },
        settings.user,
    )
    with Log(path, spec, one.last, settings.again) as log:
        yield Run(one, rows, made, log, settings)


class Run:
    """An eval that is ready to be run."""

    def __init__(
        self,
        one: Eval,
        rows: Sequence[Any],
        functions: Sequence[CompletionFunction],
        log: Log,
        settings: Settings,
    ):
        """See `opened`."""
        self._eval, self._rows, self._functions = one, rows, functions
        self._log, self._settings = log, settings
        self._name = log.spec.eval_name
        self.failures: dict[str, str] = {}

    def __call__(self) -> dict[str, Any]:
        """Asks the samples that have not ended, and returns the final report of all.

        The report has `failed_samples` where calls failed; such samples are in no other figure, and
        the same command asks them again.

        Raises:
          ValueError: a sample that is not right.
        """
        spec, log, settings = self._log.spec, self._log, self._settings
        indices = samples.order(len(self._rows), settings.max_samples)
        names = {index: f"{spec.base_eval}.{spec.split}.{index}" for index in indices}
        waiting = [index for index in indices if names[index] not in log.ended]
        if len(waiting) < len(indices):
            logging.info("%d samples have ended before", len(indices) - len(waiting))
        for start in range(0, len(waiting), _AT_ONCE):
            part = waiting[start : start + _AT_ONCE]
            for index, events in self._asked(part):
                log.add(names[index], events)
                if events[-1].type == "error":
                    self.failures[names[index]] = events[-1].data["message"]
        report = self._report([names[index] for index in indices if names[index] in log.ended])
        log.report(report)
        return report

    def refuse_failures(self) -> None:
        """Raises ValueError, which says how many, where samples have no answer."""
        if self.failures:
            name, first = next(iter(self.failures.items()))
            raise ValueError(
                f"eval {self._name!r}: got no answer for {len(self.failures)} "
                f"samples (first {name}: {first}), expected one for each; they are in no figure of "
                "the report, and the same command with the log as --record_path asks them again"
            )

    def _asked(self, part: Sequence[int]) -> Iterator[tuple[int, list[Event]]]:
        """Yields the events of samples, each as soon as it has ended."""
        base, split = self._log.spec.base_eval, self._log.spec.split
        events: dict[int, list[Event]] = {index: [] for index in part}
        asking: dict[int, Asks] = {}
        calls: dict[int, Call] = {}
        for index in part:
            rng = samples.draws(base, split, index, self._settings.seed)
            asking[index] = self._eval.asks(self._rows[index], rng)
        for index in part:
            ended = self._proceeded(index, asking[index], None, calls)
            assert ended is None, "a sample asks at least once"
        asked = Counter[int]()
        while calls:
            now, calls = calls, {}
            for index, call, answer in self._answered(now, asked):
                if isinstance(answer, Failure):
                    data = {"type": answer.type, "message": answer.message}
                    yield index, [*events[index], Event("error", data)]
                    continue
                events[index].append(
                    Event(
                        "sampling",
                        {"prompt": call.prompt, "sampled": [answer.text], **answer.details},
                    )
                )
                ended = self._proceeded(index, asking[index], answer.text, calls)
                if ended is not None:
                    yield index, [*events[index], *ended]

    def _answered(
        self, calls: Mapping[int, Call], asked: Counter[int]
    ) -> Iterator[tuple[int, Call, Answer | Failure]]:
        """Answers one call of each sample; yields them as they come."""
        by: dict[int, list[int]] = defaultdict(list)
        for index, call in calls.items():
            by[call.by % len(self._functions)].append(index)
        for function, indices in by.items():
            numbered = []
            for index in indices:
                draw = index * _MOST_CALLS + asked[index] % _MOST_CALLS
                numbered.append(dataclasses.replace(calls[index], draw=draw))
                asked[index] += 1
            for number, answer in self._functions[function].answers(numbered):
                yield indices[number], calls[indices[number]], answer

    def _proceeded(
        self, index: int, asks: Asks, text: str | None, calls: dict[int, Call]
    ) -> list[Event] | None:
        """Sends an answer to a sample: its events where it ends, else its next call is noted."""
        try:
            calls[index] = next(asks) if text is None else asks.send(text)
        except StopIteration as end:
            return end.value
        except ValueError as error:
            raise ValueError(f"eval {self._name!r}: sample {index}: {error}") from error
        return None

    def _report(self, names: Sequence[str]) -> dict[str, Any]:
        events: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for name in names:
            for event in self._log.ended[name]:
                events[event.type].append(event.data)
        report = self._eval.report(events)
        usages = [data["usage"] for data in events["sampling"] if data.get("usage")]
        if usages:
            for key in usages[0]:
                counts = [usage.get(key) for usage in usages]
                if all(count is None or isinstance(count, int) for count in counts):
                    report.setdefault(f"usage_{key}", sum(count or 0 for count in counts))
        if cut := sum("cut" in data for data in events["sampling"]):
            logging.warning(
                "%s: %d of %d prompts were cut to fit", self._name, cut, len(events["sampling"])
            )
            report["cut_prompts"] = cut
        if unread := report.get(f"counts/{INVALID}"):
            logging.warning(
                "%s: %d of %d answers of the grader name none of the choices: they are counted as "
                "%s, with the lowest score",
                self._name,
                unread,
                len(names),
                INVALID,
            )
        if self.failures:
            report["failed_samples"] = len(self.failures)
        return report
