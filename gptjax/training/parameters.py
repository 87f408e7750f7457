"""The one table of parameters: how a mesh divides each, whether it decays, what Muon does to it.

rule = rule_of("trunk/layers/attention/query/kernel", 4)
rule.axes, rule.decays, rule.matrix

A parameter is identified by its path below `params`; layers are stacked in front. A new parameter
needs a row here, and a run of a model with one that has none stops and names it.
"""

import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any

import jax
from optax.contrib import MuonDimensionNumbers

from gptjax.models import adapters


@dataclasses.dataclass(frozen=True)
class Rule:
    """Rule for the parameters whose paths match a form.

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

    @property
    def reads_width(self) -> bool:
        """Whether it sums over the width of the model, so that muP divides its rate by the width.

        Of an adapter A does, and B sums over a rank. Embeddings, and the logits' table, which has a
        multiplier in place of it, do not (arXiv 2203.03466, table 8); a head of a few numbers has
        table 3's rate.
        """
        if self.form in _NARROW_HEADS:
            return True
        return self.matrix is not None and not self.form.endswith(adapters.B)

    def split(self, axes: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What `axes`, one entry an axis, says of those that the matrix reduces, and makes."""
        assert self.matrix is not None, self.form
        reduced, made = self.matrix.reduction_axis, self.matrix.output_axis
        assert not isinstance(reduced, int) and not isinstance(made, int)
        return tuple(axes[i] for i in reduced), tuple(axes[i] for i in made)


LAYER = "trunk/layers"
_NARROW_HEADS = ("scalar_head/kernel", "task_head/kernel")
# The encoder of an encoder-decoder is a stack of its own, as are that of images under `vision` and
# what stands between images and a text.
_STACK = "((vision|connector)/)?(trunk|encoder)"
_LAYER = f"{_STACK}/layers"
_POOLER = "(vision/)?pooler"
_ATTENTION = f"{_LAYER}/(cross_)?attention"
_MODEL = (
    Rule(r"token_embedding|head/kernel", ("tensor", "fsdp"), True),
    Rule(r"(vision/)?(source_)?position_embedding", (None, "fsdp"), True),
    Rule(r"(vision/)?patch_embedding/kernel", (None, "fsdp"), True),
    Rule(r"(vision/)?patch_embedding/bias|(vision/)?class_embedding", (None,), False),
    Rule(r"(image|text)_projection", ("fsdp", None), True),
    Rule(r"logit_scale", (), False),
    Rule(r"connector/(query_embedding|out/kernel)", (None, "fsdp"), True),
    Rule(r"connector/out/bias", (None,), False),
    Rule(
        rf"{_ATTENTION}/(query|key|value)/kernel",
        (None, "fsdp", "tensor", None),
        True,
        MuonDimensionNumbers((1,), (2, 3)),
    ),
    Rule(rf"{_ATTENTION}/(query|key|value)/bias", (None, "tensor", None), False),
    Rule(
        rf"{_ATTENTION}/out/kernel",
        (None, "tensor", None, "fsdp"),
        True,
        MuonDimensionNumbers((1, 2), (3,)),
    ),
    Rule(
        rf"{_LAYER}/feed_forward/up/kernel",
        (None, "fsdp", "tensor"),
        True,
        MuonDimensionNumbers((1,), (2,)),
    ),
    Rule(rf"{_LAYER}/feed_forward/up/bias", (None, "tensor"), False),
    Rule(
        rf"{_LAYER}/feed_forward/down/kernel",
        (None, "tensor", "fsdp"),
        True,
        MuonDimensionNumbers((1,), (2,)),
    ),
    Rule(rf"{_LAYER}/((cross_)?attention/out|feed_forward/down)/bias", (None, None), False),
    Rule(rf"{_LAYER}/\w+_norm/(scale|bias)", (None, None), False),
    Rule(rf"{_STACK}/final_norm/(scale|bias)", (None,), False),
    Rule(rf"{_STACK}/relative_bias", (None, None), False),
    Rule(
        r"trunk/layers/(input|recurrent)/kernel",
        (None, "fsdp", "tensor"),
        True,
        MuonDimensionNumbers((1,), (2,)),
    ),
    Rule(r"trunk/layers/input/bias", (None, "tensor"), False),
    Rule(r"scalar_head/kernel", ("fsdp",), True),
    Rule(r"scalar_head/bias", (), False),
    Rule(r"token_type_embedding", (None, "fsdp"), True),
    Rule(rf"({_POOLER}|masked_lm_head/dense|next_sentence_head)/kernel", ("fsdp", None), True),
    Rule(
        rf"({_POOLER}|masked_lm_head/dense|next_sentence_head|masked_lm_head)/bias", (None,), False
    ),
    Rule(r"(embedding_norm|(vision/)?entry_norm|masked_lm_head/norm)/(scale|bias)", (None,), False),
    Rule(r"task_head/kernel", ("fsdp", None), True),
    Rule(r"task_head/bias", (None,), False),
    Rule(r"moderation_heads/hidden_kernel", (None, "fsdp", "tensor"), True),
    Rule(r"moderation_heads/out_kernel", (None, "tensor"), True),
    Rule(r"moderation_heads/hidden_bias", (None, "tensor"), False),
    Rule(r"moderation_heads/out_bias", (None,), False),
)


def _of_adapters(kernel: Rule) -> tuple[Rule, Rule]:
    """The rules of a kernel's adapter, A [layers, *in, r] and B [layers, r, *out].

    Their axes of inputs and outputs are divided as the kernel's are; a rank is not.
    """
    inputs, outputs = kernel.split(kernel.axes)
    rank, form = 1 + len(inputs), kernel.form.removesuffix("kernel")
    of_a = MuonDimensionNumbers(tuple(range(1, rank)), (rank,))
    of_b = MuonDimensionNumbers((1,), tuple(range(2, 2 + len(outputs))))
    return (
        Rule(form + adapters.A, (None, *inputs, None), True, of_a),
        Rule(form + adapters.B, (None, None, *outputs), True, of_b),
    )


PARAMETERS = (
    *_MODEL,
    *(rule for kernel in _MODEL if kernel.matrix is not None for rule in _of_adapters(kernel)),
)


def path_of(keys: Any) -> str:
    """The path of a leaf, of the keys that `jax.tree_util.tree_map_with_path` gives.

    The path consists of the innermost mappings' keys alone, so an optimizer's `mu` of a parameter
    has the parameter's path. A leaf in no mapping, such as a count, has no path.
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
