"""The rules that FineWeb added (2406.17557, section 3.4).

    FineWeb().judge(text)

| | datatrove 0.10.1 | paper: datatrove when the data set was made |
|---|---|---|
| lines | not blank | all; those that repeat, not blank |
| final marks | Unicode's sentence terminals, no quotes | . ' " ! ? |
| at the threshold | kept | dropped; new lines kept |

The paper writes that 0.1 of the characters may be in repeated lines; the code that made the data
set has 0.01, and so have the defaults here.
"""

import dataclasses
from collections.abc import Iterator

from gptjax.curation.heuristics.characters import TERMINAL
from gptjax.curation.heuristics.gopher_quality import WORDS_SETTING
from gptjax.curation.heuristics.page import Page
from gptjax.curation.heuristics.rules import RULES, Limit, LimitRules, share
from gptjax.settings import setting

_TERMINAL = tuple(sorted(TERMINAL))
_PAPERS = (".", "'", '"', "!", "?")


@RULES.register("fineweb")
@dataclasses.dataclass(frozen=True)
class FineWeb(LimitRules):
    """Drops a document whose lines do not end, are short, repeat, or are too many for its words."""

    name = "fineweb"

    variant: str = setting("datatrove", "whose way to count", choices=("datatrove", "paper"))
    words: str = setting("english", WORDS_SETTING, choices=("english", "spacy"))
    least_ended_lines: float | None = setting(
        0.12, "share of lines that end with a final mark; none: off", low=0, high=1
    )
    most_short_lines: float | None = setting(
        0.67, "share of lines that are short; none: off", low=0, high=1
    )
    short_line: int = setting(30, "characters of the longest short line", low=0)
    most_repeated_characters: float | None = setting(
        0.01, "share of characters in lines that repeat one; none: off", low=0, high=1
    )
    most_line_feeds: float | None = setting(0.3, "line feeds a word; none: off", low=0)

    def limits(self, page: Page) -> Iterator[Limit]:
        paper = self.variant == "paper"
        written = [line for line in page.lines if line.strip()]
        lines = page.lines if paper else written
        if not written:
            yield Limit("empty", 0, "lines that are not blank", least=1)
        marks = _PAPERS if paper else _TERMINAL
        ended = share((line.endswith(marks) for line in lines), len(lines))
        unit = "of lines end with a final mark"
        yield Limit("unended_lines", ended, unit, least=self.least_ended_lines, strictly=paper)
        short = share((len(line) <= self.short_line for line in lines), len(lines))
        unit = f"of lines have {self.short_line} characters at most"
        yield Limit("short_lines", short, unit, most=self.most_short_lines, strictly=paper)
        characters = len(page.text) - page.text.count("\n")
        again = sum(map(len, written)) - sum(map(len, set(written)))
        share_again, unit = again / max(characters, 1), "of characters in repeated lines"
        most = self.most_repeated_characters
        yield Limit("repeated_lines", share_again, unit, most=most, strictly=paper)
        if self.most_line_feeds is not None:
            feeds = page.text.count("\n") / max(len(page.words(self.words)), 1)
            yield Limit("line_feeds", feeds, "line feeds a word", most=self.most_line_feeds)
