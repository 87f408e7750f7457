"""Prompts padded to batches, and the key-value cache of their tokens.

prompts = pad_prompts([first, second], max_new_tokens=20, config=model.config)
cache = Prefill(model)(params, prompts.tokens, prompts.lengths - 1)
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from gptjax.compiled import compiled
from gptjax.config import ModelConfig
from gptjax.inference import decoding
from gptjax.inference.requests import check_number, make_order
from gptjax.models.decoder import Decoder
from gptjax.models.transformer import Cache
from gptjax.pytrees import pytree

PIECE = 256  # tokens of a text that are fed at once
_SMALLEST = 16  # tokens in a piece of a prompt, and room for a text


@pytree
@dataclasses.dataclass(frozen=True)
class Prompts:
    """A batch of prompts; rows past the last one hold a text that may not grow.

    Attributes:
      tokens: int32 [B, S], prompts at the front of rows; B and S are powers of two, or S is the
        context length.
      lengths: int32 [B], tokens in each.
      limits: int32 [B], the length at which each text ends.
      images: as of `padded_images`.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    limits: np.ndarray
    images: np.ndarray | None = None


def pad_prompts(
    prompts: Sequence[np.ndarray],
    max_new_tokens: int | None,
    config: ModelConfig,
    images: Sequence[np.ndarray | None] | None = None,
) -> Prompts:
    """A batch of prompts [n], each with room for `max_new_tokens`, or all that fit.

    Args:
      prompts: token ids.
      max_new_tokens: None: all that fit.
      config: of the model, resolved.
      images: [N, H, W, C] uint8 of each prompt, or None; None: no prompt has any.

    Raises:
      ValueError: a prompt, images or a number that do not fit.
    """
    orders = [
        make_order(config, prompt, max_new_tokens=max_new_tokens, images=shown)
        for prompt, shown in zip(prompts, images or [None] * len(prompts), strict=True)
    ]
    rows = 1 << (len(orders) - 1).bit_length()
    size = min(bucket(max(order.limit for order in orders)), config.context_length)
    tokens = np.zeros((rows, size), np.int32)
    lengths, limits = np.ones(rows, np.int32), np.zeros(rows, np.int32)
    for row, order in enumerate(orders):
        lengths[row], limits[row] = order.prompt.size, order.limit
        tokens[row, : order.prompt.size] = order.prompt
    shown = padded_images([order.images for order in orders], rows)
    return Prompts(tokens, lengths, limits, shown)


class Prefill:
    """Feeds texts in pieces; it holds the compiled programs."""

    def __init__(self, model: Decoder, piece: int = PIECE):
        """`piece`: tokens of a text that are fed at once; ValueError if none."""
        check_number("piece", piece, 1)
        self._model, self._piece = model, piece
        self._empty = compiled(_empty, model, static_argnums=(0, 1, 2))
        self._feed = compiled(decoding.feed, model, donate_argnames="cache")
        self._embedded = compiled(decoding.embedded, model)
        self._shown = compiled(decoding.shown, model, donate_argnames="cache")

    def __call__(
        self,
        params: Any,
        tokens: np.ndarray,
        counts: np.ndarray,
        chunk: int | None = None,
        longest: int = 0,
        begun: tuple[Cache, int] | None = None,
        images: np.ndarray | None = None,
    ) -> Cache:
        """The cache of the first tokens of texts.

        Args:
          params: of the model.
          tokens: int32 [B, S]; S is the most a text may grow to.
          counts: int32 [B], tokens of each text to feed.
          chunk: the most tokens that will be fed, or rolled back, at once later on, where that is
            more than a piece of a prompt.
          longest: of a text to feed, in batches of the same size; their pieces are alike.
          begun: a cache of the first so many tokens of all texts, which is given away.
          images: uint8 [B, N, H, W, C], of the texts, see `padded_images`; None: there are none.
        """
        rows, size = tokens.shape
        most = decoding.piece_size(self._model.config, size, self._piece)
        fed = int(counts.max())
        fed = min(max(fed, longest), size) if fed else 0
        cache, start = begun or (self._empty(rows, size, max(most, chunk or 1)), 0)
        embedded = None
        if images is not None and self._model.config.crosses:
            cache = self._shown(params, cache, images)
        elif images is not None:
            embedded = self._embedded(params, tokens, images)
        while start < fed:
            piece = min(bucket(fed - start), most)
            at = np.arange(start, start + piece, dtype=np.int32)[None]
            part = np.zeros((rows, piece), np.int32)
            there = tokens[:, start : start + piece]
            part[:, : there.shape[1]] = there
            read = {}
            if embedded is not None:
                more = ((0, 0), (0, piece - there.shape[1]), (0, 0))
                read = {"embeddings": jnp.pad(embedded[:, start : start + piece], more)}
            positions = np.where(at < counts[:, None], at, -1)
            cache = self._feed(params, cache, part, positions, **read)
            start += piece
        return cache


def padded_images(images: Sequence[np.ndarray | None], rows: int) -> np.ndarray | None:
    """The images [N, H, W, C] of texts as one array [rows, M, H, W, C], M a power of two.

    Behind the last image of a text there are zeros. None where no text has images.
    """
    given = {row: each for row, each in enumerate(images) if each is not None}
    if not given:
        return None
    most = 1 << (max(map(len, given.values())) - 1).bit_length()
    first = next(iter(given.values()))
    padded = np.zeros((rows, most, *first.shape[1:]), np.uint8)
    for row, each in given.items():
        padded[row, : len(each)] = each
    return padded


def _empty(model: Decoder, batch: int, length: int, chunk: int) -> Cache:
    return model.init_cache(batch, length, chunk)


def bucket(length: int) -> int:
    """`length` rounded up to a power of two."""
    return 1 << max(int(length) - 1, _SMALLEST - 1).bit_length()
