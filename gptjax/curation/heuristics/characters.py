"""Classes of characters, by code point: what the rules ask of the characters of a word.

bits = CLASSES[code_points("Well, #1!")]
bits & ALPHABETIC
"""

import unicodedata

import numpy as np

SPACE, INNER, ALPHABETIC, PLAIN, MARK, DIGIT, APOSTROPHE, JOINING = (1 << bit for bit in range(8))
"""White space; part of a word; a letter; none of datatrove's symbols; # or …; digits; ' or ’; what
joins digits: . , :"""

# datatrove 0.10.1, utils/text.py, PUNCTUATION: a word of nothing else is a symbol.
SYMBOLS = frozenset(
    "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
).union(map(chr, (*range(9), 11, 12, *range(13, 32), *range(127, 160))))

# Unicode's property Sentence_Terminal with three Khmer marks, as datatrove 0.10.1 has it in
# TERMINAL_PUNCTUATION and, but for the newest scripts, spaCy in its sentencizer: code points.
_SPANS = (
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 "
    "166e 1735-1736 17d4-17d6 17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f "
    "1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 2e2e 2e3c 2e53-2e54 3002 a4ff "
    "a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe52 "
    "fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 "
    "110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 "
    "1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 1173c-1173e 11944 11946 11a42-11a43 "
    "11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 16b37-16b38 16b44 "
    "16e98 1bc9f 1da88"
)
TERMINAL = frozenset(
    chr(code)
    for span in _SPANS.split()
    for code in range(int(span.partition("-")[0], 16), int(span.rpartition("-")[2], 16) + 1)
)


def code_points(text: str) -> np.ndarray:
    """Code points of a text, uint32 [characters]."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), np.uint32)


def class_of(character: str) -> int:
    """Bits of one character."""
    category = unicodedata.category(character)
    bits = PLAIN if character not in SYMBOLS and not character.isspace() else 0
    bits |= SPACE if character.isspace() else 0
    bits |= INNER if category[0] in "LMN" or character == "_" else 0
    bits |= ALPHABETIC if character.isalpha() else 0
    bits |= MARK if character in "#…" else 0
    bits |= DIGIT if category == "Nd" else 0
    bits |= APOSTROPHE if character in "'’" else 0
    bits |= JOINING if character in ".,:" else 0
    return bits


_made = np.zeros(0x1100, bool)  # pages of 256 code points
_classes = np.zeros(0x110000, np.uint8)


def classes(codes: np.ndarray) -> np.ndarray:
    """Bits of code points, uint8; those of a page of 256 are found when the first is met."""
    pages = codes >> 8
    if not _made[pages].all():
        for page in set(pages.tolist()):
            if not _made[page]:
                first = page << 8
                _classes[first : first + 256] = [class_of(chr(first + i)) for i in range(256)]
                _made[page] = True
    return _classes[codes]
