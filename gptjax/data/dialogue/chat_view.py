r"""Examples as a person reads them, each line saying whether it is learned.

    batch = rows.batch(np.array([7]))
    print(show_row(tokenizer, {name: array[0] for name, array in batch.items()}, number=7))

        row 7, part 0: 9 tokens, 2 learned
          <|user|>copy: fox jar<|endofturn|><|assistant|>
        + fox jar<|endofturn|>

Lines that begin with "+" are learned; on a terminal they may be green, and the others dim. What
only spells a mark, as anybody may write it, has a backslash before it: "\<|user|>".
"""

import itertools
from collections.abc import Mapping

import numpy as np

from gptjax.tokenization import Tokenizer

_GREEN, _DIM, _PLAIN = "\x1b[32m", "\x1b[2m", "\x1b[0m"


def show_tokens(
    tokenizer: Tokenizer, ids: np.ndarray, loss_mask: np.ndarray, colour: bool = False
) -> str:
    r"""Tokens as text, in lines that are learned ("+ ") and lines that are not.

    Args:
      tokenizer: whose ids they are.
      ids: [n] integers.
      loss_mask: [n], true where a token is learned.
      colour: whether to add a terminal's colours. Escape characters in the text itself are shown
        as "\x1b", so that no example can colour what follows.
    """
    lines = []
    for learned, run in itertools.groupby(
        zip(ids.tolist(), loss_mask.astype(bool).tolist(), strict=True), key=lambda pair: pair[1]
    ):
        text = _with_marks(tokenizer, [index for index, _ in run]).replace("\x1b", "\\x1b")
        for line in text.split("\n"):
            shown = f"{'+' if learned else ' '} {line}".rstrip(" ")
            lines.append(f"{_GREEN if learned else _DIM}{shown}{_PLAIN}" if colour else shown)
    return "\n".join(lines)


def _with_marks(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The text of tokens, in which the tokenizer's own marks differ from text that spells them."""
    names, parts = tokenizer.special_tokens, []
    marks = {index: name for name, index in names.items()}
    for is_mark, run in itertools.groupby(ids, key=marks.__contains__):
        if is_mark:
            parts += [marks[index] for index in run]
        else:
            text = tokenizer.decode(list(run))
            for name in names:
                text = text.replace(name, f"\\{name}")
            parts.append(text)
    return "".join(parts)


def show_row(
    tokenizer: Tokenizer, row: Mapping[str, np.ndarray], number: int, colour: bool = False
) -> str:
    """One row of a batch, segment by segment, without its padding.

    Args:
      tokenizer: whose ids they are.
      row: tokens, targets, loss_weights, segment_ids: [T]. A segment is a conversation, or a
        document or window of text.
      number: what the row is called.
      colour: see `show_tokens`.
    """
    parts = []
    segment_ids = row["segment_ids"]
    for segment in np.unique(segment_ids[segment_ids >= 0]):
        here = segment_ids == segment
        ids = np.append(row["tokens"][here][:1], row["targets"][here])
        mask = np.append(False, row["loss_weights"][here] > 0)
        heading = f"row {number}, part {segment}: {len(ids)} tokens, {mask.sum()} learned"
        parts.append(f"{heading}\n{show_tokens(tokenizer, ids, mask, colour)}")
    return "\n".join(parts)
