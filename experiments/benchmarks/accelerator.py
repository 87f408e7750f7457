"""One accelerator in at most eight minutes: training, attention and decoding beside its peaks.

GPT-2 small and medium, attention of 2k to 32k positions by pattern and implementation beside cuDNN
and FlexAttention, decoding at batch 1, 8 and 64. It needs JAX, Flax, optax and orbax; PyTorch's
part runs where PyTorch with CUDA is installed. What fails, never ends or has no time left is named.
It writes accelerator.json and accelerator.md.

    python -m experiments.benchmark --suite=accelerator --output=runs/h100
"""

import dataclasses
import functools
import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from experiments.benchmarks.attention_programs import Shape
from experiments.benchmarks.on_device.attention import (
    chosen,
    measure_attention,
    refusals,
    torch_attention,
)
from experiments.benchmarks.on_device.budget import Part, run_parts
from experiments.benchmarks.on_device.decoding import measure_decoding
from experiments.benchmarks.on_device.peaks import device_peaks
from experiments.benchmarks.on_device.report import markdown
from experiments.benchmarks.on_device.training import measure_training, training_beside_torch
from experiments.benchmarks.registry import SUITES
from experiments.benchmarks.train_shape import TrainShape
from gptjax.atomic_files import write_json
from gptjax.attention import IMPLEMENTATIONS, Pattern, parse
from gptjax.attention.patterns import Dense
from gptjax.config import ModelConfig
from gptjax.runs.provenance import provenance

DIRECTIONS = {"forward": False, "forward_backward": True}


@dataclasses.dataclass(frozen=True)
class AcceleratorSizes:
    """Models, lengths and rounds of the suite `accelerator`.

    Attributes:
      models: trained, by name.
      decoded: the model that decodes.
      rows: batches that decode.
      prompt, new: tokens that a text has, and gets.
      lengths, patterns: of attention.
      longest_reference: positions up to which the reference, which holds all scores, is measured.
      heads, head_dim: of attention.
      dtype: of attention and of peaks.
      stream: bytes that are read to measure the memory's bandwidth.
      rounds: of each measurement.
      budget: seconds of all parts; the rest of eight minutes is for restarts.
      of_part: seconds that a part may take on a device, by the beginning of its name.
    """

    models: Mapping[str, TrainShape]
    decoded: ModelConfig
    rows: tuple[int, ...] = (1, 8, 64)
    prompt: int = 512
    new: int = 128
    lengths: tuple[int, ...] = (2048, 8192, 32_768)
    patterns: tuple[str, ...] = ("dense", "banded(window=256)", "strided(stride=128)")
    longest_reference: int = 2048
    heads: int = 16
    head_dim: int = 64
    dtype: str = "bfloat16"
    stream: int = 1 << 30
    rounds: int = 10
    budget: float = 450.0
    of_part: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: {
            "device": 20.0,
            "peaks": 10.0,
            "training": 60.0,
            "decoding": 30.0,
            "attention": 15.0,
            "torch.training": 100.0,
            "torch.attention": 30.0,
        }
    )


# The vocabulary as nanoGPT pads it, so that both compute the same logits.
SIZES = AcceleratorSizes(
    models={
        "gpt2_small": TrainShape(50304, 1024, 12, 12, 768, batch_size=16, dtype="bfloat16"),
        "gpt2_medium": TrainShape(50304, 1024, 24, 16, 1024, batch_size=8, dtype="bfloat16"),
    },
    decoded=ModelConfig(dtype="bfloat16"),
)


@SUITES.register("accelerator")
def accelerator(output: str = ".") -> dict[str, Any]:
    """Runs the suite on the default device and writes its files to the folder `output`."""
    # Read when JAX first meets the GPU, most of whose memory it would take from PyTorch otherwise.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return measure_accelerator(SIZES, Path(output))


