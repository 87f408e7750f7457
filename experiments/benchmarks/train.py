"""Training against PyTorch and against the machine: speed, and what goes on beside the steps.

Our step and that of the same model and optimizer in PyTorch, eager and compiled, run in turn, each
rival in a process of its own, and ratios are formed round by round; the matmul peak is measured in
the same rounds. The targets of two CPU cores are in float32, those of a GPU in bfloat16.

    python -m experiments.benchmark --suite=train
"""

import dataclasses
import os
import statistics
from collections.abc import Mapping
from typing import Any

import jax

from experiments.benchmarks.beside_steps import beside_steps, memory_over_saves
from experiments.benchmarks.beside_torch import beside_torch
from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import TimedProgram, interleaved, ratio
from experiments.benchmarks.registry import SUITES
from experiments.benchmarks.step.budget import step_budget
from experiments.benchmarks.train_shape import TrainShape
from experiments.benchmarks.training_program import TrainingProgram


@dataclasses.dataclass(frozen=True)
class TrainSizes:
    """Models and repetitions of the suite `train`.

    Attributes:
      models: by name, each with the number of rounds.
      depth: whose layers are those of `depths`, whose compile times are compared.
      beside: beside whose steps the input pipeline, logging and saving are measured.
      saved: what is saved `saves` times.
    """

    models: Mapping[str, tuple[TrainShape, int]]
    depth: TrainShape
    beside: TrainShape
    saved: TrainShape
    depths: tuple[int, int] = (4, 48)
    saves: int = 50


SMALL = TrainShape(256, 256, 6, 6, 384, batch_size=16)
SHALLOW = TrainShape(256, 128, 4, 4, 128, batch_size=4)
CPU = TrainSizes(
    models={
        "six_layers": (SMALL, 8),
        # The vocabulary as nanoGPT pads it, so that both compute the same logits.
        "gpt2_small": (TrainShape(50304, 512, 12, 12, 768, batch_size=2), 3),
    },
    depth=SHALLOW,
    beside=SMALL,
    saved=dataclasses.replace(SHALLOW, d_model=256),
)
GPU = dataclasses.replace(
    CPU,
    models={
        "gpt2_small": (TrainShape(50304, 1024, 12, 12, 768, batch_size=16, dtype="bfloat16"), 20)
    },
)
ALWAYS: dict[str, Target] = {
    "compilation.deep_over_shallow": ("at most", 1.5),
    "beside_steps.share_of_step": ("at most", 0.03),
    "saves.growth_bytes": ("at most", 50e6),
}
CPU_TARGETS: dict[str, Target] = {
    **ALWAYS,
    "six_layers.mfu": ("at least", 0.6),
    "six_layers.over_torch": ("at least", 1.0),
    "gpt2_small.over_torch": ("at least", 1.2),
}
GPU_TARGETS: dict[str, Target] = {
    **ALWAYS,
    "gpt2_small.mfu": ("at least", 0.5),
    "gpt2_small.over_torch": ("at least", 1.1),
}


@SUITES.register("train")
def train() -> dict[str, Any]:
    """Runs the whole suite, in about fifteen minutes on two CPU cores."""
    # Read when JAX first meets the GPU, most of whose memory it would take from PyTorch otherwise.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if jax.default_backend() == "gpu":
        return with_targets(measure_train(GPU), GPU_TARGETS)
    return with_targets(measure_train(CPU), CPU_TARGETS)


def measure_train(sizes: TrainSizes) -> dict[str, Any]:
    """Runs the suite's parts, without targets."""
    models = {name: _model(shape, rounds) for name, (shape, rounds) in sizes.models.items()}
    return models | {
        "compilation": _compilation(sizes.depth, sizes.depths),
        "beside_steps": beside_steps(TrainingProgram(sizes.beside.config)),
        "saves": memory_over_saves(TrainingProgram(sizes.saved.config), sizes.saves),
    }


def _model(shape: TrainShape, rounds: int) -> dict[str, Any]:
    """Figures of a model's step beside PyTorch's; on a CPU, what its time is spent on, too."""
    program = TrainingProgram(shape.config)
    figures = beside_torch(program, rounds, "gpt", **dataclasses.asdict(shape))
    if jax.default_backend() == "cpu":
        figures["budget"] = step_budget(program)
    return figures


def _compilation(shape: TrainShape, depths: tuple[int, int]) -> dict[str, float]:
    """Seconds to compile a step of few and of many layers."""

    def of(num_layers: int) -> TimedProgram:
        config = dataclasses.replace(shape, num_layers=num_layers).config
        return lambda: TrainingProgram(config).compile_seconds

    shallow, deep = depths
    of(shallow)()  # what every compilation needs is then there
    seconds = interleaved({"shallow": of(shallow), "deep": of(deep)}, rounds=3)
    figures = {f"{name}_seconds": statistics.median(seconds[name]) for name in seconds}
    return figures | {"deep_over_shallow": ratio(seconds, "deep", "shallow")}
