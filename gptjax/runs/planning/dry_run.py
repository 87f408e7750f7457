"""Requirements of a run before it starts: memory on each device, FLOPs a step, whether it fits.

Bytes of parameters, optimizer and their average are exact: shapes and shardings give them, on a
mesh without devices. The rest, activations and gradients above all, is an estimate: what XLA plans
for one step of the largest batch, compiled for virtual CPU devices in a process of its own. Other
devices have other kernels, and a CPU may compute in float32 what they compute in bfloat16. Prompts
and answers are at their limits. Samples at evaluations are not counted: while one is written, a
copy of the parameters in the dtype of the model, and a cache. The kind of run says what is held and
which program is compiled.

    python -m experiments.train --experiment=gpt3_175b --dry_run --device_memory_gib=80 \
      --config.parallelism.strategy=mesh --config.parallelism.fsdp=64
"""

import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, Mesh

from gptjax.attention.device import compiling_for, current
from gptjax.config import ExperimentConfig, resolve
from gptjax.runs.header import attention_choices
from gptjax.runs.kind import KINDS, Plan, kind_named, kind_of
from gptjax.runs.planning.ahead import target_device, target_devices
from gptjax.runs.planning.collectives import Collective, collectives
from gptjax.runs.planning.exchanges import exchange_lines, exchanges
from gptjax.settings import from_dict, to_dict
from gptjax.training.memory import bytes_of_each_device
from gptjax.training.partitioning import AXES, make_mesh, mesh_shape

GIB = 2**30
QUICKLY = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11):  # later ones end at a flag that they do not know
    QUICKLY += " --xla_cpu_use_fusion_emitters=false"


@dataclasses.dataclass(frozen=True)
class Held:
    """What a run holds throughout.

    Attributes:
      plan: as the kind of run makes it.
      mesh: of all devices.
      bytes: on each device, by the names of the figures.
    """

    plan: Plan
    mesh: AbstractMesh
    bytes: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Planned:
    """What is known of the largest program of a run, once it is compiled.

    Attributes:
      bytes: on each device.
      collectives: what the devices exchange; none on one device.
    """

    bytes: int
    collectives: Sequence[Collective] = ()


def dry_run(
    config: ExperimentConfig,
    device_memory_gib: float | None = None,
    devices: int | None = None,
    target: str | None = None,
) -> dict[str, Any]:
    """The figures of a resolved `config`, for one JSON line; bytes are those of each device.

    Args:
      config: its parallelism may ask for more devices than there are.
      device_memory_gib: what `fits` compares with; None: what the device at hand says it has.
      devices: as `held` has them.
      target: what the largest program is compiled for, of `choices.TARGETS`; None: CPUs.

    Raises:
      ValueError: as `held`, or as `target_devices`.
    """
    all_held = held(config, devices)
    planned = _planned_in_a_child(config, all_held.mesh.size, target)
    total = planned.bytes + _outside(all_held)
    # A CPU's compiler computes, and sends, in float32 what others do in bfloat16.
    itemsize = 4 if target is None else jnp.dtype(config.model.dtype).itemsize
    wanted = kind_of(config).expected_exchanges(config, all_held.plan, all_held.mesh, itemsize)
    device = current() if target is None else target_device(target, all_held.mesh.size)
    with compiling_for(device):
        choices = attention_choices(config)
    memory = _device_memory() if device_memory_gib is None else round(device_memory_gib * GIB)
    trained = sum(leaf.size for leaf in jax.tree.leaves(all_held.plan.trees["parameter_bytes"]))
    return {
        "parameters": kind_of(config).costs(config).parameters,
        **({} if config.lora.rank is None else {"trained_parameters": trained}),
        "mesh": dict(all_held.mesh.shape),
        "compiled_for": target or "cpu",
        **all_held.bytes,
        "estimated_activation_bytes": total - sum(all_held.bytes.values()),
        "estimated_total_bytes": total,
        "device_memory_bytes": memory,
        "estimated_to_fit": None if memory is None else total <= memory,
        **all_held.plan.flops,
        "exchanges": exchanges(planned.collectives, wanted),
        "attention": [f"on {device.platform}: {line}" for line in choices],
    }


def held(config: ExperimentConfig, devices: int | None = None) -> Held:
    """What a run of a resolved `config` holds throughout; nothing is compiled.

    Args:
      config: its parallelism may ask for more devices than there are.
      devices: all there would be; None: those that the axes ask for; an open `data` asks for what
        the others leave of the devices at hand, or for 1.

    Raises:
      ValueError: the batch or a parameter does not divide over the mesh, the axes do not multiply
        to `devices`, or the configuration is one that its kind of run cannot have.
    """
    kind = kind_of(config)
    kind.check(config)
    parallelism = config.parallelism
    others = parallelism.fsdp * parallelism.tensor * parallelism.sequence
    if devices is None:
        devices = others * (parallelism.data or max(1, jax.device_count() // others))
    shape = mesh_shape(parallelism, devices)
    mesh = AbstractMesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES))
    plan = kind.plan(config, mesh)
    exact = {name: bytes_of_each_device(tree) for name, tree in plan.trees.items()}
    return Held(plan, mesh, exact | dict(plan.bytes))


