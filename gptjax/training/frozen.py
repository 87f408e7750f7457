"""Parameters that training leaves as they are, in an optimizer of all.

tx = leaving(make_optimizer(config.optimizer, schedule), ("vision/",))
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def leaving(
    tx: optax.GradientTransformation, frozen: tuple[str, ...]
) -> optax.GradientTransformation:
    """An optimizer whose updates are 0, weight decay included, for paths that begin so.

    Its state is that of `tx`, so that checkpoints of both kinds have the same form. The loss should
    stop their gradients, or they count in the gradient's norm.
    """
    if not frozen:
        return tx

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = tx.update(grads, state, params)
        return jax.tree_util.tree_map_with_path(kept, updates), state

    def kept(keys: Any, leaf: jax.Array) -> jax.Array:
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        return jnp.zeros_like(leaf) if path.startswith(frozen) else leaf

    return optax.GradientTransformation(tx.init, update)
