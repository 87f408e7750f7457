"""Ways to read longer contexts with a trained model, before and after training on.

way = Way("yarn", factor=4.0)
model = way.model(config.model, longest=8 * config.model.context_length)
longer = trained_on(workdir, way, num_steps=200, learning_rate=None)

Position interpolation is arXiv 2306.15595; the NTK-aware base and YaRN are arXiv 2309.00071. Both
papers train on for some hundred steps.
"""

import dataclasses
from typing import Any

from gptjax import attention
from gptjax.config import ExperimentConfig, ModelConfig
from gptjax.models.grown_tables import OF_POSITIONS, stretches
from gptjax.models.positions import stretched
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget.plan import of_length

WARMUP_STEPS = 20  # as YaRN's
RATE = 0.1  # of the run's own peak, where none is given
METHODS = {
    "rotary": ("none", "interpolation", "ntk", "yarn"),
    "learned": ("none", "interpolation"),
    "sinusoidal": ("none",),
    "none": ("none",),
}


@dataclasses.dataclass(frozen=True)
class Way:
    """How a model reads what is longer than its trained context.

    Attributes:
      method: of its kind of positions, see `METHODS`.
      factor: how many times longer the context becomes.
      attention: patterns in place of the model's own; None: its own.
    """

    method: str
    factor: float
    attention: str | None = None

    def __post_init__(self) -> None:
        """Refuses what is no extension."""
        if not self.factor > 1:
            raise ValueError(f"--factor: got {self.factor:g}, expected more than 1")

    def __str__(self) -> str:
        return self.method if self.attention is None else f"{self.method}, {self.attention}"

    def model(self, trained: ModelConfig, longest: int) -> ModelConfig:
        """The model that reads up to `longest` tokens, or all that its positions have.

        Raises:
          ValueError: positions that this method does not extend, patterns that do not exist, or a
            model whose context has been extended before.
        """
        methods = METHODS[trained.positions]
        if self.method not in methods:
            raise ValueError(
                f"--methods: got {self.method} for positions={trained.positions}, expected of "
                f"{', '.join(methods)}"
            )
        if trained.rotary_scaling != "none":
            raise ValueError(
                f"--workdir: got a run with rotary_scaling={trained.rotary_scaling}, expected one "
                "that has not been extended yet"
            )
        attention.parse(self.attention or trained.attention)
        context = trained.context_length
        changes: dict[str, Any] = {"context_length": longest}
        if self.attention is not None:
            changes["attention"] = self.attention
        if trained.positions == "learned":
            ends = context if self.method == "none" else round(self.factor * context)
            changes["context_length"] = min(ends, longest)
        elif self.method != "none":
            changes |= {"rotary_scaling": self.method, "rotary_factor": self.factor}
        if self.method == "yarn":
            changes["rotary_original_context"] = context
        return dataclasses.replace(trained, **changes).resolved()


def extended_params(params: dict, trained: ModelConfig, model: ModelConfig) -> dict:
    """The parameters of `trained` as `model` reads them: learned positions are interpolated."""
    if not stretches(trained, model):
        return params
    return params | {OF_POSITIONS: stretched(params[OF_POSITIONS], model.context_length)}


def trained_on(
    workdir: WorkDirectory, way: Way, num_steps: int, learning_rate: float | None
) -> ExperimentConfig:
    """The configuration that trains on from a run with the longer context, resolved.

    A batch has as many tokens as the run's, in fewer and longer rows, one at least.

    Args:
      workdir: of the run.
      way: how its context is extended.
      num_steps: of the training, `WARMUP_STEPS` of warm-up among them, a tenth at most.
      learning_rate: its peak; None: `RATE` of the run's own.
    """
    config = workdir.config()
    context = config.model.context_length
    model = way.model(config.model, round(way.factor * context))
    rows = config.training.batch_size * context // model.context_length
    config.training.batch_size, config.training.accumulate = max(1, rows), 1
    config.training.batch_ramp_start = config.training.batch_ramp_tokens = None
    config.model = model
    config.checkpoint.init_from = str(workdir.path)
    config.data.tokenizer = str(workdir.path / "tokenizer")
    optimizer = config.optimizer
    optimizer.learning_rate = learning_rate or RATE * optimizer.learning_rate
    config = of_length(config, num_steps, config.training.seed + 1)
    config.optimizer.warmup_tokens = None
    config.optimizer.warmup_steps = min(WARMUP_STEPS, num_steps // 10)
    return config
