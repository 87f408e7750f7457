"""The parts of a Transformer layer: LayerNorm, attention, feed-forward, and the block they make.

Attention Is All You Need (arXiv 1706.03762, section 3) for the parts; GPT-1 for the order that
normalises after each residual addition, GPT-2 for the one that normalises before each branch.

    x, cache = Block(config, pattern=Dense()).apply({"params": params}, x)
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from gptjax import attention
from gptjax.attention.cache import KVCache, cached_attend
from gptjax.attention.rules import Score
from gptjax.config import ModelConfig
from gptjax.models.cross_attention import Context, CrossAttention
from gptjax.models.parameter_shapes import parameter
from gptjax.models.positions import Rotation, rotate
from gptjax.models.projections import Projection, head_shapes, transposed


@jax.custom_vjp
def gelu_tanh(x: jax.Array) -> jax.Array:
    """GELU by tanh (arXiv 1606.08415, section 2); for its gradient only `x` is kept.

    Automatic differentiation keeps up to four arrays of its size, which cost more to write and to
    read again than the tanh costs.
    """
    return nn.gelu(x, approximate=True)


def _gelu_tanh_backward(x: jax.Array, g: jax.Array) -> tuple[jax.Array]:
    scale, cubic = (2.0 / math.pi) ** 0.5, 0.044715
    square = x * x
    tanh = jnp.tanh(scale * x * (1.0 + cubic * square))
    slope = 0.5 * scale * x * (1.0 - tanh) * (1.0 + tanh) * (1.0 + 3.0 * cubic * square)
    return (g * (0.5 * (1.0 + tanh) + slope),)


gelu_tanh.defvjp(lambda x: (nn.gelu(x, approximate=True), x), _gelu_tanh_backward)

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu_tanh": gelu_tanh,
    "gelu": lambda x: nn.gelu(x, approximate=False),
    "gelu_sigmoid": lambda x: x * nn.sigmoid(1.702 * x),  # arXiv 1606.08415, section 2
    "relu": nn.relu,
}


# Where decoding keeps the projections of an attention that read the same input, as one.
JOINT = "query_key_value"


def for_decoding(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a `Block` as decoding reads them: kernels transposed, and fewer."""
    params = transposed(params)
    attention = params["attention"]
    joined = [attention[name] for name in ("query", "key", "value")]
    joint = {
        "transposed": jnp.concatenate([part["transposed"] for part in joined]),
        "bias": jnp.concatenate([part["bias"].ravel() for part in joined]),
    }
    return params | {"attention": {JOINT: joint, "out": attention["out"]}}


