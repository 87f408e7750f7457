"""The device's side of generation: a batch of texts in growth, and what is done to it.

A batch is an explicit state, `Decoding`. Each step feeds the last token of every running text,
which is the one token not in the cache yet, and appends the token that its sampler picks. Texts of
different lengths share a batch: positions say which tokens are real, so that a text depends on its
prompt, its seed and its sampler, not on its neighbours. Rows come and go by `insert` and
`arranged`. All functions are pure and made to be jitted.

    cache = feed(model, params, cache, tokens, positions)   # a piece of the prompts
    state = advance(model, params, state, samplers, num_steps)
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from gptjax.attention.cache import rollback
from gptjax.config import ModelConfig
from gptjax.inference.filters import Text
from gptjax.inference.sampling import Alternatives, RowSamplers
from gptjax.models.decoder import Decoder
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.models.transformer import (
    Cache,
    looks_ahead,
    resized_decoding,
    unstacked,
)
from gptjax.pytrees import pytree

NEVER = -1  # a stop token that no sampler picks


@pytree
@dataclasses.dataclass(frozen=True)
class Decoding:
    """A batch of texts in generation.

    Attributes:
      texts: what is written so far, [B, S] and [B].
      log_probs: float32 [B, S], of each new token, in nats, before its sampler's filters.
      limits: int32 [B]; a text runs while its length is below. Its stop token lowers it.
      stop_tokens: int32 [B], the token after which each text ends.
      cache: keys and values of every token but the last of each text.
      alternatives: to each new token; None where nobody asks for them.
    """

    texts: Text
    log_probs: jax.Array
    limits: jax.Array
    stop_tokens: jax.Array
    cache: Cache
    alternatives: Alternatives | None = None

    @property
    def running(self) -> jax.Array:
        """Whether each text still grows: bool [B]."""
        return self.texts.length < self.limits


def checked_params(model: Decoder, params: Any, *inputs: jax.ShapeDtypeStruct) -> Any:
    """The parameters of a model, given as such or as `{"params": ...}`, which `init` makes.

    `inputs` are those of `parameter_shapes`.

    Raises:
      ValueError: one is missing or of another shape: another model's might decode to something
        all the same.
    """
    params = params.get("params", params)
    if isinstance(params.get("trunk", {}).get("layers"), tuple):  # checked when they were stacked
        return params
    shapes = {path: leaf.shape for path, leaf in jax.tree.leaves_with_path(params)}
    for path, leaf in jax.tree.leaves_with_path(parameter_shapes(model, *inputs)):
        if shapes.get(path) != leaf.shape:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            got = shapes.get(path, "none")
            raise ValueError(f"params: got {name} of {got}, expected {leaf.shape}, as the model's")
    return params


def _on_its_device(leaf: Any) -> Any:
    """A parameter without its mesh where that has one device; nothing is copied."""
    if isinstance(leaf, Tracer) or not isinstance(leaf, jax.Array):
        return leaf
    on_a_mesh = isinstance(leaf.sharding, jax.sharding.NamedSharding)
    alone = on_a_mesh and leaf.sharding.num_devices == 1 and leaf.is_fully_addressable
    return leaf.addressable_data(0) if alone else leaf


def decoding_params(model: Decoder, params: Any, *inputs: jax.ShapeDtypeStruct) -> Any:
    """`checked_params` as decoding reads them: layer by layer, and in the model's dtype.

    Kernels and embeddings are; the rest stays float32. Those on a mesh of one device are on that
    device alone: results would else be on the mesh and what a text begins with not, so that each
    program would be traced and compiled for either.
    """
    params = jax.tree.map(_on_its_device, checked_params(model, params, *inputs))
    params, dtype = unstacked(params), jnp.dtype(model.config.dtype)

    def cast(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(path[-1:], simple=True)
        return leaf.astype(dtype) if name.endswith(("kernel", "transposed", "embedding")) else leaf

    def all_cast(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(cast, params)

    as_they_are = jax.tree.map(lambda leaf: leaf.dtype, params)
    wanted = jax.tree.map(lambda leaf: leaf.dtype, jax.eval_shape(all_cast, params))
    return params if as_they_are == wanted else jax.jit(all_cast)(params)


def piece_size(config: ModelConfig, size: int, piece: int) -> int:
    """Tokens fed at once of texts of up to `size`: `piece`, or all where some look ahead."""
    return size if looks_ahead(config) or config.has_wholes else min(size, piece)


def begin(
    tokens: jax.Array,
    lengths: jax.Array,
    limits: jax.Array,
    stop_tokens: jax.Array,
    seeds: jax.Array,
    sample_indices: jax.Array,
    cache: Cache,
) -> Decoding:
    """The state before the first new token.

    Args:
      tokens: int32 [B, S], prompts at the front of rows; S is the most a text may grow to.
      lengths: int32 [B], tokens in each prompt, at least one.
      limits: int32 [B], the length at which each text stops, at most S.
      stop_tokens: int32 [B].
      seeds: int32 [B].
      sample_indices: int32 [B]; (seed, sample index) is the randomness of a text.
      cache: holds all but the last token of each prompt.
    """
    rngs = jax.vmap(lambda seed, i: jax.random.fold_in(jax.random.key(seed), i))(
        seeds, sample_indices
    )
    log_probs = jnp.zeros(tokens.shape, jnp.float32)
    return Decoding(Text(tokens, lengths, lengths, rngs), log_probs, limits, stop_tokens, cache)


def feed(
    model: Decoder,
    params: Any,
    cache: Cache,
    tokens: jax.Array,
    positions: jax.Array,
    **read: Any,
) -> Cache:
    """The cache with tokens [B, T] in it; negative positions [B, T] are padding.

    `read` are further arguments of the model's `hidden`.
    """
    made: Any = model.apply(
        {"params": params}, tokens, positions=positions, cache=cache, method="hidden", **read
    )
    return made[1]


def embedded(model: Decoder, params: Any, tokens: jax.Array, images: jax.Array) -> jax.Array:
    """Embeddings [B, T, E] of tokens [B, T] and of images [B, N, H, W, C] at their places."""
    made: Any = model.apply({"params": params}, tokens, images, method="embedded")
    return made


def decode(
    model: Decoder,
    params: Any,
    cache: Cache,
    tokens: jax.Array,
    positions: jax.Array,
    **read: Any,
) -> tuple[jax.Array, Cache]:
    """Logits [B, T, V] float32 after each of tokens [B, T], and the cache with them in it.

    Negative positions [B, T] are padding. `read` are further arguments of the model's `decode`.
    """
    made: Any = model.apply(
        {"params": params}, tokens, positions=positions, cache=cache, method="decode", **read
    )
    return made


def next_logits(model: Decoder, params: Any, state: Decoding) -> tuple[jax.Array, Cache]:
    """Float32 logits [B, V] of each text's next token, and the cache with the whole text in it.

    Those of texts that have ended have no meaning, and their caches stay as they are.
    """
    last = state.texts.length[:, None] - 1
    tokens = jnp.take_along_axis(state.texts.tokens, last, axis=1)
    positions = jnp.where(state.running[:, None], last, -1)
    logits, cache = decode(model, params, state.cache, tokens, positions)
    return logits[:, 0], cache


def advance(
    model: Decoder,
    params: Any,
    state: Decoding,
    samplers: RowSamplers,
    active: jax.Array,
    num_steps: jax.Array,
    num_running: jax.Array,
) -> Decoding:
    """Appends tokens to each text, up to `num_steps`, fewer where it ends.

    Args:
      model: the decoder.
      params: its parameters, see `decoding_params`.
      state: the batch.
      samplers: of its rows.
      active: bool [B]; the other rows' texts end here.
      num_steps: int32 scalar.
      num_running: int32 scalar; stops as soon as fewer texts run.
    """

    def step(state: Decoding) -> Decoding:
        texts, running = state.texts, state.running
        logits, cache = next_logits(model, params, state)
        new = samplers(logits, texts)
        batch, size = texts.tokens.shape
        rows, slots = jnp.arange(batch), jnp.where(running, texts.length, size)
        lengths = texts.length + running.astype(jnp.int32)
        total = jax.nn.logsumexp(logits, axis=-1)
        others = state.alternatives
        if others is not None:
            others = others.with_best(rows, slots, logits - total[:, None])
        return dataclasses.replace(
            state,
            texts=dataclasses.replace(
                texts, tokens=texts.tokens.at[rows, slots].set(new, mode="drop"), length=lengths
            ),
            log_probs=state.log_probs.at[rows, slots].set(logits[rows, new] - total, mode="drop"),
            limits=jnp.where(running & (new == state.stop_tokens), lengths, state.limits),
            cache=cache,
            alternatives=others,
        )

    state = dataclasses.replace(state, limits=jnp.where(active, state.limits, 0))

    def unfinished(carry: tuple[jax.Array, Decoding]) -> jax.Array:
        done, state = carry
        return (done < num_steps) & (jnp.sum(state.running) >= jnp.maximum(num_running, 1))

    def body(carry: tuple[jax.Array, Decoding]) -> tuple[jax.Array, Decoding]:
        done, state = carry
        return done + 1, step(state)

    return jax.lax.while_loop(unfinished, body, (jnp.zeros_like(num_steps), state))[1]


def row_of(cache: Cache, row: jax.Array) -> Cache:
    """The cache of one row of a batch."""
    return jax.tree.map(lambda x: x[row][None], cache)


def continued(model: Decoder, cache: Cache, length: jax.Array, *, size: int, piece: int) -> Cache:
    """The cache of one text at its first `length` tokens, with room for `size`.

    `size` and `piece` are static, as of `arranged`; `length` is below `size`.
    """
    cache = resized_decoding(model.config, cache, size, piece_size(model.config, size, piece))
    return rollback(cache, length[None])


def insert(state: Decoding, new: Decoding, rows: jax.Array) -> Decoding:
    """`state` with the texts of `new` in `rows` [b]; what would be past its end is dropped."""
    return jax.tree.map(lambda old, part: old.at[rows].set(part, mode="drop"), state, new)


def arranged(
    model: Decoder, state: Decoding, rows: jax.Array, *, size: int, piece: int
) -> Decoding:
    """A batch of the rows [b] of `state`, with room for texts of `size` tokens.

    Args:
      model: the decoder.
      state: the batch.
      rows: int32 [b]; one past the end makes a row with no text.
      size: static; no less than the limits of the rows that are taken.
      piece: static; with which the cache was made.
    """
    texts = state.texts

    def columns(x: jax.Array) -> jax.Array:
        pad = max(0, size - x.shape[1])
        return jnp.pad(x[:, :size], ((0, 0), (0, pad)) + ((0, 0),) * (x.ndim - 2))

    cache = resized_decoding(model.config, state.cache, size, piece_size(model.config, size, piece))
    texts = dataclasses.replace(texts, tokens=columns(texts.tokens))
    whole = dataclasses.replace(
        state,
        texts=texts,
        log_probs=columns(state.log_probs),
        cache=cache,
        alternatives=jax.tree.map(columns, state.alternatives),
    )
    taken = jax.tree.map(lambda x: x.at[rows].get(mode="clip"), whole)
    there = rows < state.limits.shape[0]
    length = jnp.where(there, taken.texts.length, 1)
    return dataclasses.replace(
        taken,
        texts=dataclasses.replace(taken.texts, length=length),
        limits=jnp.where(there, taken.limits, 0),
    )
