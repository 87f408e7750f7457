r"""Lines and paragraphs of texts, their hashes, and texts without some of them.

    found = pieces(["A line.\nAnother.\n"], "line")
    without("A line.\nAnother.\n", found.spans[[0]])     # "Another.\n"

A line ends with a line feed; a paragraph is lines that no blank line parts. Either counts by what
stands between the white space at its ends, and not at all where that is nothing.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from gptjax.curation.text_hashes import TextHashes, hash_segments, is_space

Unit = Literal["line", "paragraph"]
_LINE_FEED = ord("\n")


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Pieces of several texts.

    Attributes:
      hashes: of the pieces of each text.
      spans: int64 [pieces, 2], characters of its text, the line feed behind it included.
    """

    hashes: TextHashes
    spans: np.ndarray


def pieces(texts: Sequence[str], unit: Unit, shortest: int = 1) -> Pieces:
    """The lines or paragraphs of texts that have `shortest` characters or more."""
    characters = np.concatenate([np.zeros(0, np.uint8), *map(_characters, texts)])
    bounds = np.cumsum([0, *(len(text) + 1 for text in texts)])
    ends = np.flatnonzero(characters == _LINE_FEED) + 1
    starts = np.concatenate([[0], ends[:-1]])[: len(ends)]
    inside = np.flatnonzero(~is_space(characters))
    before, behind = np.searchsorted(inside, starts), np.searchsorted(inside, ends)
    filled = behind > before
    if unit == "paragraph":
        new = np.isin(starts, bounds) | np.concatenate([[True], ~filled[:-1]])[: len(ends)]
        opens = np.flatnonzero(filled & new)
        # A paragraph goes on to the blank line or the text that comes next.
        breaks = np.append(np.flatnonzero(~filled | np.isin(starts, bounds)), len(ends))
        closes = breaks[np.searchsorted(breaks, opens, side="right")] - 1
    else:
        opens = closes = np.flatnonzero(filled)
    first, last = inside[before[opens]], inside[behind[closes] - 1] + 1
    wanted = last - first >= shortest
    opens, closes, first, last = (a[wanted] for a in (opens, closes, first, last))
    offsets = np.searchsorted(starts[opens], bounds)
    hashes = TextHashes(hash_segments(characters + 1, first, last), offsets)
    lengths = np.diff(bounds) - 1
    owners = hashes.owners()
    spans = np.stack([starts[opens], ends[closes]], 1) - bounds[owners][:, None]
    return Pieces(hashes, np.minimum(spans, lengths[owners][:, None]))


def without(text: str, spans: np.ndarray) -> str:
    """The text without some spans of it: int64 [spans, 2], in order."""
    edges = [0, *spans.ravel().tolist(), len(text)]
    return "".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))


def _characters(text: str) -> np.ndarray:
    if text.isascii():
        return np.frombuffer(f"{text}\n".encode(), np.uint8)
    return np.frombuffer(f"{text}\n".encode("utf-32-le", "surrogatepass"), np.uint32)
