"""Gopher's quality rules (2112.11446, appendix A1.1), as three projects count them.

    GopherQuality(variant="datatrove").judge(text)

| figure | datatrove 0.10.1 | dolma 1.2.1, gopher_v1 | NeMo Curator 1.4.0 |
|---|---|---|---|
| words | spaCy's, without symbols | at white space | at white space |
| length of a word | mean, without symbols | median | mean |
| symbols a word | "#", or "..." and "…" | words that have # or … | ellipses; # alone |
| bullets | • - after white space | * - | 12 round ones, after white space |
| lines | `splitlines` | at line feeds | at line feeds, not blank |
| line ends in ellipsis | ... … before white space | … | eight ways, "read more" too |
| stop words | different ones | occurrences | occurrences |

Shares of words are of all words in each; NeMo's of lines are of those that are not blank. The
thresholds are the paper's and the same in each.
"""

import dataclasses
import re
from collections.abc import Iterator

import numpy as np

from gptjax.curation.heuristics.characters import ALPHABETIC, MARK
from gptjax.curation.heuristics.page import Page
from gptjax.curation.heuristics.rules import RULES, Limit, LimitRules, share
from gptjax.curation.heuristics.words import Words
from gptjax.settings import setting

_HASHES = re.compile("#+")
_NEMO_BULLETS = tuple("•‣⁃⁌⁍∙○●◘◦⦾⦿")
_NEMO_ELLIPSES = ("...", "[...]", "…", "(...)", "[…]", "-»", "read more..", "read more")
WORDS_SETTING = "words of the variant datatrove: spacy, which it has, or english, without spaCy"


@dataclasses.dataclass(frozen=True)
class QualityFigures:
    """What the rules look at.

    Attributes:
      words: number of words, as they are counted for the length of a document.
      word_length: mean or median, characters.
      symbols: hash signs or ellipses, whichever are more, a word.
      bullet_lines, ellipsis_lines: shares of lines that begin with one, that end with one.
      alphabetic: share of words with a letter.
      stop_words: of `STOP_WORDS`, different ones or occurrences.
    """

    words: int
    word_length: float
    symbols: float
    bullet_lines: float
    ellipsis_lines: float
    alphabetic: float
    stop_words: int


@RULES.register("gopher_quality")
@dataclasses.dataclass(frozen=True)
class GopherQuality(LimitRules):
    """Drops a document by its number of words, their length, symbols, bullets and stop words."""

    name = "gopher_quality"

    variant: str = setting(
        "datatrove", "whose way to count", choices=("datatrove", "dolma", "nemo")
    )
    words: str = setting("english", WORDS_SETTING, choices=("english", "spacy"))
    least_words: int | None = setting(50, "words of a document; none: off", low=0)
    most_words: int | None = setting(100_000, "words of a document; none: off", low=0)
    least_word_length: float | None = setting(3.0, "characters of a word; none: off", low=0)
    most_word_length: float | None = setting(10.0, "characters of a word; none: off", low=0)
    most_symbols: float | None = setting(0.1, "hashes or ellipses a word; none: off", low=0)
    most_bullet_lines: float | None = setting(
        0.9, "share of lines that begin with a bullet; none: off", low=0, high=1
    )
    most_ellipsis_lines: float | None = setting(
        0.3, "share of lines that end with an ellipsis; none: off", low=0, high=1
    )
    least_alphabetic: float | None = setting(
        0.8, "share of words with a letter; none: off", low=0, high=1
    )
    least_stop_words: int | None = setting(
        2, "of the, be, to, of, and, that, have, with; none: off", low=0
    )

    def limits(self, page: Page) -> Iterator[Limit]:
        figures = self.figures(page)
        yield Limit("too_few_words", figures.words, "words", least=self.least_words)
        yield Limit("too_many_words", figures.words, "words", most=self.most_words)
        length, unit = figures.word_length, "characters a word"
        yield Limit("short_words", length, unit, least=self.least_word_length)
        yield Limit("long_words", length, unit, most=self.most_word_length)
        yield Limit("symbols", figures.symbols, "symbols a word", most=self.most_symbols)
        lines, unit = figures.bullet_lines, "of lines begin with a bullet"
        yield Limit("bullet_lines", lines, unit, most=self.most_bullet_lines)
        lines, unit = figures.ellipsis_lines, "of lines end with an ellipsis"
        yield Limit("ellipsis_lines", lines, unit, most=self.most_ellipsis_lines)
        share_of, unit = figures.alphabetic, "of words have a letter"
        yield Limit("not_alphabetic", share_of, unit, least=self.least_alphabetic)
        found, unit = figures.stop_words, "stop words"
        yield Limit("few_stop_words", found, unit, least=self.least_stop_words)

    def figures(self, page: Page) -> QualityFigures:
        """The figures of a text, as the variant counts them; those of no words are 0."""
        if self.variant == "datatrove":
            return _datatrove(page, page.words(self.words))
        words = page.words("white_space")
        return _dolma(page, words) if self.variant == "dolma" else _nemo(page, words)


def _datatrove(page: Page, words: Words) -> QualityFigures:
    text, lines = page.text, page.any_lines
    number, plain = max(len(words), 1), words.plain.size
    ellipses = text.count("...") + text.count("…")
    return QualityFigures(
        words=plain,
        word_length=int(words.plain.sum()) / max(plain, 1),
        symbols=max(text.count("#"), ellipses) / number,
        bullet_lines=share((line.lstrip().startswith(("•", "-")) for line in lines), len(lines)),
        ellipsis_lines=_ending(lines, ("...", "…")) if ellipses else 0.0,
        alphabetic=words.having(ALPHABETIC) / number,
        stop_words=int(np.count_nonzero(words.stop_words())),
    )


def _dolma(page: Page, words: Words) -> QualityFigures:
    lines, number = page.lines, max(len(words), 1)
    return QualityFigures(
        words=len(words),
        word_length=float(np.median(words.lengths)) if len(words) else 0.0,
        symbols=words.having(MARK) / number,
        bullet_lines=share((line.startswith(("*", "-")) for line in lines), len(lines)),
        ellipsis_lines=share((line.endswith("…") for line in lines), len(lines)),
        alphabetic=words.having(ALPHABETIC) / number,
        stop_words=int(words.stop_words().sum()),
    )


def _nemo(page: Page, words: Words) -> QualityFigures:
    lines, number = [line for line in page.lines if line.strip()], max(len(words), 1)
    bullets = (line.strip().startswith(_NEMO_BULLETS) for line in lines)
    return QualityFigures(
        words=len(words),
        word_length=words.characters / number,
        symbols=share(map(_is_nemo_symbol, words.strings(0, len(words))), len(words)),
        bullet_lines=share(bullets, len(lines)),
        ellipsis_lines=_ending([line.lower() for line in lines], _NEMO_ELLIPSES),
        alphabetic=words.having(ALPHABETIC) / number,
        stop_words=int(words.stop_words().sum()),
    )


def _is_nemo_symbol(word: str) -> bool:
    return word in _NEMO_ELLIPSES or 2 * len(_HASHES.findall(word)) > len(word)


def _ending(lines: list[str], ends: tuple[str, ...]) -> float:
    return share((line.rstrip().endswith(ends) for line in lines), len(lines))
