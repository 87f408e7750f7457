"""Forms of a text in which a word is found however it is written, with the way back to the text.

    form = NormalForm("Ｂａｄ  wоrd", look_alikes=True)
    form.text              # "bad word"
    form.span(0, 3)        # (0, 3): characters of the original

Each character is decomposed (NFKD: full-width and mathematical letters, ligatures), loses accents
and what is not seen (Unicode's category Cf, such as zero-width spaces and soft hyphens), and is
case-folded. White space counts as one space. With `look_alikes` a character that is not ASCII
becomes the ASCII letter or digit that it can be confused with, by Unicode's table of confusables
(UTS 39), as the package confusable-homoglyphs has it (the extra `serve`).

Marks of scripts in which they are letters, such as those of Devanagari and Thai, are kept.
"""

import bisect
import functools
import importlib
import unicodedata
from collections.abc import Mapping

_OVERLAY, _ATTACHED = 1, 200  # canonical combining classes: strokes through, accents from here on


class NormalForm:
    """A normal form of a text.

    Attributes:
      text: the form.
      original: the text.
    """

    def __init__(self, original: str, *, look_alikes: bool):
        """Computes the form; ValueError where `look_alikes` lacks its package."""
        self.original = original
        parts: list[str] = []
        self._origin: list[int] = []  # of each character of the form
        for place, character in enumerate(original):
            part = _normal(character, look_alikes)
            if part == " " and parts and parts[-1] == " ":
                part = ""
            if part:
                parts.append(part)
                self._origin += [place] * len(part)
        self.text = "".join(parts)

    def origin(self, place: int) -> int:
        """The character of the original that character `place` of the form is of."""
        return self._origin[place] if place < len(self._origin) else len(self.original)

    def place(self, origin: int) -> int:
        """The first character of the form that is of the original's character `origin` or later."""
        return bisect.bisect_left(self._origin, origin)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where characters [start, end) of the form are in the original.

        The span also has what follows there that the form leaves out, such as an accent.
        """
        last = self._origin[end - 1]
        return self._origin[start], self.origin(bisect.bisect_right(self._origin, last))


@functools.lru_cache(maxsize=1 << 14)
def _normal(character: str, look_alikes: bool) -> str:
    if character.isspace():
        return " "
    kept = "".join(one for one in unicodedata.normalize("NFKD", character) if not _is_dropped(one))
    if look_alikes:
        table = confusables()
        kept = "".join(table.get(one, one) for one in kept)
    folded = unicodedata.normalize("NFKD", kept.casefold())
    return "".join(one for one in folded if not _is_dropped(one)).strip()


def _is_dropped(character: str) -> bool:
    combining = unicodedata.combining(character)
    unseen = unicodedata.category(character) in ("Cf", "Me") or "\ufe00" <= character <= "\ufe0f"
    return combining == _OVERLAY or combining >= _ATTACHED or unseen


@functools.cache
def confusables() -> Mapping[str, str]:
    """Characters that are not ASCII, and the ASCII letter or digit that each looks like.

    Raises:
      ValueError: the package confusable-homoglyphs is not installed.
    """
    try:
        module = importlib.import_module("confusable_homoglyphs.confusables")
    except ImportError:
        raise ValueError(
            "blocklists need the package confusable-homoglyphs, which is not installed; expected "
            "the extra `serve` (pip install 'gptjax[serve]')"
        ) from None
    found: dict[str, str] = {}
    for character, alike in module.confusables_data.items():
        if len(character) == 1 and not character.isascii():
            plain = [x["c"] for x in alike if len(x["c"]) == 1 and x["c"].isascii()]
            best = next((one for one in plain if one.isalpha()), None)
            best = best or next((one for one in plain if one.isdigit()), None)
            if best is not None:
                found[character] = best
    return found
