"""The stack of layers, scanned over cycles of the attention specification.

Parameters are stacked [num_layers, ...], whatever the specification: "dense,banded(window=256)"
reshapes them to [num_layers / 2, 2, ...] and scans pairs of layers; a remainder is unrolled. So
compile time does not grow with depth, initial values do not depend on the specification, and a
checkpoint of one specification loads under any other. `lax.scan` over a pure `Block.apply` does
this in the open, where `nn.scan` would name and seed parameters by their place in the cycle.

    hidden, _ = Transformer(config).apply({"params": params}, x)

Where the collection "statistics" is mutable, the sizes of what each layer puts out are sown there.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax import attention
from gptjax.attention import scores
from gptjax.attention.cache import KVCache, init_cache
from gptjax.config import ModelConfig
from gptjax.models.layers import Block, LayerNorm, identity
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

Cache = tuple[tuple[KVCache, ...], tuple[KVCache, ...]]


def attention_cycle(config: ModelConfig) -> tuple[attention.Pattern, ...]:
    """The patterns that the layers cycle through.

    Raises:
      ValueError: one cannot be read, or is made for a longer context.
    """
    cycle = attention.parse(config.attention)
    for pattern in cycle:
        pattern.check(config.context_length)
    return cycle


def init_decoding(
    config: ModelConfig, batch: int, length: int, dtype: Any, chunk: int | None = None
) -> Cache:
    """Empty caches for a batch of texts of up to `length` tokens.

    Args:
      config: resolved.
      batch: number of texts.
      length: the most tokens of a text.
      dtype: of keys and values.
      chunk: the most tokens fed at once, which bounds the caches of patterns of bounded reach;
        None: all.

    Returns:
      (scanned, unrolled): for each layer of the attention cycle a `KVCache` with a leading axis
      of cycles, and one for each remaining layer; each as long as its pattern needs.
    """
    assert config.num_kv_heads is not None and config.d_head is not None
    cycle = attention_cycle(config)
    cycles, remainder = divmod(config.num_layers, len(cycle))
    shape = (batch, length, config.num_kv_heads, config.d_head, dtype, config.d_value)
    caches = [init_cache(*shape, pattern=pattern, chunk=chunk or length) for pattern in cycle]
    stacked = jax.tree.map(lambda leaf: jnp.repeat(leaf[None], cycles, axis=0), tuple(caches))
    return stacked if cycles else (), tuple(caches[:remainder])


class Transformer(nn.Module):
    """`num_layers` blocks and, when they normalise before their branches, a last LayerNorm."""

    config: ModelConfig
    causal: bool = True
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        segment_ids: jax.Array | None = None,
        positions: jax.Array | None = None,
        cache: Cache | None = None,
        deterministic: bool = True,
    ) -> tuple[jax.Array, Cache | None]:
        """Maps [B, T, E] to hidden states [B, T, E] and the cache with T more entries.

        Arguments are those of `Block`, the cache that of `init_decoding`; `positions`, 0..T-1 by
        default, are what queries and keys are rotated by.
        """
        c = self.config
        blocks = [
            Block(c, pattern, self.causal, self.attend, self.constrain, parent=None)
            for pattern in attention_cycle(c)
        ]
        params = self.param("layers", self._init_layers, x.dtype)
        score = self._score()
        turned = None
        if c.positions == "rotary":
            turned = rotation(c, jnp.arange(x.shape[1])[None] if positions is None else positions)
        observing = self.is_mutable_collection("statistics") and not self.is_initializing()
        dropping = not deterministic and max(c.residual_dropout, c.attention_dropout) > 0.0
        rngs = jax.random.split(self.make_rng("dropout"), c.num_layers) if dropping else None

        def layer(i: int, x: jax.Array, params: Any, rng: Any, cache: KVCache | None):
            return blocks[i].apply(
                {"params": params},
                x,
                segment_ids=segment_ids,
                positions=positions,
                rotation=turned,
                score=score,
                cache=cache,
                deterministic=deterministic,
                rngs=None if rng is None else {"dropout": rng},
            )

        unrolled = c.num_layers <= UNROLLED_LAYERS
        if c.remat != "none":
            layer = jax.checkpoint(
                layer, prevent_cse=unrolled, static_argnums=(0,), policy=REMAT_POLICIES[c.remat]
            )

        def cycle_of_layers(x: jax.Array, layers: Any):
            stack, caches = layers
            updated: list[Any] = []
            seen: list[Any] = []
            for i in range(len(blocks)):
                layer_params, rng = jax.tree.map(lambda leaf, i=i: leaf[i], stack)
                x, new = layer(i, x, layer_params, rng, None if caches is None else caches[i])
                updated.append(new)
                seen.append(_sizes(x) if observing else None)
            return x, (None if caches is None else tuple(updated), seen)

        cycles = c.num_layers // len(blocks)
        scanned = cycles * len(blocks)
        stack = (params, rngs)
        scanned_cache: Any = None if cache is None else cache[0]
        unrolled_cache: Any = None if cache is None else cache[1]
        seen: list[Any] = []
        if cycles:
            in_cycles = jax.tree.map(
                lambda leaf: leaf[:scanned].reshape(cycles, len(blocks), *leaf.shape[1:]), stack
            )
            x, (scanned_cache, by_place) = jax.lax.scan(
                cycle_of_layers,
                x,
                (in_cycles, scanned_cache),
                unroll=unrolled,
            )
            in_order = jax.tree.map(lambda *places: jnp.stack(places, 1).ravel(), *by_place)
            seen.append(in_order)
        updated: list[Any] = []
        for i in range(c.num_layers - scanned):
            layer_params, rng = jax.tree.map(lambda leaf, i=i: leaf[scanned + i], stack)
            x, new = layer(
                i, x, layer_params, rng, None if unrolled_cache is None else unrolled_cache[i]
            )
            updated.append(new)
            seen.append(jax.tree.map(jnp.ravel, _sizes(x)) if observing else None)
        if observing:
            layers = jax.tree.map(lambda *parts: jnp.concatenate(parts), *seen)
            self.sow("statistics", "layers", layers)
        if c.norm == "pre":
            x = LayerNorm(c, name="final_norm")(x)
        return x, None if cache is None else (scanned_cache, tuple(updated))

    def _score(self) -> scores.Scores | None:
        """The change of the scores, whose learned arrays all layers share."""
        c = self.config
        changes, table = scores.parse(c.score), nn.initializers.normal(c.init_std)
        learned = {
            name: self.param(name, table, shape, jnp.float32)
            for name, shape in scores.learned_shapes(changes, c.num_heads).items()
        }
        return scores.bind(changes, c.num_heads, learned)

    def _init_layers(self, rng: jax.Array, dtype: Any) -> Any:
        c = self.config
        block = Block(c, attention_cycle(c)[0], parent=None)  # one token needs no mesh
        token = jnp.zeros((1, 1, c.d_model), dtype)
        keys = jax.random.split(rng, c.num_layers)
        return jax.vmap(lambda key: block.init(key, token)["params"])(keys)


def _sizes(x: jax.Array) -> dict[str, jax.Array]:
    """Root mean square and largest magnitude of all numbers of `x`, float32."""
    x = x.astype(jnp.float32)
    return {"rms": jnp.sqrt(jnp.mean(jnp.square(x))), "max": jnp.max(jnp.abs(x))}
