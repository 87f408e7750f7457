"""From the patches of an image to its places in a text.

The resampler is Flamingo's (Alayrac et al. 2022, arXiv 2204.14198, section 3.1.1), which KOSMOS-1
takes too: learned queries attend to the patches, so that an image of any size takes as many places.
Differs from the paper: queries attend to each other and to the patches one after the other, where
Flamingo's attend to both at once; there are no embeddings of time.

    places = Resampler(config).apply({"params": params}, features)
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from gptjax import attention
from gptjax.attention.patterns import Dense
from gptjax.models.cross_attention import Context
from gptjax.models.layers import identity
from gptjax.models.parameter_shapes import parameter
from gptjax.models.projections import Projection
from gptjax.models.transformer import Transformer
from gptjax.multimodal_config import MultimodalConfig


class Resampler(nn.Module):
    """Learned queries that attend to an image, and a linear map to the decoder's width."""

    config: MultimodalConfig
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    @nn.compact
    def __call__(self, features: jax.Array, *, deterministic: bool = True) -> jax.Array:
        """Maps features [R, P, V] of the encoder to places [R, n, E]."""
        c, stack = self.config, self.config.resampler()
        table = nn.initializers.normal(stack.d_model**-0.5)
        shape = c.image_places, stack.d_model
        queries = parameter(self, "query_embedding", table, shape, jnp.float32)
        x = jnp.broadcast_to(queries[None], (len(features), *shape)).astype(features.dtype)
        trunk = Transformer(
            stack,
            causal=False,
            attend=self.attend,
            constrain=self.constrain,
            cross=(Dense(),),
            name="trunk",
        )
        context = Context(jnp.zeros(features.shape[:2], jnp.int32), features)
        x, _ = trunk(x, context=context, deterministic=deterministic)
        return Projection((c.d_model,), c.init_std, name="out")(x)


class PatchProjection(nn.Module):
    """A linear map of each patch to the decoder's width; a class token is left out."""

    config: MultimodalConfig
    attend: Callable[..., jax.Array] = attention.attend
    constrain: Callable[..., jax.Array] = identity

    @nn.compact
    def __call__(self, features: jax.Array, *, deterministic: bool = True) -> jax.Array:
        """Maps features [R, P, V] of the encoder to places [R, n, E]."""
        del deterministic
        patches = features[:, -self.config.image_places :]
        return Projection((self.config.d_model,), self.config.init_std, name="out")(patches)


CONNECTORS = {"resampler": Resampler, "projection": PatchProjection}
