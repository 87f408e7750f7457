"""A training step beside that of PyTorch, eager and compiled, each in a process of its own.

figures = beside_torch(TrainingProgram(config), 8, "gpt", batch_size=16, num_layers=6, ...)
"""

import statistics
from typing import Any

from experiments.benchmarks.interleaved import TimedProgram, interleaved, ratio
from experiments.benchmarks.pytorch.program import torch_program
from experiments.benchmarks.training_program import TrainingProgram
from gptjax.training.reporting.throughput import matmul_peak_flops


def beside_torch(
    ours: TrainingProgram, rounds: int, module: str, **arguments: Any
) -> dict[str, Any]:
    """Measures a training step of ours against PyTorch's two and the matmul peak.

    Args:
      ours: compiled.
      rounds: of each comparison.
      module, **arguments: of `torch_program`; `compiled` is added to them.

    Returns:
      Figures by name; `over_torch` is how many times faster ours is than the faster of PyTorch's.
      Without PyTorch a text says why, in place of its figures.
    """
    first = ours()
    programs: dict[str, TimedProgram] = {
        "ours": ours,
        "matmul_flop": lambda: 1 / matmul_peak_flops(ours.config.model.dtype),
    }
    figures: dict[str, Any] = {}
    over, seconds, shares = [], [], []
    for name, compiled in (("torch_eager", False), ("torch_compiled", True)):
        try:
            with torch_program(module, **arguments, compiled=compiled) as (theirs, version):
                timed = interleaved(programs | {name: theirs}, rounds)
        except ValueError as error:
            figures[name] = str(error)
            timed = interleaved(programs, rounds)
        else:
            figures["torch"] = version
            figures[f"{name}_tokens_per_second"] = ours.tokens / statistics.median(timed[name])
            over.append(ratio(timed, name, "ours"))
        seconds += timed["ours"]
        shares.append(ratio(timed, "matmul_flop", "ours"))
    if over:
        figures["over_torch"] = min(over)
    share = statistics.mean(shares)
    return figures | {
        "tokens_per_second": ours.tokens / statistics.median(seconds),
        "mfu": ours.flops * share,
        "executed_mfu": ours.executed_flops * share,
        "compile_seconds": ours.compile_seconds,
        "first_step_seconds": first,
        "bytes": ours.bytes,
    }
