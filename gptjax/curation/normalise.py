r"""Repair of texts: characters decoded wrongly, entities, control characters, one form of Unicode.

    normalise("schÃ¶n &amp; gut\r\n")     # "schön & gut\n"

It is ftfy (Speer 2019), extra `curation`, but for what changes what an author wrote: quotation
marks, ligatures and full-width characters stay. Entities stay in a text with "<", from there on.
Text is in the composed form of Unicode (NFC), its lines end with a line feed.

ftfy takes a third of a second for a megabyte. Most texts have nothing that it would change, and
some searches say so, with the same result.
"""

import functools
import importlib
import re
import unicodedata
from collections.abc import Callable

_ODD = re.compile(
    "[\x00-\x08\x0b\x0d-\x1f\x7f-\x9f\u2028\u2029\u206a-\u206f\ud800-\udfff\ufeff\ufff9-\ufffc]"
)
_ENTITY = re.compile("&#?[0-9A-Za-z]{1,24};")
# What every sequence has that ftfy 6.3 takes for badly decoded: one of these beside another that
# is not ASCII, or one of four letters alone, or a word of Cyrillic.
_MARKS = "\x80-\u024f\u02b0-\u03ff\u0490\u0491\u2000-\u2bff\uf8ff\ufb00-\ufb06\ufffd"
_DOUBTFUL = re.compile(f"[{_MARKS}][^\x00-\x7f]|[^\x00-\x7f][{_MARKS}]|[ŒœÃÂ]|вЂ|ГўВЂВ")
_LEFT_CONTROLS = re.compile("[\x80-\x9f]")  # those that stand for nothing in Windows' Latin


def normalise(text: str) -> str:
    """Repairs a text; twice is the same as once.

    Raises:
      ValueError: ftfy is not installed.
    """
    is_bad, repaired = _ftfy()
    if "&" not in text or _ENTITY.search(text) is None:
        if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
            return text
        doubtful = _ODD.search(text) or (_DOUBTFUL.search(text) and is_bad(text))
        if not doubtful:
            return unicodedata.normalize("NFC", text)
    return _LEFT_CONTROLS.sub("", repaired(text))


@functools.cache
def _ftfy() -> tuple[Callable[[str], bool], Callable[[str], str]]:
    try:
        ftfy, badness = map(importlib.import_module, ("ftfy", "ftfy.badness"))
    except ImportError:
        raise ValueError(
            "repair of texts needs the package ftfy, which is not installed; expected the extra "
            "`curation` (pip install 'gptjax[curation]')"
        ) from None
    config = ftfy.TextFixerConfig(
        fix_latin_ligatures=False, fix_character_width=False, uncurl_quotes=False, explain=False
    )
    return badness.is_bad, functools.partial(ftfy.fix_text, config=config)
