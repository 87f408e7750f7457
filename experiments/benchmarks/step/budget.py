"""Where a training step's time goes: its parts, and its matrix products by shape.

figures = step_budget(TrainingProgram(config))
figures["shares"]["products"]   # of a step; all shares add up to 1
"""

from collections import Counter, defaultdict
from typing import Any

from experiments.benchmarks.step.forms import product_rates
from experiments.benchmarks.step.operations import Operation, Product, operations
from experiments.benchmarks.step.timeline import IDLE, seconds_by_operation, traced
from experiments.benchmarks.training_program import TrainingProgram

STEPS = 3
PARTS: tuple[str, ...] = (
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
    """Profiles some steps, and measures the forms of their products.

    Args:
      program: compiled for a CPU, in float32.
      steps: that are profiled, after one that is not.

    Returns:
      `step_seconds`, under the profiler; `shares` of it by part, which add up to 1; `products`, by
      the name of each its share, its rate from start to end, GFLOP a second, and the best form's;
      `products_seconds` of a step, and what they would be at the best forms' rates.
    """
    program()
    with traced() as trace:
        for _ in range(steps):
            program()
    known = operations(program.text, program.tokens)
    callers = {name for name, operation in known.items() if operation.calls}
    seconds = seconds_by_operation(trace.intervals, callers)
    total = sum(seconds.values())
    shares: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    of_products: dict[Product, float] = defaultdict(float)
    for name, taken in seconds.items():
        operation = known.get(name, Operation("waiting" if name == IDLE else "other"))
        shares[operation.part] += taken / total
        if operation.product:
            of_products[operation.product] += taken
    lasted: dict[Product, float] = defaultdict(float)
    times = Counter[Product]()
    for name, start, end in trace.intervals:
        if name in known and (product := known[name].product):
            lasted[product] += (end - start) * 1e-9
            times[product] += 1
    products, at_best = {}, 0.0
    for product, taken in sorted(of_products.items(), key=lambda item: -item[1]):
        rates = product_rates(product)
        best = max(rates, key=lambda name: rates[name])
        at_best += product.flop * times[product] / steps / rates[best] / 1e9
        products[product.name] = {
            "share": taken / total,
            "gflop_a_second": product.flop * times[product] / lasted[product] / 1e9,
            "best_gflop_a_second": rates[best],
            "best_form": best,
        }
    return {
        "step_seconds": total / steps,
        "shares": shares,
        "products": products,
        "products_seconds": sum(of_products.values()) / steps,
        "products_seconds_at_best": at_best,
    }
