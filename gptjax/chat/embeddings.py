"""Embeddings of texts: the mean of a model's last hidden states over their tokens.

vectors = Embedder(model, params)([tokens, more_tokens])    # float32 [E] each

They are what a language model has, not those of a model that was trained to compare texts.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.compiled import compiled
from gptjax.finite import check_finite
from gptjax.inference.decoding import checked_params
from gptjax.inference.prefill import bucket
from gptjax.inference.requests import check_tokens, room_after
from gptjax.models.transformer import padding_segments


class Embedder:
    """Embeds with one model; it holds compiled programs, so keep it."""

    def __init__(self, model: Any, params: Any):
        self._model, self._params = model, checked_params(model, params)
        self._mean = compiled(_mean, model)

    def __call__(self, texts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The mean of the hidden states after the last layer, float32 [E], of each text.

        Args:
          texts: ids [n] of each, 1 to the context length; neither order nor neighbours matter.

        Raises:
          ValueError: tokens that do not fit.
          NotFinite: the model's hidden states are not.
        """
        made = []
        for tokens in texts:
            check_tokens("input", tokens, self._model.config.vocab_size)
            room_after(tokens, self._model.config)
            size = min(bucket(tokens.size), self._model.config.context_length)
            padded = np.zeros((1, size), np.int32)
            padded[0, : tokens.size] = tokens
            count = np.array([tokens.size], np.int32)
            made.append(np.asarray(self._mean(self._params, padded, count))[0])
            check_finite(made[-1], "hidden states")
        return made


def _mean(model: Any, params: Any, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    """Mean hidden states [B, E] float32 of the first `lengths` [B] of tokens [B, T]."""
    segments = padding_segments(model.config, lengths, tokens.shape[1])
    made: Any = model.apply({"params": params}, tokens, segment_ids=segments, method="hidden")
    there = (jnp.arange(tokens.shape[1])[None] < lengths[:, None])[..., None]
    hidden = jnp.where(there, made[0].astype(jnp.float32), 0.0)
    return hidden.sum(1) / lengths[:, None].astype(jnp.float32)
