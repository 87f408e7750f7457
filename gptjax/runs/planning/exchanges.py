"""What the devices of a mesh have to exchange in a training step of a decoder, by formula.

expected(config, plan.trees, {"data": 2, "fsdp": 4, "sequence": 1, "tensor": 1}, tokens, 4)

Parameters are gathered over `fsdp` where they are used and their gradients are scattered (ZeRO-3,
arXiv 1910.02054, section 5), gradients are summed over all axes that divide the batch, activations
over `tensor` twice in each layer and direction (Megatron, arXiv 1909.08053, section 3), and keys
and values go over `sequence` (arXiv 2310.01889, section 3). Bytes are as `collectives` counts them.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax

from gptjax import attention
from gptjax.attention.implementations.context_parallel import ring_steps
from gptjax.attention.patterns import in_order
from gptjax.config import ExperimentConfig
from gptjax.models.transformer import UNROLLED_LAYERS, attention_cycle, attention_of_layers
from gptjax.runs.planning.collectives import Collective
from gptjax.training.parameters import path_of

WHAT = ("parameters", "gradients", "activations", "keys and values", "others")
BATCH = ("data", "fsdp", "sequence")
MIB = 2**20
SUMS = ("all-reduce", "reduce-scatter")


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a step has to exchange.

    Attributes:
      what: of WHAT.
      bytes: of the arrays on a device, as of `Collective`.
    """

    what: str
    bytes: float


def what_of(row: Collective) -> str:
    """What a collective exchanges, by its axes and its kind: one of WHAT."""
    axes = set(row.axes.split(","))
    if axes == {"tensor"}:
        return "activations"
    if axes == {"sequence"} and row.kind != "all-reduce":
        return "keys and values"
    if axes <= set(BATCH) and row.kind in SUMS:
        return "gradients"
    return "parameters" if axes == {"fsdp"} and row.kind == "all-gather" else "others"


def exchanges(
    found: Sequence[Collective], wanted: Sequence[Expected] | None
) -> list[dict[str, Any]]:
    """What a program exchanges beside what it has to, a row for each of WHAT, for JSON.

    A row has `what`, `over` (axes), `kinds`, `count`, `bytes`, `sent_bytes` and `expected_bytes`,
    None where no formula is known.
    """
    formulas = None if wanted is None else {row.what: row.bytes for row in wanted}
    made = []
    for what in WHAT:
        rows = [row for row in found if what_of(row) == what]
        expected_bytes = None if formulas is None else formulas.get(what, 0.0)
        if rows or expected_bytes:
            made.append(
                {
                    "what": what,
                    "over": sorted({row.axes for row in rows}),
                    "kinds": sorted({row.kind for row in rows}),
                    "count": sum(row.count for row in rows),
                    "bytes": sum(row.bytes for row in rows),
                    "sent_bytes": sum(row.sent_bytes for row in rows),
                    "expected_bytes": expected_bytes,
                }
            )
    return made


