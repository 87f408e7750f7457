"""Where a training step's time goes: its parts, and its matrix products by shape.

figures = step_budget(TrainingProgram(config))
figures["shares"]["products"]   # of a step; all shares add up to 1
"""

from collections import Counter, defaultdict
from typing import Any

from experiments.benchmarks.step.operations import Operation, Product, operations
from experiments.benchmarks.step.timeline import IDLE, seconds_by_operation, traced
from experiments.benchmarks.training_program import TrainingProgram

STEPS = 3
PARTS = (
    "products",
    "attention",
    "normalisation",
    "activation",
    "biases",
    "residuals",
    "loss",
    "optimizer",
    "copies",
    "other",
    "waiting",
)


def step_budget(program: TrainingProgram, steps: int = STEPS) -> dict[str, Any]:
    """Profiles some steps.

    Args:
      program: compiled for a CPU.
      steps: that are profiled, after one that is not.

    Returns:
      `step_seconds`, under the profiler; `shares` of it by part, which add up to 1; `products`, by
      the name of each its share and its rate, GFLOP a second.
    """
    program()
    with traced() as trace:
        for _ in range(steps):
            program()
    known = operations(program.text, program.tokens)
    callers = {name for name, operation in known.items() if operation.calls}
    seconds = seconds_by_operation(trace.intervals, callers)
    runs = Counter(name for name, *_ in trace.intervals)
    total = sum(seconds.values())
    shares, products, times = dict.fromkeys(PARTS, 0.0), defaultdict(float), Counter[Product]()
    for name, taken in seconds.items():
        operation = known.get(name, Operation("waiting" if name == IDLE else "other"))
        shares[operation.part] += taken / total
        if operation.product:
            products[operation.product] += taken
            times[operation.product] += runs[name]
    return {
        "step_seconds": total / steps,
        "shares": shares,
        "products": {
            product.name: {
                "share": taken / total,
                "gflop_a_second": product.flop * times[product] / taken / 1e9,
            }
            for product, taken in sorted(products.items(), key=lambda item: -item[1])
        },
    }
