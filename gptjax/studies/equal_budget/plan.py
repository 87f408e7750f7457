"""Runs of a comparison at equal budget: variants x seeds, each with its number of steps.

A budget is a cost that training on one token has, in any unit; the first variant's run, as the
experiment has it, fixes how much of it every other run spends.

    trials = plan(base, parse_variants("dense;banded(window=64)", 512), "flops", 3, measurements)
"""

import copy
import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping

from gptjax import attention
from gptjax.config import ExperimentConfig, batch_schedule, resolve
from gptjax.models.costs import executed_training_flops_per_token
from gptjax.studies.equal_budget.measure import Measurement

# The cost of training on one token, under each budget.
BUDGETS: dict[str, Callable[[ExperimentConfig, Measurement], float]] = {
    "tokens": lambda config, measured: 1.0,
    "flops": lambda config, measured: executed_training_flops_per_token(config.model),
    "seconds": lambda config, measured: measured.seconds_per_token,
}
SCHEDULED = ("warmup_steps", "warmup_tokens", "decay_steps", "decay_tokens")
LONGEST_NAME = 80  # characters of a variant in the name of its folder; a hash stands for more


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run: a variant, a seed, and the resolved configuration that says the rest."""

    variant: str
    seed: int
    config: ExperimentConfig

    @property
    def directory(self) -> str:
        """Directory of the run below the comparison's; each trial has its own."""
        signs = {"(": "{", ")": "}", ",": "+", "|": "-or-", "&": "-and-"}
        name = self.variant.translate(str.maketrans(signs))
        if len(name) > LONGEST_NAME:
            name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(self.variant.encode()).hexdigest()[:12]}"
        return f"runs/{name}/seed{self.seed}"


def parse_variants(text: str, context_length: int) -> list[str]:
    """The attention specifications that `text` joins by semicolons, without spaces.

    Raises:
      ValueError: one is not a specification for texts of that length, or two are the same.
    """
    variants: dict[tuple[attention.Pattern, ...], str] = {}
    for part in text.split(";"):
        variant = "".join(part.split())
        patterns = attention.parse(variant)
        for pattern in patterns:
            pattern.check(context_length)
        if patterns in variants:
            raise ValueError(
                f"--variants: got {variants[patterns]!r} and {variant!r}, which are the same; "
                "expected each variant once"
            )
        variants[patterns] = variant
    return list(variants.values())


def trial_config(
    base: ExperimentConfig, variant: str, num_steps: int, seed: int
) -> ExperimentConfig:
    """`base` with another attention, length and seed, resolved.

    The learning-rate schedule is laid over the run's own length: its warm-up and decay, where
    `base` states them, stretch as the run does.
    """
    config = copy.deepcopy(base)
    stretch = num_steps / config.training.num_steps
    for name in SCHEDULED:
        if value := getattr(config.optimizer, name):
            setattr(config.optimizer, name, max(1, round(value * stretch)))
    config.model.attention = variant
    config.training.num_steps, config.training.seed = num_steps, seed
    return resolve(config)


def plan(
    base: ExperimentConfig,
    variants: list[str],
    budget: str,
    num_seeds: int,
    measurements: Mapping[str, Measurement],
) -> list[Trial]:
    """The trials, seed by seed, so that what is done of a comparison compares.

    Args:
      base: the experiment; its `num_steps` are the first variant's, its `seed` the first seed.
      variants: from `parse_variants`.
      budget: a name in BUDGETS.
      num_seeds: runs of each variant.
      measurements: of each variant.
    """
    steps = {}
    batches, num_steps = batch_schedule(base), base.training.num_steps
    cost: dict[str, float] = {}
    for variant in variants:
        config = trial_config(base, variant, num_steps, base.training.seed)
        cost[variant] = BUDGETS[budget](config, measurements[variant])
        tokens = batches.tokens(num_steps) * cost[variants[0]] / cost[variant]
        enough = batches.steps_for(math.ceil(tokens))
        nearest = min((enough, enough - 1), key=lambda n: abs(batches.tokens(n) - tokens))
        steps[variant] = max(1, nearest)
    return [
        Trial(variant, seed, trial_config(base, variant, steps[variant], seed))
        for seed in range(base.training.seed, base.training.seed + num_seeds)
        for variant in variants
    ]
