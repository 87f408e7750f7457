"""Rules that a recipe follows over compute, as published: batch, rate, and the best size.

batch_tokens(1e21), peak_rate(1e21)

Source of batch and rate: DeepSeek LLM (arXiv 2401.02954, section 3.1, equation 1), fitted to runs
of AdamW from 1e17 to 2e19 FLOPs whose losses were near the best of their compute.
"""

import dataclasses
import math

from gptjax.scaling.chinchilla import REPLICATED, ParametricLaw

BATCH, BATCH_EXPONENT = 0.2920, 0.3271  # tokens
RATE, RATE_EXPONENT = 0.3118, -0.1250
HEAD_WIDTH = 128
ASPECT = 128  # d_model / num_layers, as GPT-3 175B has


def batch_tokens(flops: float) -> float:
    """The best batch of a run of so many FLOPs, in tokens."""
    return BATCH * flops**BATCH_EXPONENT


def peak_rate(flops: float) -> float:
    """The best peak learning rate of AdamW of a run of so many FLOPs."""
    return RATE * flops**RATE_EXPONENT


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A run for a budget.

    Attributes:
      flops: of its training, 6 N D.
      num_layers, d_model, num_heads: its shape, whose heads are `HEAD_WIDTH` wide.
      parameters: N of that shape, 12 layers d_model^2.
      tokens: D.
      batch_tokens: of a step.
      learning_rate: at its peak.
      loss: that the law expects, in nats per token of the law's own data and vocabulary.
    """

    flops: float
    num_layers: int
    d_model: int
    num_heads: int
    parameters: int
    tokens: int
    batch_tokens: int
    learning_rate: float
    loss: float


def recipe_for(flops: float, law: ParametricLaw = REPLICATED) -> Recipe:
    """The run that `law` expects to have the lowest loss for a budget of `flops`.

    Raises:
      ValueError: a budget for less than one layer of the narrowest head.
    """
    wanted, _ = law.optimum(flops)
    layers, width = shape_for(wanted)
    parameters = 12 * layers * width**2
    tokens = flops / (6 * parameters)
    rows = 2 ** max(0, round(math.log2(batch_tokens(flops))))
    return Recipe(
        flops=flops,
        num_layers=layers,
        d_model=width,
        num_heads=width // HEAD_WIDTH,
        parameters=parameters,
        tokens=round(tokens),
        batch_tokens=rows,
        learning_rate=peak_rate(flops),
        loss=float(law(parameters, tokens)),
    )


def shape_for(parameters: float) -> tuple[int, int]:
    """Layers and width, a multiple of `HEAD_WIDTH`, of about so many parameters.

    Of all such shapes, that which is nearest in size and in aspect, on a logarithmic scale.

    Raises:
      ValueError: fewer than half of those that the smallest shape has.
    """
    smallest = 12 * HEAD_WIDTH**2
    if not parameters >= smallest / 2:
        raise ValueError(
            f"--flops: got a budget for {parameters:.3g} parameters, expected one for at least "
            f"{smallest:,}, a layer of one head of {HEAD_WIDTH}"
        )
    widest = math.ceil((parameters * ASPECT / 12) ** (1 / 3) * 2 / HEAD_WIDTH)
    shapes = []
    for heads in range(1, widest + 1):
        width = heads * HEAD_WIDTH
        layers = max(1, round(parameters / (12 * width**2)))
        size = abs(math.log(12 * layers * width**2 / parameters))
        aspect = abs(math.log(width / layers / ASPECT))
        shapes.append((size + 0.3 * aspect, layers, width))
    return min(shapes)[1:]
