"""The stack of layers, scanned over cycles of the attention specification.

Parameters are stacked [num_layers, ...], whatever the specification: "dense,banded(window=256)"
reshapes them to [num_layers / 2, 2, ...] and scans pairs of layers; a remainder is unrolled. So
compile time does not grow with depth, initial values do not depend on the specification, and a
checkpoint of one specification loads under any other. `lax.scan` over a pure `Block.apply` does
this in the open, where `nn.scan` would name and seed parameters by their place in the cycle.

    hidden, _ = Transformer(config).apply({"params": params}, x)

With a cache layers come one after another, each with a cache of its own. `unstacked` parameters are
then read where they lie, where a slice of a stack would be copied for every token.

Where the collection "statistics" is mutable, the sizes of what each layer puts out are sown there.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax import attention
from gptjax.attention import scores
from gptjax.attention.cache import KVCache, init_cache, resized
from gptjax.config import ModelConfig
from gptjax.models.cross_attention import Context, context_heads
from gptjax.models.layers import (
    Block,
    Configured,
    LayerNorm,
    for_decoding,
    identity,
    sizes,
)
from gptjax.models.parameter_shapes import parameter, shapes_alone
from gptjax.models.positions import rotation

# Up to here the scan is unrolled: XLA then copies neither parameters nor activations in and out of
# a loop, which made a training step of 6 layers about a fifth shorter on a CPU.
UNROLLED_LAYERS = 8

# What a layer keeps of its forward pass where the rest is computed again: "block" its input alone,
# "dots" also the results of its projections.
REMAT_POLICIES = {
    "block": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}

Cache = tuple[Any, ...]  # a pytree for each layer: a `KVCache`, or what another trunk keeps


def attention_cycle(config: ModelConfig) -> tuple[attention.Pattern, ...]:
    """The patterns that the layers cycle through.

    Raises:
      ValueError: one cannot be read, or is made for a longer context.
    """
    cycle = attention.parse(config.attention)
    for pattern in cycle:
        pattern.check(config.context_length)
    return cycle


def looks_ahead(config: ModelConfig) -> bool:
    """Whether some layer lets a token see what comes after it."""
    return any(pattern.looks_ahead for pattern in attention_cycle(config))


def padding_segments(config: ModelConfig, lengths: jax.Array, size: int) -> jax.Array | None:
    """Segment ids [B, size] int32 that hide what follows the first `lengths` [B] tokens of rows.

    None where no layer looks ahead, so that nothing sees it anyhow.
    """
    return segments_of_lengths(lengths, size) if looks_ahead(config) else None


def segments_of_lengths(lengths: jax.Array, size: int) -> jax.Array:
    """Segment ids [B, size] int32: 0 of the first `lengths` [B] tokens of rows, -1 of padding."""
    return jnp.where(jnp.arange(size)[None] < lengths[:, None], 0, -1)


def attention_of_layers(config: ModelConfig) -> tuple[attention.Pattern, ...]:
    """The pattern of each layer."""
    cycle = attention_cycle(config)
    return tuple(cycle[i % len(cycle)] for i in range(config.num_layers))


def init_decoding(
    config: ModelConfig, batch: int, length: int, dtype: Any, chunk: int | None = None
) -> Cache:
    """Empty caches for a batch of texts of up to `length` tokens, one a layer.

    Args:
      config: resolved.
      batch: number of texts.
      length: the most tokens of a text.
      dtype: of keys and values.
      chunk: the most tokens fed at once, which bounds the caches of patterns of bounded reach;
        None: all.
    """
    assert config.num_kv_heads is not None and config.d_head is not None
    shape = (batch, length, config.num_kv_heads, config.d_head, dtype, config.d_value)
    return tuple(
        init_cache(*shape, pattern=pattern, chunk=chunk or length)
        for pattern in attention_of_layers(config)
    )


def resized_decoding(config: ModelConfig, cache: Cache, length: int, chunk: int) -> Cache:
    """Caches of the same texts with room for `length` tokens, fed at most `chunk` at once.

    What is no `KVCache` has one size, and stays.
    """
    patterns = attention_of_layers(config)
    return tuple(
        resized(held, patterns[i], length, chunk) if isinstance(held, KVCache) else held
        for i, held in enumerate(cache)
    )


def unstacked(params: Any) -> Any:
    """`params` of a model for decoding: each layer's in a tree of its own, and as it reads them.

    Those of a model without a stack of blocks stay as they are.
    """
    trunk = params.get("trunk", {})
    if "attention" not in trunk.get("layers", ()):
        return params
    num_layers = jax.tree.leaves(trunk["layers"])[0].shape[0]
    return params | {"trunk": trunk | {"layers": _split(trunk["layers"], num_layers)}}


@functools.partial(jax.jit, static_argnames="num_layers")
def _split(layers: Any, num_layers: int) -> tuple[Any, ...]:
    return tuple(for_decoding(_layer_of(layers, i)) for i in range(num_layers))


class Transformer(Configured):
    """`num_layers` blocks and, when they normalise before their branches, a last LayerNorm.

    Attributes:
      causal: False for an encoder.
      cross: the patterns that the layers' cross attention cycles through; none: it has none.
      others: as of `GPT`.
    """

    causal: bool = True
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity
    cross: tuple[attention.Pattern, ...] = ()

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        context: Context | tuple[Context, ...] | None = None,
        segment_ids: jax.Array | None = None,
        positions: jax.Array | None = None,
        cache: Cache | None = None,
        deterministic: bool = True,
        order: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache | None]:
        """Maps [B, T, E] to hidden states [B, T, E] and the cache with T more entries.

        Arguments are those of `Block`, the cache that of `init_decoding`; `positions`, 0..T-1 by
        default, are what queries and keys are rotated by. A cache allows no dropout. `context` is
        an encoder's output for all layers, or what `contexts_of_layers` makes of it, one a layer.
        """
        c, blocks = self.config, self._blocks()
        params = self._layers(x.dtype)
        score = self._score()
        if self.is_initializing():  # `_layers` has made all that blocks have
            return self._final(x), cache
        turned = None
        if c.positions == "rotary":
            turned = rotation(c, jnp.arange(x.shape[1])[None] if positions is None else positions)
        observing = self.is_mutable_collection("statistics")
        dropping = not deterministic and max(c.residual_dropout, c.attention_dropout) > 0.0
        rngs = jax.random.split(self.make_rng("dropout"), c.num_layers) if dropping else None

        def layer(
            i: int,
            x: jax.Array,
            params: Any,
            rng: Any,
            cache: KVCache | None = None,
            context: Any = context,
        ):
            return blocks[i].apply(
                {"params": params},
                x,
                context=context,
                segment_ids=segment_ids,
                positions=positions,
                rotation=turned,
                score=score,
                cache=cache,
                deterministic=deterministic,
                order=order,
                rngs=None if rng is None else {"dropout": rng},
            )

        if cache is not None:
            updated: list[Any] = []
            for i, held in enumerate(cache):
                of_layer = params[i] if isinstance(params, tuple) else _layer_of(params, i)
                crossed = context[i] if isinstance(context, tuple) else context
                x, new = layer(i % len(blocks), x, of_layer, None, held, crossed)
                updated.append(new)
            return self._final(x), tuple(updated)

        unrolled = c.num_layers <= UNROLLED_LAYERS
        if c.remat != "none":
            layer = jax.checkpoint(
                layer, prevent_cse=unrolled, static_argnums=(0,), policy=REMAT_POLICIES[c.remat]
            )

        cycles = c.num_layers // len(blocks)
        scanned = cycles * len(blocks)
        stack = (params, rngs)

        def cycle_of_layers(x: jax.Array, layers: Any):
            seen: list[Any] = []
            for i in range(len(blocks)):
                x, _ = layer(i, x, *(_layer_of(layers, i) if len(blocks) > 1 else layers))
                seen.append(sizes(x) if observing else None)
            return x, seen

        seen: list[Any] = []
        if cycles:
            # A cycle of one is scanned as it is stacked: what the gradient needs of it is then read
            # there, where a slice of a slice would be kept, which is another stack of kernels.
            in_cycles = stack
            if len(blocks) > 1:
                in_cycles = jax.tree.map(
                    lambda leaf: leaf[:scanned].reshape(cycles, len(blocks), *leaf.shape[1:]), stack
                )
            x, by_place = jax.lax.scan(cycle_of_layers, x, in_cycles, unroll=unrolled)
            in_order = jax.tree.map(lambda *places: jnp.stack(places, 1).ravel(), *by_place)
            seen.append(in_order)
        for i in range(c.num_layers - scanned):
            x, _ = layer(i, x, *_layer_of(stack, scanned + i))
            seen.append(jax.tree.map(jnp.ravel, sizes(x)) if observing else None)
        if observing:
            layers = jax.tree.map(lambda *parts: jnp.concatenate(parts), *seen)
            self.sow("statistics", "layers", layers)
        return self._final(x), None

    def _blocks(self) -> list[Block]:
        """The blocks that the layers cycle through: as often as both attentions' cycles meet."""
        c = self.config
        cycle, cross = attention_cycle(c), self.cross or (None,)
        return [
            Block(
                c,
                cycle[i % len(cycle)],
                self.causal,
                self.attend,
                self.constrain,
                cross[i % len(cross)],
                parent=None,
            )
            for i in range(math.lcm(len(cycle), len(cross)))
        ]

    def _final(self, x: jax.Array) -> jax.Array:
        return LayerNorm(self.config, name="final_norm")(x) if self.config.norm == "pre" else x

    def _layers(self, dtype: Any) -> Any:
        """The parameters of all layers, stacked, or a tuple of each one's where given so."""
        if not self.has_variable("params", "layers"):
            return self.param("layers", self._init_layers, dtype)
        # `self.param` would trace `_init_layers` at every call for shapes that blocks check anyhow.
        given, count = self.get_variable("params", "layers"), self.config.num_layers
        stacked = not isinstance(given, tuple)
        got = len(jax.tree.leaves(given)[0]) if stacked else len(given)
        if got != count:
            raise ValueError(f"params: got {got} layers, expected {count}")
        return given

    def _score(self) -> scores.Scores | None:
        """The change of the scores, whose learned arrays all layers share."""
        c = self.config
        changes, table = scores.parse(c.score), nn.initializers.normal(c.init_std)
        learned = {
            name: parameter(self, name, table, shape, jnp.float32)
            for name, shape in scores.learned_shapes(changes, c.num_heads).items()
        }
        return scores.bind(changes, c.num_heads, learned)

    def _init_layers(self, rng: jax.Array, dtype: Any) -> Any:
        c = self.config
        cross = self.cross[0] if self.cross else None
        block = Block(c, attention_cycle(c)[0], cross=cross, parent=None)  # a token needs no mesh
        token = jnp.zeros((1, 1, c.d_model), dtype)
        context = Context(jnp.zeros((1, 1), jnp.int32), token)

        def made(key: jax.Array) -> Any:
            return block.init(key, token, context=context)["params"]

        if shapes_alone():
            stack = (c.num_layers,)
            return jax.tree.map(lambda leaf: jnp.zeros(stack + leaf.shape, leaf.dtype), made(rng))
        return jax.vmap(made)(jax.random.split(rng, c.num_layers))


def contexts_of_layers(config: ModelConfig, params: Any, context: Context) -> tuple[Context, ...]:
    """What each layer's cross attention reads of an encoder's output, computed once.

    Args:
      config: resolved, of the decoder.
      params: of its `Transformer`, with layers stacked or `unstacked`.
      context: with hidden states.
    """
    layers = params["layers"]
    each = (
        layers[i] if isinstance(layers, tuple) else _layer_of(layers, i)
        for i in range(config.num_layers)
    )
    return tuple(context_heads(config, layer["cross_attention"], context) for layer in each)


def _layer_of(stack: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], stack)
