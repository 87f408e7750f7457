"""Targets of `python -m experiments.scaling`, whose losses are predicted from smaller runs.

python -m experiments.scaling --experiment=scaling_smoke --workdir=runs/scaling
"""

from experiments.configs.registry import EXPERIMENTS
from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)


def _target(d_model: int, num_heads: int, num_steps: int, batch_size: int) -> ExperimentConfig:
    """A decoder on bytes: a vocabulary of 256 is a small part of small models, too."""
    return ExperimentConfig(
        model=ModelConfig(
            vocab_size=256,
            context_length=64,
            num_layers=2,
            num_heads=num_heads,
            d_model=d_model,
        ),
        data=DataConfig(corpus="python_docs", tokenizer="bytes"),
        optimizer=OptimizerConfig(
            learning_rate=6e-3, warmup_steps=num_steps // 10, final_fraction=0.1
        ),
        training=TrainingConfig(
            num_steps=num_steps,
            batch_size=batch_size,
            log_every=50,
            eval_every=num_steps,
            eval_batches=256,
            sample_tokens=0,
        ),
        checkpoint=CheckpointConfig(every_steps=num_steps, keep=1),
    )


@EXPERIMENTS.register("scaling_smoke")
def scaling_smoke() -> ExperimentConfig:
    """GPT-4's predictable scaling (report, section 3) in a minute: too small for a good law.

    Expected: six runs of 1/10,000 to 1/100 of the compute of a model of width 80, a prediction, and
    its error, in about a minute on two CPU cores.
    """
    return _target(80, 5, 400, 32)


@EXPERIMENTS.register("scaling_miniature")
def scaling_miniature() -> ExperimentConfig:
    r"""GPT-4's predictable scaling (report, section 3): a loss predicted from 1/100 of the compute.

    Expected: six runs of at most 1/100 of the compute of a model of 0.3 million parameters predict
    its loss within 2%, in about 20 minutes on two CPU cores (docs/scaling.md has what came out).
    """
    return _target(112, 7, 2400, 64)
