"""Configuration of DPO and IPO; `gptjax.tasks.preference_optimisation` is the kind of run."""

import dataclasses
from typing import ClassVar

from gptjax.config import ExperimentConfig
from gptjax.settings import setting
from gptjax.tasks.configs.rankings import RankingsSection


@dataclasses.dataclass
class DPOSection(RankingsSection):
    """DPO and IPO: the rankings and the loss."""

    loss: str = setting("dpo", "loss of a pair of answers", choices=("dpo", "ipo"))
    beta: float = setting(
        0.1, "strength of the pull towards the reference: beta of dpo, tau of ipo", above=0.0
    )
    label_smoothing: float = setting(
        0.0, "share of the preferences that dpo assumes to be wrong", low=0.0, below=0.5
    )
    kl_prompts: int = setting(
        64,
        "held-out prompts whose answers measure the divergence from the reference; 0: it is not "
        "measured",
        low=0,
    )


@dataclasses.dataclass
class DPOConfig(ExperimentConfig):
    """A run of DPO or IPO."""

    kind: ClassVar[str] = "dpo"

    dpo: DPOSection = dataclasses.field(default_factory=DPOSection)
