r"""A text with its lines, paragraphs and words, each divided once, whatever number of rules asks.

page = Page("First line.\n\nSecond paragraph.")
page.lines          # ["First line.", "", "Second paragraph."]
page.words("english")
"""

import functools

from gptjax.curation.heuristics.dividing import WORDS
from gptjax.curation.heuristics.words import Words


class Page:
    """One text that rules look at."""

    def __init__(self, text: str):
        """`text`: of the document."""
        self.text = text
        self._words: dict[str, Words] = {}

    @functools.cached_property
    def lines(self) -> list[str]:
        """Between line feeds, empty ones too."""
        return self.text.split("\n")

    @functools.cached_property
    def any_lines(self) -> list[str]:
        """As `str.splitlines` has them: carriage returns and others end lines too."""
        return self.text.splitlines()

    def words(self, name: str) -> Words:
        """Words by one of the ways of `WORDS`."""
        if name not in self._words:
            self._words[name] = WORDS[name](self.text)
        return self._words[name]


def page_of(text: str | Page) -> Page:
    """A page as it is; a text as a new page."""
    return text if isinstance(text, Page) else Page(text)