def measure_accelerator(sizes: AcceleratorSizes, output: Path) -> dict[str, Any]:
    """The figures of all parts by their names, what failed and what was left out.

    This process leaves the device to that of the parts: some devices have one process at a time.
    """
    outcome = run_parts(functools.partial(_parts, sizes), sizes.budget)
    found = outcome.figures.pop("device", {"kind": "no device", "versions": {}, "attention": {}})
    figures = {
        "device": {"kind": found.pop("kind"), "count": found.pop("count", 0)},
        "dtype": sizes.dtype,
        "attention": found.pop("attention"),
        "parts": outcome.figures,
        "failed": outcome.failed,
        "left_out": outcome.left_out,
        "seconds": outcome.seconds,
        "budget_seconds": sizes.budget,
    }
    output.mkdir(parents=True, exist_ok=True)
    whole = {"suite": "accelerator", **figures, **found}
    write_json(output / "accelerator.json", whole)
    (output / "accelerator.md").write_text(markdown(whole), "utf-8")
    return figures


def _device(sizes: AcceleratorSizes) -> dict[str, Any]:
    """What the device is, what computes attention on it, and what measures it."""
    chosen_by_name = {
        f"{spec}, {length:,}": chosen(parse(spec)[0], _shape(sizes, length))
        for spec in sizes.patterns
        for length in sizes.lengths
    }
    device = {"kind": jax.devices()[0].device_kind, "count": jax.device_count()}
    return {**device, "attention": chosen_by_name, **provenance()}


def _shape(sizes: AcceleratorSizes, length: int) -> Shape:
    return Shape(length, sizes.heads, sizes.head_dim, sizes.dtype)


def _parts(sizes: AcceleratorSizes, figures: Mapping[str, dict[str, Any]]) -> Iterator[Part]:
    """All parts, what matters most first; `figures` has those of the parts that have ended."""

    def part(name: str, function: Any, *arguments: Any, missing: str | None = None) -> Part:
        begins = max((x for x in sizes.of_part if name.startswith(x)), key=len)
        call = functools.partial(function, *arguments)
        return Part(name, sizes.of_part[begins], call, missing or without)

    without: str | None = None
    yield part("device", _device, sizes)
    yield part("peaks", device_peaks, sizes.dtype, sizes.stream)
    peaks = figures.get("peaks", {})
    without = None if peaks else "shares need the device's peaks, which were not measured"
    for name, shape in sizes.models.items():
        yield part(f"training.{name}", measure_training, shape, sizes.rounds, peaks)
    for rows in sizes.rows:
        arguments = sizes.decoded, rows, sizes.prompt, sizes.new, sizes.rounds, peaks
        yield part(f"decoding.rows={rows}", measure_decoding, *arguments)
    for length, pattern, name, backward, label in _attention(sizes):
        arguments = _shape(sizes, length), pattern, name, backward, sizes.rounds, peaks
        why = refusals(pattern, _shape(sizes, length)).get(name)
        yield part(label, measure_attention, *arguments, missing=why)
    missing = _no_torch()
    for name, shape in sizes.models.items():
        arguments = shape, sizes.rounds
        yield part(f"torch.training.{name}", training_beside_torch, *arguments, missing=missing)
    for length in sizes.lengths:
        for spec in sizes.patterns:
            (pattern,) = parse(spec)
            for program in ("sdpa", "flex") if isinstance(pattern, Dense) else ("flex",):
                for direction, backward in DIRECTIONS.items():
                    yield part(
                        f"torch.attention.{length}.{spec}.{program}.{direction}",
                        torch_attention,
                        *(_shape(sizes, length), pattern, program, backward),
                        *(sizes.rounds, peaks),
                        missing=missing,
                    )


def _attention(sizes: AcceleratorSizes) -> Iterator[tuple[int, Pattern, str, bool, str]]:
    """Length, pattern, implementation, whether backward, and name of each measurement of ours.

    Dense attention of cuDNN's is asked for without our dispatch, too.
    """
    for length in sizes.lengths:
        for spec in sizes.patterns:
            (pattern,) = parse(spec)
            names = [name for name in IMPLEMENTATIONS if name != "reference"]
            if length <= sizes.longest_reference:
                names.append("reference")
            if isinstance(pattern, Dense) and jax.default_backend() == "gpu":
                names.append("cudnn")
            for name in names:
                for direction, backward in DIRECTIONS.items():
                    label = f"attention.{length}.{spec}.{name}.{direction}"
                    yield length, pattern, name, backward, label


def _no_torch() -> str | None:
    """Why PyTorch is not measured; None: it is asked, and says whether it has CUDA."""
    if jax.default_backend() != "gpu":
        return f"PyTorch is measured on a GPU, got {jax.default_backend()}"
    return None if importlib.util.find_spec("torch") else "PyTorch is not installed"
