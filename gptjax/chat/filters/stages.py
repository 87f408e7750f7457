"""Stages that find places in a text: words of a blocklist, and matches of regular expressions.

stage = Blocklist("words", "both", "redact", words=("secret",))
stage.judge("The secret.", "output").text        # "The [removed]."
guard = stage.guard("output")
guard.push("The se"), guard.push("cret."), guard.finish()
"""

import abc
import dataclasses
import functools
import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gptjax.chat.filters.decision import END, REDACT, REFUSE, Decision, Judged
from gptjax.chat.filters.normal_form import NormalForm

REPLACEMENT = "[removed]"
_BEFORE = 64  # characters before the text that is not shown yet, which patterns may look back to


@dataclasses.dataclass(frozen=True)
class Hit:
    """What a stage found in a text: characters [start, end), and their category."""

    start: int
    end: int
    category: str | None


class Guard(abc.ABC):
    """One stage on a text that comes in pieces; each part that it returns is final."""

    @abc.abstractmethod
    def push(self, text: str) -> Judged:
        """Adds a piece; returns what may be shown now."""
        ...

    @abc.abstractmethod
    def finish(self) -> Judged:
        """What was held back; no more text comes."""
        ...


@dataclasses.dataclass(frozen=True)
class Stage(abc.ABC):
    """A named filter.

    Attributes:
      name: as decisions say it.
      where: "input", "output" or "both".
      action: what it does where it finds something. "redact" replaces it. "end" ends the text in
        front of it. "refuse" leaves nothing of the text. After the latter two an input gets no
        answer, and an output has no more text.
    """

    name: str
    where: str
    action: str

    @abc.abstractmethod
    def guard(self, where: str) -> Guard:
        """The stage on a new text, which comes in pieces."""
        ...

    def judge(self, text: str, where: str) -> Judged:
        """The stage on a whole text."""
        guard = self.guard(where)
        first = guard.push(text)
        last = Judged("") if first.stopped else guard.finish()
        stopped = first.stopped or last.stopped
        refused = stopped and self.action == REFUSE
        return Judged(
            "" if refused else first.text + last.text, first.decisions + last.decisions, stopped
        )

    def decision(self, where: str, category: str | None, score: float | None = None) -> Decision:
        """A decision of this stage."""
        return Decision(where, self.name, category, score, self.action)


@dataclasses.dataclass(frozen=True)
class SpanStage(Stage):
    """A stage that finds places.

    Attributes:
      replacement: what "redact" writes in their place.
    """

    replacement: str = dataclasses.field(default=REPLACEMENT, kw_only=True)

    @abc.abstractmethod
    def scan(self, text: str, start: int, last: bool) -> tuple[list[Hit], int]:
        """Finds the hits from character `start` on.

        Args:
          text: what is there of a text.
          start: hits that begin before are left out, though what stands there counts as context.
          last: whether the text ends here.

        Returns:
          The hits, in order, none over another, and up to which character they are settled: no hit
          begins before it that further text would make, make longer or undo.
        """
        ...

    def guard(self, where: str) -> Guard:
        return _SpanGuard(self, where)


class _SpanGuard(Guard):
    """Shows what is settled."""

    def __init__(self, stage: SpanStage, where: str):
        self._stage, self._where = stage, where
        self._before = self._held = ""

    def push(self, text: str) -> Judged:
        self._held += text
        return self._judged(last=False)

    def finish(self) -> Judged:
        return self._judged(last=True)

    def _judged(self, last: bool) -> Judged:
        stage, text, start = self._stage, self._before + self._held, len(self._before)
        hits, settled = stage.scan(text, start, last)
        shown, at, decisions = "", start, []
        for hit in hits:
            if hit.start >= settled:
                break
            shown += text[at : hit.start]
            decisions.append(stage.decision(self._where, hit.category))
            if stage.action != REDACT:
                left = shown if stage.action == END else ""
                return Judged(left, tuple(decisions), stopped=True)
            shown += stage.replacement
            at = hit.end
        end = max(at, settled)
        shown += text[at:end]
        self._before, self._held = text[max(0, end - _BEFORE) : end], text[end:]
        return Judged(shown, tuple(decisions))


