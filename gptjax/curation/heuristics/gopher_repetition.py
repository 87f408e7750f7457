"""Gopher's repetition rules (2112.11446, table A1), as three projects count them.

    GopherRepetition(variant="dolma").judge(text)

| figure | datatrove 0.10.1 | dolma 1.2.1, gopher_v1 | NeMo Curator 1.4.0 |
|---|---|---|---|
| repeated lines, paragraphs | without the first copy | with it; no paragraphs | without it |
| lines | at runs of line feeds | at each, empty ones too | at each, not blank |
| share of characters | of the text | of the text without white space | of the lines |
| top n-gram | its words and spaces, a count | its words, a count | as found in the text |
| repeated n-grams | none overlap; no spaces | all copies, of all n-grams | overlaps once; spaces |
| fewer than n words | 0 | 0 | 1 |

NeMo's thresholds .7 and .8 of lines are of what is left, and so the paper's .3 and .2. Of n-grams
that occur as often, the first in the text is the top one; NeMo's choice changes from run to run.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

from gptjax.curation.heuristics.gopher_quality import WORDS_SETTING
from gptjax.curation.heuristics.grams import Grams
from gptjax.curation.heuristics.page import Page
from gptjax.curation.heuristics.rules import RULES, Limit, LimitRules
from gptjax.curation.heuristics.words import Words
from gptjax.settings import setting

TOP_SIZES, REPEATED_SIZES, SIZES = range(2, 5), range(5, 11), range(2, 11)


def _most(share: float, what: str) -> float | None:
    return setting(share, f"share of {what}; none: off", low=0, high=1)


@RULES.register("gopher_repetition")
@dataclasses.dataclass(frozen=True)
class GopherRepetition(LimitRules):
    """Drops a document that repeats lines, paragraphs or n-grams of words."""

    name = "gopher_repetition"

    variant: str = setting(
        "datatrove", "whose way to count", choices=("datatrove", "dolma", "nemo")
    )
    words: str = setting("english", WORDS_SETTING, choices=("english", "spacy"))
    repeated_paragraphs: float | None = _most(0.30, "paragraphs that repeat one")
    repeated_paragraph_characters: float | None = _most(0.20, "characters in such paragraphs")
    repeated_lines: float | None = _most(0.30, "lines that repeat one")
    repeated_line_characters: float | None = _most(0.20, "characters in such lines")
    top_2_gram: float | None = _most(0.20, "characters in the most common 2-gram")
    top_3_gram: float | None = _most(0.18, "characters in the most common 3-gram")
    top_4_gram: float | None = _most(0.16, "characters in the most common 4-gram")
    repeated_5_grams: float | None = _most(0.15, "characters in repeated 5-grams")
    repeated_6_grams: float | None = _most(0.14, "characters in repeated 6-grams")
    repeated_7_grams: float | None = _most(0.13, "characters in repeated 7-grams")
    repeated_8_grams: float | None = _most(0.12, "characters in repeated 8-grams")
    repeated_9_grams: float | None = _most(0.11, "characters in repeated 9-grams")
    repeated_10_grams: float | None = _most(0.10, "characters in repeated 10-grams")

    def limits(self, page: Page) -> Iterator[Limit]:
        for kind, divided in (("paragraph", self._paragraphs(page)), ("line", self._lines(page))):
            found, characters = self._repeated(page, divided)
            rule, unit = f"repeated_{kind}s", f"of {kind}s repeat one"
            yield Limit(rule, found, unit, most=getattr(self, rule))
            rule, unit = f"repeated_{kind}_characters", f"of characters in repeated {kind}s"
            yield Limit(rule, characters, unit, most=getattr(self, rule))
        words = page.words(self.words if self.variant == "datatrove" else "white_space")
        grams = Grams(words, SIZES, spaces=self.variant != "datatrove")
        for n in TOP_SIZES:
            rule, unit = f"top_{n}_gram", f"of characters in one {n}-gram"
            most = getattr(self, rule)
            if most is not None and self._top_bound(page, words, grams, n) > most:
                yield Limit(rule, self.top(page, words, n), unit, most=most)
        for n in REPEATED_SIZES:
            rule, unit = f"repeated_{n}_grams", f"of characters in repeated {n}-grams"
            most = getattr(self, rule)
            if most is not None and self._repeated_bound(page, words, grams, n) > most:
                yield Limit(rule, self.repeated(page, grams, n), unit, most=most)

    def _paragraphs(self, page: Page) -> Sequence[str]:
        if self.variant == "dolma":
            return ()
        if self.variant == "nemo":
            return page.text.split("\n\n")
        pieces = (piece.lstrip("\n") for piece in page.text.strip().split("\n\n"))
        return [piece for piece in pieces if piece]

    def _lines(self, page: Page) -> Sequence[str]:
        if self.variant == "dolma":
            return page.lines
        if self.variant == "nemo":
            return [line for line in page.lines if line.strip()]
        first = [""] if page.text.startswith("\n") else []
        last = [""] if page.text.endswith("\n") else []
        return [*first, *filter(None, page.lines), *last]

    def _repeated(self, page: Page, divided: Sequence[str]) -> tuple[float, float]:
        """Shares of lines or paragraphs, and of characters, that are copies."""
        if len(set(divided)) == len(divided):
            return 0.0, 0.0
        occurrences = Counter(divided)
        first = 0 if self.variant == "dolma" else 1
        again = [(text, n - first) for text, n in occurrences.items() if n > 1]
        copies, characters = sum(n for _, n in again), sum(len(text) * n for text, n in again)
        return copies / len(divided), characters / max(self._whole(page, divided), 1)

    def _whole(self, page: Page, divided: Sequence[str]) -> int:
        if self.variant == "datatrove":
            return len(page.text)
        if self.variant == "dolma":
            return page.words("white_space").characters
        return sum(map(len, divided))

    def _top_bound(self, page: Page, words: Words, grams: Grams, n: int) -> float:
        """A figure that `top` is not above."""
        if self.variant == "nemo":
            return 1.0
        characters = words.characters if self.variant == "dolma" else len(page.text)
        spaces = 0 if self.variant == "dolma" else n - 1
        return grams.occurrences(n) * (n * words.longest + spaces) / max(characters, 1)

    def top(self, page: Page, words: Words, n: int) -> float:
        """Share of the characters that the most common n-gram has."""
        grams = Grams(words, [n], spaces=True)
        if not grams.number(n):
            return 1.0 if self.variant == "nemo" else 0.0
        place, occurrences = grams.top(n)
        if self.variant == "dolma":
            return occurrences * int(grams.lengths(n)[place]) / words.characters
        string = " ".join(words.strings(place, place + n))
        if self.variant == "nemo":
            occurrences = page.text.count(string)
        return occurrences * len(string) / len(page.text)

    def _repeated_bound(self, page: Page, words: Words, grams: Grams, n: int) -> float:
        """A figure that `repeated` is not above."""
        if self.variant == "dolma" or not grams.repeats(n):
            return self.repeated(page, grams, n)
        spaces = n if self.variant == "nemo" else 0
        return grams.repeats(n) * (n * words.longest + spaces) / len(page.text)

    def repeated(self, page: Page, grams: Grams, n: int) -> float:
        """Share of the characters that repeated n-grams have."""
        if not grams.number(n):
            return 1.0 if self.variant == "nemo" else 0.0
        if not grams.repeats(n):
            return 0.0
        if self.variant == "dolma":
            several, whole = grams.all_copies(n)
            return several / whole
        count = grams.overlapping(n) if self.variant == "nemo" else grams.greedy(n)
        return count / len(page.text)