def identity(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
    """The default `constrain`: leaves where `x` lives to the compiler."""
    del axes
    return x


def refuse_float64() -> None:
    """Raises ValueError where JAX makes 64-bit numbers by default, which change what models do."""
    if jax.dtypes.canonicalize_dtype(np.float64) == np.float64:
        raise ValueError(
            "JAX_ENABLE_X64: got true, from the environment or jax.config.update, expected it "
            "unset or 0: models compute in float32 or bfloat16, as config.model.dtype says"
        )


def sizes(x: jax.Array) -> dict[str, jax.Array]:
    """Root mean square and largest magnitude of all numbers of `x`, float32."""
    x = x.astype(jnp.float32)
    return {"rms": jnp.sqrt(jnp.mean(jnp.square(x))), "max": jnp.max(jnp.abs(x))}


class Configured(nn.Module):
    """A module of a `ModelConfig`, which it has as a resolved copy.

    Attributes:
      config: resolved or not. ValueError: a field out of range, or fields that contradict each
        other; or `refuse_float64`.
    """

    config: ModelConfig

    def __post_init__(self) -> None:
        """Resolves the configuration."""
        refuse_float64()
        self.config = self.config.resolved()
        super().__post_init__()


class LayerNorm(nn.Module):
    """Layer normalisation with gain and bias (arXiv 1607.06450), computed in float32."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., E] to [..., E] in the dtype of `x`."""
        features = x.shape[-1:]
        scale = parameter(self, "scale", nn.initializers.ones, features, jnp.float32)
        bias = parameter(self, "bias", nn.initializers.zeros, features, jnp.float32)
        if self.is_initializing():  # `init` asks for parameters alone
            return x
        epsilon = self.config.layer_norm_epsilon
        y: Any = _layer_norm(x.astype(jnp.float32), scale, bias, epsilon)
        return y.astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """For its gradient two arrays are kept, where automatic differentiation keeps three."""
    return _layer_norm_forward(x, scale, bias, epsilon)[0]


def _layer_norm_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> tuple[jax.Array, Any]:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(variance + epsilon)
    normed = centred * inverse
    return normed * _row(scale, x) + _row(bias, x), (normed, inverse, scale)


def _layer_norm_backward(_: float, residuals: Any, g: jax.Array) -> tuple[jax.Array, ...]:
    normed, inverse, scale = residuals
    tokens = tuple(range(g.ndim - 1))
    normed_bar = g * _row(scale, g)
    mean = jnp.mean(normed_bar, axis=-1, keepdims=True)
    along = jnp.mean(normed_bar * normed, axis=-1, keepdims=True)
    x_bar = (normed_bar - mean - normed * along) * inverse
    return x_bar, jnp.sum(g * normed, axis=tokens), jnp.sum(g, axis=tokens)


_layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


def _row(vector: jax.Array, like: jax.Array) -> jax.Array:
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


class Attention(nn.Module):
    """Multi-head attention with grouped key heads (arXiv 1706.03762, section 3.2.2)."""

    config: ModelConfig
    pattern: attention.Pattern
    residual_std: float
    causal: bool = True
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        segment_ids: jax.Array | None,
        cache: KVCache | None,
        positions: jax.Array | None,
        rotation: Rotation | None,
        score: Score | None,
        deterministic: bool,
        order: jax.Array | None,
    ) -> tuple[jax.Array, KVCache | None]:
        """Maps [B, T, E] to [B, T, E] and the cache with the T new keys and values in it."""
        c = self.config
        joined = Projection((c.d_model,), self.residual_std, num_axes=2, name="out")
        q, k, v = (
            self.constrain(heads, ("batch", "sequence", "heads", None))
            for heads in self._projected(x)
        )
        if self.is_initializing():  # as in `LayerNorm`
            return joined(jnp.zeros((*q.shape[:-1], v.shape[-1]), x.dtype)), cache
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        if c.query_factor != 1.0:
            q = q * c.query_factor
        if cache is not None:
            if positions is None or segment_ids is not None or not self.causal:
                raise ValueError(
                    "cache: got one with segment_ids, without positions or in an encoder, expected "
                    "positions alone, in a decoder"
                )
            out, cache = cached_attend(
                q, k, v, cache, self.pattern, positions, order=order, score=score
            )
        else:
            dropping = c.attention_dropout > 0.0 and not deterministic
            # A mesh that divides positions has no order but that of the text.
            ordered = {} if order is None else {"q_positions": order, "k_positions": order}
            out = self.attend(
                q,
                k,
                v,
                self.pattern,
                causal=self.causal,
                impl=c.attention_impl,
                segment_ids=segment_ids,
                score=score,
                dropout_rate=c.attention_dropout if dropping else 0.0,
                dropout_rng=self.make_rng("dropout") if dropping else None,
                **ordered,
            )
        return joined(out), cache

    def _projected(self, x: jax.Array) -> list[jax.Array]:
        """Queries [B, T, H, D], keys [B, T, K, D] and values [B, T, K, V]."""
        c, shapes = self.config, head_shapes(self.config)
        if JOINT not in self.variables.get("params", {}):
            return [Projection(shapes[name], c.hidden_std, name=name)(x) for name in shapes]
        sizes = [math.prod(shape) for shape in shapes.values()]
        joint = Projection((sum(sizes),), c.hidden_std, name=JOINT)(x)
        parts = jnp.split(joint, np.cumsum(sizes)[:-1], axis=-1)
        return [
            part.reshape(*x.shape[:-1], *shape)
            for part, shape in zip(parts, shapes.values(), strict=True)
        ]


