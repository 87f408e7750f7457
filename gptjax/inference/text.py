"""Between text and a generator's tokens: prompts, and text that is shown as it comes.

tokens = encode_prompt(tokenizer, "The")
stream = TextStream(tokenizer)
print(stream.push(tokens), stream.push(new_tokens), stream.finish())
"""

import numpy as np

from gptjax.tokenization import Tokenizer

_REPLACEMENT = "\ufffd"
_LONGEST_CHARACTER = 4  # bytes in UTF-8


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


class TextStream:
    """Text of tokens that come a few at a time, whole characters only.

    A token may end inside a character. Such bytes decode to U+FFFD, at most one for each, so a
    few U+FFFD at the end are kept back until more tokens settle what they are. End-of-text is
    not shown.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._shown = 0

    def push(self, tokens: np.ndarray) -> str:
        """Adds tokens [n]; returns the text that is new and will not change."""
        end = self._tokenizer.end_of_text
        self._tokens += [token for token in tokens.tolist() if token != end]
        text = self._tokenizer.decode(self._tokens)
        settled = text.rstrip(_REPLACEMENT)
        unsettled = min(len(text) - len(settled), _LONGEST_CHARACTER - 1)
        return self._show(text[: len(text) - unsettled])

    def finish(self) -> str:
        """The text that was kept back; no more tokens come."""
        return self._show(self._tokenizer.decode(self._tokens))

    def _show(self, text: str) -> str:
        new = text[self._shown :]
        self._shown = max(self._shown, len(text))
        return new
