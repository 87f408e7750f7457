"""Conversations packed into rows of one length, for the training loop.

    rows = pack(conversations, ChatTemplate(tokenizer), context_length=512)
    rows.batch(np.arange(8))["loss_weights"]   # 1 where an assistant's token is predicted

Which conversation lies in which row is computed once: any row is made directly from its number. A
conversation of n tokens takes n - 1 places, each token predicted from those before it in the same
conversation, and is never cut: a longer one is dropped, and counted.
"""

import bisect
import dataclasses
from collections.abc import Sequence

import numpy as np

from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.dialogue.chat_format import ChatTemplate, Conversation
from gptjax.data.dialogue.records import Records, log_dropped, sift


@dataclasses.dataclass(frozen=True)
class PackedRows:
    """Rows of whole conversations.

    Attributes:
      name: of the set.
      context_length: T, tokens a row.
      padding: the token that fills rows up.
      ids: tokens of all conversations, each one's after another's, [N] int32.
      loss_mask: which of them are learned, [N] bool.
      starts: where each conversation begins in them, and their end, [C + 1] int64.
      members: the conversations of each row, in order.
      dropped: conversations that were left out, by reason.
    """

    name: str
    context_length: int
    padding: int
    ids: np.ndarray
    loss_mask: np.ndarray
    starts: np.ndarray
    members: tuple[tuple[int, ...], ...]
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.members)

    @property
    def num_targets(self) -> int:
        """Tokens that are learned, in all rows."""
        return int(self.loss_mask.sum())

    @property
    def fill(self) -> float:
        """Share of the places that are not padding."""
        places = len(self.ids) - (len(self.starts) - 1)
        return places / (len(self) * self.context_length)

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Makes rows, given by number, in any order.

        Args:
          indices: which rows, [B] int64; rows past the last are all padding.

        Returns:
          tokens, targets: [B, T] int32; padding is the token `padding`.
          loss_weights: [B, T] float32, 1 where the target is learned, else 0.
          segment_ids: [B, T] int32, the conversations of a row counted from 0; -1 is padding.
          positions: [B, T] int32, from 0 in each conversation; 0 in padding.
        """

        def piece(member: int) -> tuple[np.ndarray, np.ndarray]:
            first, stop = self.starts[member : member + 2].tolist()
            return self.ids[first:stop], self.loss_mask[first + 1 : stop]

        rows = [
            [piece(member) for member in (self.members[index] if index < len(self) else ())]
            for index in indices.tolist()
        ]
        return packed_batch(rows, self.context_length, self.padding)


def packed_batch(
    rows: Sequence[Sequence[tuple[np.ndarray, np.ndarray | float]]],
    context_length: int,
    padding: int = 0,
) -> HostBatch:
    """The batch of rows of pieces, which are segments of their own.

    Args:
      rows: of each piece n + 1 tokens, and the weights [n] of its targets, or one for all of them.
      context_length: T, of which the pieces of a row have at most as many targets.
      padding: token behind the last piece.

    Returns:
      As of `PackedRows.batch`, [B, T].
    """
    shape = (len(rows), context_length)
    tokens, targets = (np.full(shape, padding, np.int32) for _ in range(2))
    loss_weights = np.zeros(shape, np.float32)
    segment_ids, positions = np.full(shape, -1, np.int32), np.zeros(shape, np.int32)
    for row, pieces in enumerate(rows):
        at = 0
        for segment, (ids, weights) in enumerate(pieces):
            here = slice(at, at + len(ids) - 1)
            tokens[row, here], targets[row, here] = ids[:-1], ids[1:]
            loss_weights[row, here] = weights
            segment_ids[row, here] = segment
            positions[row, here] = np.arange(len(ids) - 1)
            at = here.stop
    return {
        "tokens": tokens,
        "targets": targets,
        "loss_weights": loss_weights,
        "segment_ids": segment_ids,
        "positions": positions,
    }


def pack(
    conversations: Records[Conversation],
    template: ChatTemplate,
    context_length: int,
    *,
    seed: int = 0,
) -> PackedRows:
    """Encodes conversations and decides which go together.

    They are taken in an order drawn from `seed`, each into the fullest row that has room for it
    (best fit), and each row keeps them in that order.

    Args:
      conversations: what to pack.
      template: how they become tokens.
      context_length: T; conversations of more than T + 1 tokens are dropped.
      seed: of the order.

    Raises:
      ValueError: none is short enough.
    """
    reason = f"conversations longer than {context_length + 1} tokens"
    rendered = sift(
        conversations.name,
        (
            (pair, None if len(pair[0]) <= context_length + 1 else reason)
            for pair in map(template.render, conversations)
        ),
        conversations.dropped,
    )
    log_dropped(rendered, conversations.dropped)
    lengths = np.array([len(ids) for ids, _ in rendered], np.int64)
    return PackedRows(
        conversations.name,
        context_length,
        template.tokenizer.padding,
        np.concatenate([ids for ids, _ in rendered]),
        np.concatenate([mask for _, mask in rendered]),
        np.concatenate([[0], np.cumsum(lengths)]),
        best_fit(
            lengths - 1, context_length, np.random.default_rng(seed).permutation(len(lengths))
        ),
        dict(rendered.dropped),
    )


def best_fit(
    sizes: np.ndarray, capacity: int, order: Sequence[int] | np.ndarray
) -> tuple[tuple[int, ...], ...]:
    """Puts items into rows of one capacity, each into the fullest row that still has room.

    Args:
      sizes: of the items, [N], none above `capacity`.
      capacity: of a row.
      order: which item comes when, [N]; of equally full rows the earliest is taken.

    Returns:
      The items of each row.
    """
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (left, row), sorted
    for item in map(int, order):
        size = int(sizes[item])
        at = bisect.bisect_left(room, (size, -1))
        if at < len(room):
            left, row = room.pop(at)
        else:
            left, row = capacity, len(rows)
            rows.append([])
        rows[row].append(item)
        if left > size:
            bisect.insort(room, (left - size, row))
    return tuple(map(tuple, rows))
