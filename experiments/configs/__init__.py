"""One module a paper; importing this package registers all of them, in the papers' order."""

from experiments.configs import (
    demo,
    gpt1,
    gpt2,
    gpt3,
    instructgpt,
    instructgpt_dpo,
    instructgpt_ppo,
    sparse_transformer,
    trials,
)
from experiments.configs.registry import EXPERIMENTS

__all__ = [
    "EXPERIMENTS",
    "demo",
    "gpt1",
    "gpt2",
    "gpt3",
    "instructgpt",
    "instructgpt_dpo",
    "instructgpt_ppo",
    "sparse_transformer",
    "trials",
]
