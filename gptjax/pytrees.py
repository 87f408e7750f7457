"""Dataclasses as pytrees whose structures differ where their classes do.

In jax 0.10 structures of `jax.tree_util.register_dataclass` compare equal if their classes have as
many fields. They hash apart, so that `jit` mostly tells them apart; where the few bits that its
table looks at first are the same, it runs the program of the other class.

    @pytree
    @dataclasses.dataclass(frozen=True)
    class Temperature:
        value: float
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

import jax

Class = TypeVar("Class", bound=type)

STATIC: dict[str, Any] = {"static": True}


def pytree(cls: Class) -> Class:
    """Registers a dataclass as a pytree.

    Args:
      cls: its fields are children, or with `metadata=STATIC` part of the structure, which must be
        hashable.

    Returns:
      `cls`.
    """
    fields = dataclasses.fields(cls)
    children = tuple(field.name for field in fields if not field.metadata.get("static"))
    static = tuple(field.name for field in fields if field.metadata.get("static"))
    keys = tuple(map(jax.tree_util.GetAttrKey, children))

    def flatten(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        held = node.__dict__
        return tuple([held[name] for name in children]), tuple([held[name] for name in static])

    def flatten_with_keys(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        values, structure = flatten(node)
        return tuple(zip(keys, values, strict=True)), structure

    def unflatten(structure: tuple[Any, ...], values: Iterable[Any]) -> Any:
        return cls(**dict(zip(children, values)), **dict(zip(static, structure)))  # noqa: B905

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
    return cls
