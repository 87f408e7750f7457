"""What happens to one document before it is compared with others: repair, rules, language.

sieve = Sieve(config, "web")
sieve.judge(document)       # the document as it goes on, or why it is dropped
"""

import dataclasses
from collections import Counter

from gptjax.curation.document import Document, Dropped
from gptjax.curation.heuristics import RULES, RuleSet, apply_rules
from gptjax.curation.language import LanguageFilter
from gptjax.curation.normalise import normalise
from gptjax.curation.pipeline.configuration import PrepareConfig
from gptjax.registry import unknown_name
from gptjax.settings import validate

EMPTY = Dropped("reading.empty", "0 characters, expected at least one")


class Sieve:
    """The stages that look at one document alone, as the configuration has them for a source."""

    def __init__(self, config: PrepareConfig, source: str):
        """`source`: a name in `config.sources`."""
        sifts = config.sources[source].heuristics
        self._normalises = config.normalise
        self._rules = rule_sets(config) if sifts else []
        language = config.language
        self._language = None
        if sifts and language.accept:
            self._language = LanguageFilter(language.accept, language.threshold)
        self.removed_lines: Counter[str] = Counter()

    def judge(self, document: Document) -> Document | Dropped:
        """The document as it goes on, or why it does not."""
        text = normalise(document.text) if self._normalises else document.text
        if not text.strip():
            return EMPTY
        if self._rules:
            outcome = apply_rules(text, self._rules)
            self.removed_lines += outcome.removed
            if outcome.dropped is not None:
                return outcome.dropped
            text = outcome.text
            if not text.strip():
                return EMPTY
        if self._language is not None:
            dropped = self._language.judge(text)
            if dropped is not None:
                return dropped
        return dataclasses.replace(document, text=text)


def rule_sets(config: PrepareConfig) -> list[RuleSet]:
    """The rule sets of a configuration, in its order.

    Raises:
      ValueError: there is no such rule set or threshold, or a threshold is out of range.
    """
    made = []
    for name, options in config.heuristics.items():
        kind = RULES.get(name)
        fields = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore
        for option in options or {}:
            if option not in fields:
                at = f"heuristics.{name}."
                raise unknown_name("threshold", at + option, [at + field for field in fields])
        made.append(kind(**(options or {})))
        validate(made[-1], f"heuristics.{name}.")
    return made
