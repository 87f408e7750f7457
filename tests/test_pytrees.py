import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.inference.filters import MinP, RepetitionPenalty, Temperature, TopK, TopP
from gptjax.pytrees import STATIC, pytree


@dataclasses.dataclass(frozen=True)
class Curve:
    slope: float | jax.Array
    name: str = dataclasses.field(default="line", metadata=STATIC)
    offset: float | jax.Array = 0.0


@pytree
class Line(Curve):
    """Has the same fields as `Steps`."""


@pytree
class Steps(Curve):
    """Has the same fields as `Line`."""


def test_a_program_is_never_that_of_another_class():
    """Of jax's own dataclasses the structures are equal, and one jit in 128 is of the other."""
    nodes = [Line(1.0), Steps(1.0), Line(1.0, name="other")]
    filters = [Temperature(1.3), TopP(0.9), MinP(0.1), RepetitionPenalty(1.3), TopK(7)]
    for group in (nodes, filters, [(node, np.ones(3)) for node in filters]):
        for one, other in itertools.combinations(map(jax.tree.structure, group), 2):
            assert one != other
    assert jax.tree.structure(Line(1.0)) == jax.tree.structure(Line(2.0))


def test_children_are_named_and_what_is_static_is_kept():
    line = Line(2.0, "steep", 1.0)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(line)]
    assert paths == [".slope", ".offset"]
    assert jax.tree.map(lambda x: 2 * x, line) == Line(4.0, "steep", 2.0)
    assert jax.jit(lambda node: node)(line) == Line(jnp.float32(2.0), "steep", jnp.float32(1.0))


def test_a_class_that_is_no_dataclass_is_refused():
    with pytest.raises(TypeError, match="dataclass"):
        pytree(type("Plain", (), {}))
