"""The configuration of the optimizer, for all kinds of run.

config = OptimizerConfig(learning_rate=3e-4, warmup_steps=100)
"""

import dataclasses

from gptjax.settings import setting


@dataclasses.dataclass
class OptimizerConfig:
    """The optimizer and its schedule. Give warm-up and decay in steps or in tokens, not in both."""

    name: str = setting("adamw", "optimization algorithm", choices=("adamw", "muon"))
    learning_rate: float = setting(6e-4, "learning rate at its peak", above=0.0)
    schedule: str = setting(
        "cosine",
        "shape of the learning rate after warm-up; wsd: stable, then a linear decay; rsqrt: the "
        "inverse square root of the steps or tokens, without end",
        choices=("cosine", "linear", "wsd", "rsqrt", "constant"),
    )
    warmup_steps: int | None = setting(
        None,
        "steps of linear warm-up; none: warmup_tokens decides, and without it there is no warm-up",
        low=0,
        gives_way_to="warmup_tokens",
    )
    warmup_tokens: int | None = setting(
        None,
        "tokens of linear warm-up; none: warmup_steps decides",
        low=0,
        gives_way_to="warmup_steps",
    )
    decay_steps: int | None = setting(
        None,
        "steps until the decay ends; none: decay_tokens decides, or it takes all steps",
        low=1,
        gives_way_to="decay_tokens",
    )
    decay_tokens: int | None = setting(
        None,
        "tokens until the decay ends; none: decay_steps decides",
        low=1,
        gives_way_to="decay_steps",
    )
    decay_fraction: float = setting(
        0.1,
        "length of the decay of wsd, as a share of the steps or tokens until the decay ends",
        above=0.0,
        high=1.0,
    )
    final_fraction: float = setting(
        0.0, "learning rate after the decay, as a share of the peak", low=0.0, high=1.0
    )
    beta1: float = setting(0.9, "Adam's decay per step of the average gradient", low=0.0, below=1.0)
    beta2: float = setting(
        0.95, "Adam's decay per step of the average squared gradient", low=0.0, below=1.0
    )
    epsilon: float = setting(1e-8, "number added to the denominator of Adam's update", above=0.0)
    weight_decay: float = setting(
        0.1, "decoupled weight decay; biases and gains do not decay", low=0.0
    )
    clip_norm: float | None = setting(
        1.0, "largest norm of the whole gradient; none: no clipping", above=0.0
    )
    ema_decay: float | None = setting(
        None,
        "decay per update of a moving average of the parameters; none: no average is kept",
        above=0.0,
        below=1.0,
    )