def exchange_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The rows of `exchanges` for people."""
    yield f"  {'exchanged in a step, on each device':42} {'MiB':>12} {'expected':>12} {'sent':>12}"
    for row in rows:
        kinds = ", ".join(kind.replace("collective-", "") for kind in row["kinds"]) or "none"
        label = f"{row['what']} ({row['count']:,} x {kinds})"
        formula = row["expected_bytes"]
        shown = "unknown" if formula is None else f"{formula / MIB:,.3f}"
        sizes = f"{row['bytes'] / MIB:12,.3f} {shown:>12} {row['sent_bytes'] / MIB:12,.3f}"
        yield f"  {label:42} {sizes}"


def expected(
    config: ExperimentConfig,
    trees: Mapping[str, Any],
    mesh: Mapping[str, int],
    tokens: int,
    itemsize: int,
) -> list[Expected]:
    """What a step of a resolved `config` has to exchange.

    Args:
      config: of a decoder with its own logits.
      trees: "parameter_bytes", what is trained, and "base_bytes", what adapters stand beside:
        shapes with shardings.
      mesh: sizes of its axes.
      tokens: of a step, on all devices.
      itemsize: bytes of a number that is computed with.
    """
    trained, base = trees["parameter_bytes"], trees.get("base_bytes")
    local = tokens / (mesh["data"] * mesh["fsdp"] * mesh["sequence"])
    # Each microbatch sums its own gradients, but with `pmap`, which sums once.
    times = 1 if config.parallelism.strategy == "pmap" else config.training.accumulate
    rows = [
        Expected("parameters", _gathered(config, (trained, base), mesh, itemsize)),
        Expected("gradients", times * _summed(trained, mesh)),
        Expected("activations", _activations(config, mesh, local, itemsize)),
        Expected("keys and values", _keys_and_values(config, mesh, local, itemsize)),
    ]
    return [row for row in rows if row.bytes]


def _leaves(tree: Any) -> Iterator[tuple[str, Any, set[str]]]:
    """Path, leaf, and the axes of the mesh that divide it."""
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield path_of(keys), leaf, {axis for axis in leaf.sharding.spec if axis is not None}


def _gathered(config: ExperimentConfig, trees: Any, mesh: Mapping[str, int], size: int) -> float:
    """Bytes of the parameters that are gathered over `fsdp`, for each microbatch.

    Layers are gathered forward and backward. Those of a cycle of several patterns that is unrolled
    keep what they have gathered, unless they are computed again. The tables stay gathered, one in
    float32 and one in the model's dtype.
    """
    if mesh["fsdp"] == 1:
        return 0.0
    model, total = config.model, 0.0
    cycle = len(attention_cycle(model))
    again = cycle == 1 or model.num_layers > UNROLLED_LAYERS
    looped = model.num_layers // cycle * cycle if again else 0
    twice = model.num_layers if model.remat != "none" else looped
    for path, leaf, axes in _leaves(trees):
        if "fsdp" in axes:
            whole = leaf.size / (mesh["tensor"] if "tensor" in axes else 1)
            if "/layers/" in path:
                total += size * whole * (1 + twice / model.num_layers)
            elif path == "token_embedding" and model.tied_embeddings and size != 4:
                total += (4 + size) * whole
            else:
                total += whole * (size if path == "head/kernel" else 4)
    return config.training.accumulate * total


def _summed(trained: Any, mesh: Mapping[str, int]) -> float:
    """Bytes of gradients: over `fsdp` where it divides a parameter, then over the others."""
    others, total = math.prod(mesh[axis] for axis in ("data", "sequence")), 0.0
    for _, leaf, axes in _leaves(trained):
        share = 4 * leaf.size / (mesh["tensor"] if "tensor" in axes else 1)
        if "fsdp" not in axes:
            total += share if others * mesh["fsdp"] > 1 else 0.0
            continue
        total += share if mesh["fsdp"] > 1 else 0.0
        total += share / mesh["fsdp"] if others > 1 else 0.0
    return total


def _activations(
    config: ExperimentConfig, mesh: Mapping[str, int], tokens: float, size: int
) -> float:
    """Bytes of sums over `tensor`, of so many tokens on a device.

    Two in each layer forward and two backward, one of attention again where layers are computed
    again; of the embeddings and of the logits' gradient one each; of each target's logit, and of
    the peak and the total of its row, one number.
    """
    if mesh["tensor"] == 1:
        return 0.0
    model = config.model
    in_layer = 4 + (model.remat == "block")
    return tokens * (size * model.d_model * (in_layer * model.num_layers + 2) + 3 * 4)


def _keys_and_values(
    config: ExperimentConfig, mesh: Mapping[str, int], tokens: float, size: int
) -> float:
    """Bytes of keys and values over `sequence`, where a device has so many tokens.

    All at once: gathered forward, their gradients scattered. In a ring: what a device holds, once a
    hop, forward and backward, and its float32 gradients, which also go the last hop home.
    """
    if mesh["sequence"] == 1:
        return 0.0
    model, sequence = config.model, mesh["sequence"]
    assert model.num_kv_heads and model.d_head and model.d_value, "resolve the config first"
    numbers = tokens * model.num_kv_heads * (model.d_head + model.d_value) / mesh["tensor"]
    again = model.remat == "block"
    if config.parallelism.sequence_attention == "gather":
        return model.num_layers * (2 + again) * sequence * size * numbers
    return sum(
        numbers * (size * (2 + again) * hops + 4 * (hops + (hops > 0)))
        for hops in _hops(attention_of_layers(model), model.context_length, sequence)
    )


def _hops(patterns: Iterable[attention.Pattern], length: int, sequence: int) -> Iterator[int]:
    """Hops round the ring of each layer's keys: those that no device needs are left out."""
    for pattern in patterns:
        yield len(ring_steps(in_order(pattern), length, sequence, False)) - 1
