"""Rules of C4 (1910.10683, section 2.2), which remove lines and drop documents, and of mC4.

    C4().apply(Page(text)).text      # the lines that are left

| | datatrove 0.10.1 | dolma 1.2.1, c4_v2 |
|---|---|---|
| a line ends with | . ? ! " ' but not ... | . ? ! " |
| a word above 1,000 characters | removes its line | stays |
| marks of citations | are cut out of a line | stay |
| javascript | removes its line | drops the document |
| phrases of policies | remove their line | stay |
| lorem ipsum, { | drop the document, found in a line that stays | found anywhere |
| sentences | at least 5 | any number |

dolma only marks lines and documents; here what is marked is removed. The list of bad words is in
neither: it is not ours to hand on. Sentences are counted as spaCy's sentencizer does, which differs
from the paper's code (nltk).
"""

import dataclasses
import heapq
import re
from collections import Counter
from collections.abc import Iterator
from unicodedata import category

from gptjax.curation.document import Dropped
from gptjax.curation.heuristics.characters import TERMINAL
from gptjax.curation.heuristics.dividing import WORDS
from gptjax.curation.heuristics.gopher_quality import WORDS_SETTING
from gptjax.curation.heuristics.page import Page, page_of
from gptjax.curation.heuristics.rules import RULES, Limit, LimitRules, Outcome, RuleSet
from gptjax.settings import setting

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_POLICIES = (
    *("terms of use", "privacy policy", "cookie policy"),
    *("uses cookies", "use of cookies", "use cookies"),
)


@RULES.register("c4")
@dataclasses.dataclass(frozen=True)
class C4(RuleSet):
    """Removes lines that are no prose, and drops documents that are code, filler or too short."""

    name = "c4"

    variant: str = setting("datatrove", "whose way to count", choices=("datatrove", "dolma"))
    words: str = setting("english", WORDS_SETTING, choices=("english", "spacy"))
    least_sentences: int | None = setting(5, "sentences of a document; none: off", low=0)
    least_line_words: int | None = setting(3, "words of a line; none: off", low=0)
    longest_word: int | None = setting(1000, "characters of a word; none: off", low=1)
    terminal_punctuation: bool = setting(True, "whether a line must end with a mark")
    citations: bool = setting(True, "whether [12], [edit] and [citation needed] are cut out")
    javascript: bool = setting(True, "whether the word counts against a line or a document")
    policies: bool = setting(True, "whether lines about cookies and terms of use are removed")
    lorem_ipsum: bool = setting(True, "whether a document with it is dropped")
    curly_bracket: bool = setting(True, "whether a document with { is dropped")

    def judge(self, text: str | Page) -> Dropped | None:
        return self.apply(page_of(text)).dropped

    def apply(self, page: Page) -> Outcome:
        """Removes lines; the outcome counts them by the rule."""
        outcome = (self._as_dolma if self.variant == "dolma" else self._as_datatrove)(page)
        named = {f"{self.name}.{rule}": count for rule, count in outcome.removed.items()}
        return dataclasses.replace(outcome, removed=Counter(named))

    def _as_datatrove(self, page: Page) -> Outcome:
        text, whole = page.text, page.text.lower()
        javascript = self.javascript and "javascript" in whole
        policies = self.policies and any(phrase in whole for phrase in _POLICIES)
        lorem = self.lorem_ipsum and "lorem ipsum" in whole
        citations = self.citations and "[" in text
        bracket = self.curly_bracket and "{" in text
        longest, least_words = self.longest_word, self.least_line_words or 0
        removed: Counter[str] = Counter()
        kept: list[str] = []
        for whole_line in page.any_lines:
            line = whole_line.strip()
            words = line.split(None, least_words) if least_words else ()
            if longest is not None and len(line) > longest and _longest_word(line) > longest:
                removed["long_word"] += 1
                continue
            if citations:
                line = _CITATION.sub("", line)
            if self.terminal_punctuation and (
                not line.endswith((".", "?", "!", '"', "'")) or line.endswith("...")
            ):
                removed["no_terminal_punctuation"] += 1
            elif len(words) < least_words:
                removed["few_words"] += 1
            elif lorem and "lorem ipsum" in line.lower():
                return Outcome(text, self.dropped("lorem_ipsum", "it is filler"), removed)
            elif javascript and "javascript" in line.lower():
                removed["javascript"] += 1
            elif bracket and "{" in line:
                return Outcome(text, self.dropped("curly_bracket", "it is code"), removed)
            elif policies and any(phrase in line.lower() for phrase in _POLICIES):
                removed["policy"] += 1
            else:
                kept.append(line)
        return Outcome("\n".join(kept).strip(), self._few_sentences(kept), removed)

    def _few_sentences(self, lines: list[str]) -> Dropped | None:
        least = self.least_sentences
        if least is None or len(lines) >= least:
            return None
        found = sum(sentences(line, self.words) for line in lines)
        limit = Limit("few_sentences", found, "sentences", least=least)
        return self.dropped(limit.rule, limit.detail()) if limit.broken() else None

    def _as_dolma(self, page: Page) -> Outcome:
        text, whole = page.text, page.text.lower()
        for wanted, mark, rule in (
            (self.curly_bracket, "{", "curly_bracket"),
            (self.lorem_ipsum, "lorem ipsum", "lorem_ipsum"),
            (self.javascript, "javascript", "javascript"),
        ):
            if wanted and mark in whole:
                return Outcome(text, self.dropped(rule, f"it has {mark!r}"))
        removed: Counter[str] = Counter()
        kept: list[str] = []
        for line in page.lines:
            bare, least_words = line.strip(), self.least_line_words or 0
            if self.terminal_punctuation and not bare.endswith((".", "?", "!", '"')):
                removed["no_terminal_punctuation"] += 1
            elif len(bare.split()) < least_words:
                removed["few_words"] += 1
            else:
                kept.append(line)
        left = "\n".join(kept)
        return Outcome(left, None if left else self.dropped("no_lines", "0 lines left"), removed)


@RULES.register("c4_paragraphs")
@dataclasses.dataclass(frozen=True)
class C4Paragraphs(LimitRules):
    """Drops a document that has not enough long lines, as mC4 does (2010.11934, section 3.1)."""

    name = "c4_paragraphs"

    least_paragraphs: int = setting(3, "lines that must be long", low=1)
    least_length: int | None = setting(200, "characters of a long line; none: off", low=0)

    def limits(self, page: Page) -> Iterator[Limit]:
        number = self.least_paragraphs
        lengths = heapq.nlargest(number, map(len, page.lines))
        shortest = lengths[-1] if len(lengths) == number else 0
        unit = f"characters in the longest line number {number}"
        yield Limit("few_paragraphs", shortest, unit, least=self.least_length)


def sentences(line: str, words: str) -> int:
    """Sentences of a line: each but the first begins with a word that comes after a final mark.

    Source: spaCy's sentencizer; punctuation behind a final mark belongs to its sentence.

    Args:
      line: of a text; an empty one is none.
      words: one of `WORDS`.
    """
    divided = WORDS[words](line)
    found, ended = min(len(divided), 1), False
    for word in divided.strings(0, len(divided)):
        if word in TERMINAL:
            ended = True
        elif ended and not all(category(character)[0] == "P" for character in word):
            found, ended = found + 1, False
    return found


def _longest_word(line: str) -> int:
    return max(map(len, line.split()), default=0)
