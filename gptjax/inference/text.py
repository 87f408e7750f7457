r"""Conversion between text and a generator's tokens: prompts, and text shown as it comes.

tokens = encode_prompt(tokenizer, "The")      # as `Generator` does of a text
stream = TextStream(tokenizer, stop=("\n\n",))
print(stream.push(tokens), stream.push(new_tokens), stream.finish())
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gptjax.tokenization import Tokenizer

_REPLACEMENT = "\ufffd"
_LONGEST_CHARACTER = 4  # bytes in UTF-8
_WINDOW, _OVERLAP = 32, 8  # tokens that are decoded again with each new one, at most and least


def encode_prompt(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The tokens [n] int32 of a prompt; an empty one is end-of-text, where documents start.

    Raises:
      ValueError: an empty prompt for a tokenizer without end-of-text, or a lone surrogate.
    """
    tokens = tokenizer.encode(text)
    if tokens.size:
        return tokens
    if tokenizer.end_of_text is None:
        raise ValueError("prompt: got none, expected text: this tokenizer has no end-of-text")
    return np.array([tokenizer.end_of_text], np.int32)


class GrowingText:
    """The text of tokens that come a few at a time; each costs the same, however long the text.

    What is decoded begins some tokens back, so that it joins as it would in the whole.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._past, self._known = "", 0  # text up to the window, and of it the window's beginning

    def add(self, tokens: Sequence[int]) -> str:
        """All text after `tokens` more, as decoding all of them at once gives it."""
        self._window += tokens
        text = self._tokenizer.decode(self._window)
        whole = self._past + text[self._known :]
        if len(self._window) >= _WINDOW and not text.endswith(_REPLACEMENT):
            last = self._window[-_OVERLAP:]
            known = self._tokenizer.decode(last)
            if text.endswith(known):  # it does not where a character or a word is cut
                self._past, self._window, self._known = whole, last, len(known)
        return whole


class TextStream:
    """Text of tokens that come a few at a time, whole characters only, up to a stop string.

    A token may end inside a character. Such bytes decode to U+FFFD, at most one for each, so a
    few U+FFFD at the end are kept back until more tokens settle what they are; so is what may be
    the start of a stop string. End-of-text, the stop token and stop strings are not shown.

    Attributes:
      stopped: whether a stop string came.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop: Sequence[str] = (), stop_token: int | None = None
    ):
        """A stream without text.

        Args:
          tokenizer: that the tokens are of.
          stop: strings, none of them empty, any of which ends the text.
          stop_token: the token that ends it, if any besides end-of-text does.
        """
        self._unseen = {tokenizer.end_of_text, stop_token}
        self._stop = tuple(stop)
        self._text = GrowingText(tokenizer)
        self._shown = 0
        self.stopped = False

    def push(self, tokens: np.ndarray) -> str:
        """Adds tokens [n]; returns the text that is new and will not change."""
        text = self._text.add([token for token in tokens.tolist() if token not in self._unseen])
        settled = text.rstrip(_REPLACEMENT)
        unsettled = min(len(text) - len(settled), _LONGEST_CHARACTER - 1)
        return self._show(text[: len(text) - unsettled])

    def finish(self) -> str:
        """The text that was kept back; no more tokens come."""
        return self._show(self._text.add([]), last=True)

    def _show(self, text: str, last: bool = False) -> str:
        if self.stopped:
            return ""
        ends = [at for at in (text.find(stop, self._since(stop)) for stop in self._stop) if at >= 0]
        if ends:
            self.stopped = True
            text = text[: min(ends)]
        elif not last:
            text = text[: len(text) - self._begun(text)]
        new = text[self._shown :]
        self._shown = max(self._shown, len(text))
        return new

    def _since(self, stop: str) -> int:
        """First place where a stop string may start; text that is shown holds no part of one."""
        return max(0, self._shown - len(stop) + 1)

    def _begun(self, text: str) -> int:
        """Number of characters at the end of `text` that may be the start of a stop string."""
        longest = max(map(len, self._stop), default=1) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stop):
                return size
        return 0


def whole_text(
    tokenizer: Tokenizer,
    tokens: np.ndarray,
    stop: Sequence[str] = (),
    stop_token: int | None = None,
) -> str:
    """The text of tokens [n] that are all there, as a `TextStream` shows it."""
    stream = TextStream(tokenizer, stop, stop_token)
    return stream.push(tokens) + stream.finish()


@dataclasses.dataclass(frozen=True)
class StopStrings:
    """Strings that end a text; equal ones share a compiled search."""

    tokenizer: Tokenizer | None
    strings: tuple[str, ...]

    def __call__(self, tokens: np.ndarray, lengths: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Whether one is in the `count` new tokens of each text [B, n, S]: bool [B, n]."""
        assert self.tokenizer is not None
        found = np.zeros(tokens.shape[:2], bool)
        for row, beam in np.ndindex(*found.shape):
            new = np.asarray(tokens)[row, beam, lengths[row] : lengths[row] + count]
            text = self.tokenizer.decode(new)
            found[row, beam] = any(string in text for string in self.strings)
        return found