class FeedForward(nn.Module):
    """Two linear maps with an activation between (arXiv 1706.03762, section 3.3)."""

    config: ModelConfig
    residual_std: float
    constrain: Callable[..., jax.Array] = identity

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, T, E] to [B, T, E] through [B, T, F]."""
        c = self.config
        assert c.d_ff is not None, "resolve the config first"
        hidden = Projection((c.d_ff,), c.hidden_std, name="up")(x)
        hidden = self.constrain(ACTIVATIONS[c.activation](hidden), ("batch", "sequence", "ff"))
        return Projection((c.d_model,), self.residual_std, name="down")(hidden)


class Block(nn.Module):
    """One layer: attention and feed-forward, each a residual branch with a LayerNorm.

    A decoder under an encoder has cross attention between the two, of the pattern `cross`.
    `config.norm` is "pre" (GPT-2: x + f(norm(x))) or "post" (GPT-1: norm(x + f(x))).
    """

    config: ModelConfig
    pattern: attention.Pattern
    causal: bool = True
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity
    cross: attention.Pattern | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        context: Context | None = None,
        segment_ids: jax.Array | None = None,
        cache: KVCache | None = None,
        positions: jax.Array | None = None,
        rotation: Rotation | None = None,
        score: Score | None = None,
        deterministic: bool = True,
        order: jax.Array | None = None,
    ) -> tuple[jax.Array, KVCache | None]:
        """Maps [B, T, E] to [B, T, E].

        Args:
          x: [B, T, E] in the dtype of the computation.
          context: what cross attention attends to, if there is any.
          segment_ids: [B, T] int32, or None for one document a row.
          cache: this layer's keys and values so far, or None to attend within `x` alone.
          positions: [B, T] int32 indices of the rows of `x` in the cache; negative is padding.
          rotation: from `positions.rotation`, or None to leave queries and keys as they are.
          score: what `attend` does to the scores, or None.
          deterministic: whether dropout is off; if not, the rng "dropout" is needed.
          order: [B, T] int32, positions by which patterns and causality judge, see
            `attention.wholes`; None: the places of the tokens.
        """
        c = self.config
        residual_std = c.hidden_std
        if c.scaled_residual_init:
            residual_std /= ((2 if self.cross is None else 3) * c.num_layers) ** 0.5

        mix = Attention(
            c,
            pattern=self.pattern,
            residual_std=residual_std,
            causal=self.causal,
            attend=self.attend,
            constrain=self.constrain,
            name="attention",
        )
        feed_forward = FeedForward(c, residual_std, self.constrain, name="feed_forward")
        norm = LayerNorm(c, name="attention_norm")
        feed_forward_norm = LayerNorm(c, name="feed_forward_norm")
        dropout = nn.Dropout(c.residual_dropout, deterministic=deterministic)
        calls: dict[str, Any] = {
            "segment_ids": segment_ids,
            "cache": cache,
            "positions": positions,
            "rotation": rotation,
            "score": score,
            "deterministic": deterministic,
            "order": order,
        }
        if c.norm == "pre":
            branch, cache = mix(norm(x), **calls)
            x = x + dropout(branch)
        else:
            branch, cache = mix(x, **calls)
            x = norm(x + dropout(branch))
        if self.cross is not None:
            assert context is not None, "cross attention needs an encoder's output"
            cross = CrossAttention(
                c, self.cross, residual_std, self.attend, self.constrain, name="cross_attention"
            )
            cross_norm = LayerNorm(c, name="cross_attention_norm")
            options: dict[str, Any] = {
                "positions": None if cache is None else positions,
                "deterministic": deterministic,
            }
            if c.norm == "pre":
                x = x + dropout(cross(cross_norm(x), context, **options))
            else:
                x = cross_norm(x + dropout(cross(x, context, **options)))
        if c.norm == "pre":
            x = x + dropout(feed_forward(feed_forward_norm(x)))
        else:
            x = feed_forward_norm(x + dropout(feed_forward(x)))
        return self.constrain(x, ("batch", "sequence", "embed")), cache
