"""The one table of parameters: how a mesh divides each, whether it decays, what Muon does to it.

rule = rule_of("trunk/layers/attention/query/kernel", 4)
rule.axes, rule.decays, rule.matrix

A parameter is told by its path below `params`; layers are stacked in front. A new parameter needs
a row here, and a run of a model with one that has none stops and names it.
"""

import dataclasses
import functools
import re
from typing import Any

import jax
from optax.contrib import MuonDimensionNumbers


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is done to the parameters whose paths have a form.

    Attributes:
      form: a regular expression, which matches the whole path.
      axes: the mesh axis that divides each axis of the parameter; None: none does.
      decays: whether weight decay applies. Biases and gains have none (GPT-1, section 4.1).
      matrix: what Muon makes orthogonal: (axes that a matrix reduces, axes that it makes), the
        others being stacked; None: AdamW updates it.
    """

    form: str
    axes: tuple[str | None, ...]
    decays: bool
    matrix: MuonDimensionNumbers | None = None


LAYER = "trunk/layers"
PARAMETERS = (
    Rule(r"token_embedding|head/kernel", ("tensor", "fsdp"), True),
    Rule(r"position_embedding", (None, "fsdp"), True),
    Rule(
        rf"{LAYER}/attention/(query|key|value)/kernel",
        (None, "fsdp", "tensor", None),
        True,
        MuonDimensionNumbers((1,), (2, 3)),
    ),
    Rule(rf"{LAYER}/attention/(query|key|value)/bias", (None, "tensor", None), False),
    Rule(
        rf"{LAYER}/attention/out/kernel",
        (None, "tensor", None, "fsdp"),
        True,
        MuonDimensionNumbers((1, 2), (3,)),
    ),
    Rule(
        rf"{LAYER}/feed_forward/up/kernel",
        (None, "fsdp", "tensor"),
        True,
        MuonDimensionNumbers((1,), (2,)),
    ),
    Rule(rf"{LAYER}/feed_forward/up/bias", (None, "tensor"), False),
    Rule(
        rf"{LAYER}/feed_forward/down/kernel",
        (None, "tensor", "fsdp"),
        True,
        MuonDimensionNumbers((1,), (2,)),
    ),
    Rule(rf"{LAYER}/(attention/out|feed_forward/down)/bias", (None, None), False),
    Rule(rf"{LAYER}/\w+_norm/(scale|bias)", (None, None), False),
    Rule(r"trunk/final_norm/(scale|bias)", (None,), False),
    Rule(r"trunk/relative_bias", (None, None), False),
    Rule(r"scalar_head/kernel", ("fsdp",), True),
    Rule(r"scalar_head/bias", (), False),
)


def path_of(keys: Any) -> str:
    """The path of a leaf, of the keys that `jax.tree_util.tree_map_with_path` gives.

    It has the names of the mappings that the leaf ends in, whatever they are in: an optimizer's
    `mu` of a parameter has the parameter's path. A leaf in no mapping, such as a count, has none.
    """
    names: list[str] = []
    for key in reversed(keys):
        if not isinstance(key, jax.tree_util.DictKey):
            break
        names.insert(0, key.key)
    return "/".join(names)


@functools.cache
def rule_of(path: str, num_axes: int) -> Rule:
    """The rule of a parameter.

    Args:
      path: of the parameter, see `path_of`.
      num_axes: that it has.

    Raises:
      ValueError: naming a parameter that has no rule.
    """
    for rule in PARAMETERS:
        if re.fullmatch(rule.form, path) and len(rule.axes) == num_axes:
            return rule
    raise ValueError(
        f"got parameter {path!r} of {num_axes} axes, expected a row for it in "
        "training.parameters.PARAMETERS"
    )
