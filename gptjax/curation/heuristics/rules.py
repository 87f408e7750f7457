"""Rule sets by name, and what they have in common: thresholds, a variant, a verdict.

    @RULES.register("gopher_quality")
    @dataclasses.dataclass(frozen=True)
    class GopherQuality(LimitRules): ...

    RULES.get("gopher_quality")(variant="dolma", least_words=None).judge(text)

A rule set is a frozen dataclass whose fields are thresholds; at None the rule is off. Projects
that carry out the same paper count differently, and `variant` names whose way is meant.
"""

import abc
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from gptjax.curation.document import Dropped
from gptjax.curation.heuristics.page import Page, page_of
from gptjax.registry import Registry
from gptjax.settings import validate


@dataclasses.dataclass(frozen=True)
class Limit:
    """A figure of a text and the threshold that it must keep.

    Attributes:
      rule: its name in the rule set: "too_few_words".
      value: of the text.
      unit: what the value counts: "words".
      least, most: least <= value <= most; None: no bound.
      strictly: whether the bounds themselves are out.
    """

    rule: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None
    strictly: bool = False

    def broken(self) -> bool:
        """Whether the value is out of bounds."""
        if self.strictly and self.value in (self.least, self.most):
            return True
        return (self.least is not None and self.value < self.least) or (
            self.most is not None and self.value > self.most
        )

    def detail(self) -> str:
        """The figure for people: "12 words, expected at least 50"."""
        if self.strictly:
            bound = f"above {self.least:g}" if self.least is not None else f"below {self.most:g}"
        else:
            bound = (
                f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"
            )
        return f"{self.value:.6g} {self.unit}, expected {bound}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is left of a text.

    Attributes:
      text: as it goes on; it was changed where lines were removed.
      dropped: why the document ends here; None: it goes on.
      removed: lines that were removed, by the rule: {"c4.no_terminal_punctuation": 3}.
    """

    text: str
    dropped: Dropped | None
    removed: Counter[str] = dataclasses.field(default_factory=Counter)


class RuleSet(abc.ABC):
    """Rules that judge a text; a subclass is a frozen dataclass of their thresholds."""

    name: ClassVar[str]

    def __post_init__(self):
        validate(self, f"{self.name}.")

    @abc.abstractmethod
    def judge(self, text: str | Page) -> Dropped | None:
        """Why a document with this text is dropped: the first rule that it breaks; else None."""
        ...

    def apply(self, page: Page) -> Outcome:
        """Judges a page, and cleans it where the rule set removes lines."""
        return Outcome(page.text, self.judge(page))

    def dropped(self, rule: str, detail: str) -> Dropped:
        """A verdict of one of the rules."""
        return Dropped(f"{self.name}.{rule}", detail)


class LimitRules(RuleSet):
    """Rules each of which is a figure of the text and its limits."""

    @abc.abstractmethod
    def limits(self, page: Page) -> Iterator[Limit]:
        """The figures of a text with their thresholds, in the order in which they are looked at.

        It is read no further than the first that is broken.
        """
        ...

    def judge(self, text: str | Page) -> Dropped | None:
        for limit in self.limits(page_of(text)):
            if limit.broken():
                return self.dropped(limit.rule, limit.detail())
        return None


RULES: Registry[type[RuleSet]] = Registry("rule set")


def apply_rules(text: str, rule_sets: Sequence[RuleSet]) -> Outcome:
    """Applies rule sets in order, up to the first that drops the document.

    Lines and words are found once for all of them, and anew only after lines were removed.

    Args:
      text: of a document.
      rule_sets: in the order in which they are applied.
    """
    page, removed = Page(text), Counter[str]()
    for rules in rule_sets:
        outcome = rules.apply(page)
        removed += outcome.removed
        if outcome.dropped is not None:
            return Outcome(outcome.text, outcome.dropped, removed)
        if outcome.text != page.text:
            page = Page(outcome.text)
    return Outcome(page.text, None, removed)


def share(matching: Iterable[object], total: int) -> float:
    """Part of `total` that is true; 0 of nothing."""
    return sum(map(bool, matching)) / total if total else 0.0
