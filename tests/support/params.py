"""Parameters of a model without a compiled program that draws them."""

import jax
import numpy as np

from gptjax.models.parameter_shapes import parameter_shapes


def random_params(model, *arguments, std=0.2, seed=0):
    """Parameters of the shapes that `model.init` makes: scales about 1, the others about 0.

    `arguments` are those of `init`; none: one token.
    """
    shapes = parameter_shapes(model, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arguments))
    random = np.random.default_rng(seed)

    def drawn(path, leaf):
        centre = 1.0 if path[-1].key.endswith("scale") else 0.0
        return (centre + std * random.normal(size=leaf.shape)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(drawn, shapes)