def estimated_bytes(config: ExperimentConfig, all_held: Held) -> int:
    """Bytes on each device of what a run holds and of its largest program, which is compiled."""
    return _planned_in_a_child(config, all_held.mesh.size, None).bytes + _outside(all_held)


def _outside(all_held: Held) -> int:
    """Bytes on each device of what the largest program does not take."""
    return sum(all_held.bytes[name] for name in (*all_held.plan.outside, *all_held.plan.bytes))


def dry_run_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """The figures of `dry_run` as lines for people."""
    axes = ", ".join(f"{name}={size}" for name, size in figures["mesh"].items())
    devices = math.prod(figures["mesh"].values())
    on = "1 device" if devices == 1 else f"{devices:,} devices"
    yield f"{figures['parameters']:,} parameters on {on} ({axes})"
    if "trained_parameters" in figures:
        share = figures["trained_parameters"] / figures["parameters"]
        yield f"trained: {figures['trained_parameters']:,} parameters of adapters ({share:.2%})"
    yield f"  {'on each device':42} {'GiB':>12}"
    for name, label in (
        ("base_bytes", "frozen base of the adapters"),
        ("parameter_bytes", "parameters"),
        ("optimizer_bytes", "optimizer"),
        ("average_bytes", "average of the parameters"),
        ("reference_bytes", "reference"),
        ("reward_model_bytes", "reward models"),
        ("value_network_bytes", "value network"),
        ("value_optimizer_bytes", "its optimizer"),
        ("rollout_bytes", "rollouts: cache and weights for decoding"),
        ("estimated_activation_bytes", "activations and gradients (an estimate)"),
        ("estimated_total_bytes", "together (an estimate)"),
        ("device_memory_bytes", "memory of a device"),
    ):
        if figures.get(name) is not None:
            yield f"  {label:42} {figures[name] / GIB:12,.3f}"
    yield f"  {'FLOPs a step, as if dense':42} {figures['flops_per_step']:12.3e}"
    if "executed_flops_per_step" in figures:
        yield f"  {'FLOPs a step, executed':42} {figures['executed_flops_per_step']:12.3e}"
    if figures["exchanges"]:
        yield from exchange_lines(figures["exchanges"])
    for line in figures["attention"]:
        yield f"  attention {line}"
    yield {
        True: "it should fit",
        False: "it should NOT fit",
        None: "whether it fits is not known: --device_memory_gib says what a device has",
    }[figures["estimated_to_fit"]]


def _device_memory() -> int | None:
    """Bytes that the first device lets a program have, where it says so."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


def _planned_in_a_child(config: ExperimentConfig, devices: int, target: str | None) -> Planned:
    """The largest program of as many virtual devices, or of as many that are not at hand.

    A process can make virtual devices only once, so that they are those of a child. Nothing of it
    runs, so that XLA need not spend its time on fast code; what it plans differs by 2% at most.

    Raises:
      ValueError: as `target_devices`.
    """
    child = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(
            {
                "kind": [config.kind, KINDS[config.kind]],
                "config": to_dict(config),
                "devices": devices,
                "target": target,
            }
        ),
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICKLY},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = json.loads(child.stdout)
    if "refused" in told:
        raise ValueError(told["refused"])
    return Planned(told["bytes"], [Collective(**row) for row in told["collectives"]])


def _planned_as_asked(asked: dict[str, Any]) -> dict[str, Any]:
    """Plans the run that the parent process describes on standard input; for JSON."""
    count, target = asked["devices"], asked["target"]
    jax.config.update("jax_num_cpu_devices", count if target is None else 1)
    name, module = asked["kind"]
    KINDS[name] = module
    kind = kind_named(name)
    config = resolve(from_dict(kind.config, asked["config"]))
    try:
        devices = None if target is None else target_devices(target, count)
    except ValueError as error:
        return {"refused": str(error)}
    return dataclasses.asdict(planned_on(config, make_mesh(config.parallelism, devices)))


def planned_on(config: ExperimentConfig, mesh: Mesh) -> Planned:
    """What the devices of `mesh` hold and exchange in the largest program of `config`, resolved."""
    program = kind_of(config).largest_program(config, mesh)
    text = program.compiled.as_text() if mesh.size > 1 else None
    return Planned(program.bytes, collectives(text, mesh.shape) if text else ())


if __name__ == "__main__":
    print(json.dumps(_planned_as_asked(json.load(sys.stdin))))
