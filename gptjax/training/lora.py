"""What of a model is trained: adapters beside its kernels (LoRA), or all but some parameters.

Hu et al. 2021 (arXiv 2106.09685). A kernel that a row of `parameters.PARAMETERS` calls a matrix
[layers, *in, *out] has an adapter, A [layers, *in, r] and B [layers, r, *out]. The scalar head of
a reward model or a value network, and the head of a task, are new and trained in full beside them.

    trained = trained_params(config.lora, params, key)
    base = base_of(config.lora, params)
    logits = model.apply({"params": joined(trained, base)}, tokens)
    tx = leaving(make_optimizer(config.optimizer, schedule), ("vision/",))
"""

import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from gptjax.config import LoRAConfig
from gptjax.models.adapters import A, B, Base
from gptjax.training.parameters import LAYER, rule_of

NEW_HEADS = ("scalar_head/", "task_head/")


def base_of(config: LoRAConfig, params: Any) -> Base | None:
    """The frozen base of a run that starts from `params`; None where all are trained."""
    return None if config.rank is None else Base(params, config.scale)


def trained_params(config: LoRAConfig, params: Any, key: jax.Array) -> Any:
    """The parameters that are trained, before the first step: B is zero, so that A B is too.

    Args:
      config: of the run.
      params: of the whole model, that the run starts from.
      key: of A, which is drawn from U(-1, 1) / sqrt(inputs), as PEFT draws it.

    Returns:
      All of `params` without LoRA; else adapters float32, and a new head as it is.

    Raises:
      ValueError: a target that names no kernel.
    """
    if config.rank is None:
        return params
    leaves: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    trained = {path: leaf for path, leaf in leaves.items() if path.startswith(NEW_HEADS)}
    for path in targeted_kernels(config, params):
        a, b = adapter_shapes(path, leaves[path].shape, config.rank)
        bound = math.prod(a[1:-1]) ** -0.5
        drawn = jax.random.fold_in(key, zlib.crc32(path.encode()))
        below = path.removesuffix("kernel")
        trained[below + A] = jax.random.uniform(drawn, a, jnp.float32, -bound, bound)
        trained[below + B] = jnp.zeros(b, jnp.float32)
    return traverse_util.unflatten_dict(trained, sep="/")


def adapter_shapes(
    path: str, kernel: tuple[int, ...], rank: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of A [layers, *in, r] and B [layers, r, *out] of the kernel at `path`."""
    inputs, outputs = rule_of(path, len(kernel)).split(kernel)
    return (kernel[0], *inputs, rank), (kernel[0], rank, *outputs)


def adapter_count(config: LoRAConfig, params: Any) -> int:
    """Number of parameters of all adapters; arguments are those of `targeted_kernels`."""
    assert config.rank is not None
    leaves: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    return sum(
        math.prod(shape)
        for path in targeted_kernels(config, params)
        for shape in adapter_shapes(path, leaves[path].shape, config.rank)
    )


def targeted_kernels(config: LoRAConfig, params: Any) -> list[str]:
    """The paths of the kernels that have adapters.

    Args:
      config: its targets are names of `target_names`; a name stands for all that begin with it.
      params: of the whole model, or their shapes.

    Raises:
      ValueError: a target that names no kernel.
    """
    kernels = _kernels(params)
    targets = [target.strip() for target in config.targets.split(",")]
    for target in targets:
        if target not in target_names(params):
            raise ValueError(
                f"config.lora.targets: got {target!r}, expected a list of "
                f"{', '.join(target_names(params))}"
            )
    return [
        path
        for name, path in kernels.items()
        if any(name == target or name.startswith(f"{target}/") for target in targets)
    ]


def target_names(params: Any) -> list[str]:
    """The names that `lora.targets` may have: groups of kernels, then each kernel."""
    names = list(_kernels(params))
    return [*dict.fromkeys(name.partition("/")[0] for name in names), *names]


def _kernels(params: Any) -> dict[str, str]:
    """The paths of the layers' kernels by name: "attention/query", ..."""
    leaves: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    return {
        path.removeprefix(f"{LAYER}/").removesuffix("/kernel"): path
        for path, leaf in leaves.items()
        if path.endswith("/kernel") and rule_of(path, len(leaf.shape)).matrix is not None
    }


def leaving(
    tx: optax.GradientTransformation, frozen: tuple[str, ...]
) -> optax.GradientTransformation:
    """An optimizer whose updates are 0, weight decay included, for paths that begin so.

    Its state is that of `tx`, so that checkpoints of both kinds have the same form. The loss should
    stop their gradients, or they count in the gradient's norm.
    """
    if not frozen:
        return tx

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = tx.update(updates, state, params)
        return jax.tree_util.tree_map_with_path(kept, updates), state

    def kept(keys: Any, leaf: jax.Array) -> jax.Array:
        path = jax.tree_util.keystr(keys, simple=True, separator="/")
        return jnp.zeros_like(leaf) if path.startswith(frozen) else leaf

    return optax.GradientTransformation(tx.init, update)