@dataclasses.dataclass(frozen=True)
class Blocklist(SpanStage):
    """Words and phrases, found in the two forms of `NormalForm`, with look-alikes and without.

    Attributes:
      words: what is blocked, none of it empty in its normal form.
      category: of all of them; None: they have no name.
      whole_words: whether letters and digits beside a word make it another word.
    """

    words: Sequence[str] = ()
    category: str | None = None
    whole_words: bool = True

    def __post_init__(self):
        assert self._searches  # so that a missing package is told before there is a text

    @functools.cached_property
    def _searches(self) -> tuple[tuple[bool, re.Pattern[str], frozenset[str], int], ...]:
        """Of each form: the pattern of the words, their beginnings, and the longest's length."""
        made = []
        for look_alikes in (False, True):
            words = {NormalForm(word, look_alikes=look_alikes).text.strip() for word in self.words}
            longest = sorted(words, key=len, reverse=True)
            pattern = "|".join(map(re.escape, longest))
            if self.whole_words:
                pattern = rf"(?<!\w)(?:{pattern})(?!\w)"
            begun = frozenset(word[:size] for word in words for size in range(1, len(word) + 1))
            made.append((look_alikes, re.compile(pattern), begun, len(longest[0])))
        return tuple(made)

    def scan(self, text: str, start: int, last: bool) -> tuple[list[Hit], int]:
        found, settled = [], len(text)
        for look_alikes, pattern, begun, longest in self._searches:
            form = NormalForm(text, look_alikes=look_alikes)
            first = form.place(start)
            for match in pattern.finditer(form.text, first):
                found.append(Hit(*form.span(*match.span()), self.category))
            if last:
                continue
            size = len(form.text)
            for place in range(max(first, size - longest), size):
                if self._may_begin(form.text, place) and form.text[place:] in begun:
                    settled = min(settled, form.origin(place))
                    break
        return _apart(found), settled

    def _may_begin(self, text: str, place: int) -> bool:
        return not self.whole_words or place == 0 or not re.match(r"\w", text[place - 1])


@dataclasses.dataclass(frozen=True)
class Expressions(SpanStage):
    """Regular expressions, as the package regex has them (the extra `serve`).

    It says whether the end of a text may be the beginning of a match, which a stream holds back.

    Attributes:
      patterns: by category.
    """

    patterns: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        """Refuses (ValueError) what is no regular expression, or matches the empty text."""
        for category, pattern in self._compiled.items():
            if pattern.match(""):
                raise ValueError(
                    f"pattern {category!r}: got one that matches an empty text, expected one that "
                    "needs a character"
                )

    @functools.cached_property
    def _compiled(self) -> dict[str, Any]:
        regex, made = regex_module(), {}
        for category, pattern in self.patterns.items():
            try:
                made[category] = regex.compile(pattern)
            except regex.error as error:
                raise ValueError(
                    f"pattern {category!r}: got {error}, expected a regular expression"
                ) from None
        return made

    def scan(self, text: str, start: int, last: bool) -> tuple[list[Hit], int]:
        found, settled = [], len(text)
        for category, pattern in self._compiled.items():
            place = start
            while match := pattern.search(text, place, partial=not last):
                if not last and (match.partial or match.end() == len(text)):
                    settled = min(settled, match.start())
                    break
                if match.end() > match.start():
                    found.append(Hit(match.start(), match.end(), category))
                place = max(match.end(), match.start() + 1)
        return _apart(found), settled


def regex_module() -> Any:
    """The package regex; ValueError, which names the extra, where it is not installed."""
    try:
        return importlib.import_module("regex")
    except ImportError:
        raise ValueError(
            "regular expressions of filters need the package regex, which is not installed; "
            "expected the extra `serve` (pip install 'gptjax[serve]')"
        ) from None


def _apart(hits: list[Hit]) -> list[Hit]:
    """The hits in order, the longest of those that begin alike, less those that begin in others."""
    kept: list[Hit] = []
    for hit in sorted(hits, key=lambda each: (each.start, -each.end)):
        if not kept or hit.start >= kept[-1].end:
            kept.append(hit)
    return kept
