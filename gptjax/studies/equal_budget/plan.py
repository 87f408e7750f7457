"""Runs of a comparison at equal budget: variants x seeds, each with its number of steps.

A budget is a cost that training on one token has, in any unit; the first variant's run, as the
experiment has it, fixes how much of it every other run spends.

    variants = parse_variants(base, "dense;banded(window=64)")
    trials = plan(base, variants, "flops", 3, measurements)
"""

import copy
import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from gptjax.config import Config, ExperimentConfig, batch_schedule, resolve
from gptjax.runs.kind import kind_of
from gptjax.studies import choices
from gptjax.studies.equal_budget.measure import Measurement
from gptjax.studies.equal_budget.variants import Variant


def flops_per_token(config: ExperimentConfig) -> float:
    """Executed training FLOPs for each token that the batch schedule counts."""
    kind = kind_of(config)
    return kind.costs(config).executed_flops_per_token * _computed(config)


def _computed(config: ExperimentConfig) -> float:
    """Tokens that are computed for each that the batch schedule counts."""
    kind = kind_of(config)
    return kind.tokens(kind.largest_batch(config)) / (
        config.training.batch_size * config.model.tokens_per_row
    )


# The cost of training on one token of the batch schedule, under each budget.
_COSTS = (
    lambda config, measured: 1.0,
    lambda config, measured: flops_per_token(config),
    lambda config, measured: measured.seconds_per_token * _computed(config),
)
BUDGETS: dict[str, Callable[[ExperimentConfig, Measurement], float]]
BUDGETS = dict(zip(choices.BUDGETS, _COSTS, strict=True))
SCHEDULED = ("warmup_steps", "warmup_tokens", "decay_steps", "decay_tokens")
LONGEST_NAME = 80  # characters of a variant in the name of its folder; a hash stands for more


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run: a variant, a seed, and the resolved configuration that says the rest."""

    variant: Variant
    seed: int
    config: ExperimentConfig

    @property
    def directory(self) -> str:
        """Directory of the run below the comparison's; each trial has its own."""
        signs = {"(": "{", ")": "}", ",": "+", "|": "-or-", "&": "-and-", "/": "-of-"}
        key = self.variant.key
        name = key.translate(str.maketrans(signs))
        if len(name) > LONGEST_NAME:
            name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
        return f"runs/{name}/seed{self.seed}"


def of_length(config: Config, num_steps: int, seed: int) -> Config:
    """A copy of `config`, which is not resolved yet, with another length and seed, resolved.

    The learning-rate schedule is laid over the run's own length: its warm-up and decay, where they
    are stated, stretch as the run does.
    """
    config = copy.deepcopy(config)
    stretch = num_steps / config.training.num_steps
    for name in SCHEDULED:
        if value := getattr(config.optimizer, name):
            setattr(config.optimizer, name, max(1, round(value * stretch)))
    config.training.num_steps, config.training.seed = num_steps, seed
    return resolve(config)


def trial_config(base: Config, variant: Variant, num_steps: int, seed: int) -> Config:
    """`of_length` of a variant of `base`."""
    return of_length(variant.of(base), num_steps, seed)


def equal_steps(configs: Iterable[ExperimentConfig], costs: Iterable[float]) -> list[int]:
    """The steps with which each configuration spends as much as the first does in its own.

    Args:
      configs: resolved.
      costs: of a token of the batch schedule, a configuration each, in any unit.
    """
    steps, spent = [], 0.0
    for config, cost in zip(configs, costs, strict=True):
        batches = batch_schedule(config)
        spent = spent or batches.tokens(config.training.num_steps) * cost
        tokens = spent / cost
        enough = batches.steps_for(math.ceil(tokens))
        nearest = min((enough, enough - 1), key=lambda n: abs(batches.tokens(n) - tokens))
        steps.append(max(1, nearest))
    return steps


def plan(
    base: ExperimentConfig,
    variants: Sequence[Variant],
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
      measurements: of each variant, by its key.
    """
    num_steps, seed = base.training.num_steps, base.training.seed
    configs = [trial_config(base, variant, num_steps, seed) for variant in variants]
    costs = (
        BUDGETS[budget](config, measurements[variant.key])
        for config, variant in zip(configs, variants, strict=True)
    )
    steps = equal_steps(configs, costs)
    return [
        Trial(variant, seed, trial_config(base, variant, length, seed))
        for seed in range(seed, seed + num_seeds)
        for variant, length in zip(variants, steps, strict=True)
    ]
