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


def _target(num_layers: int, d_model: int, num_heads: int, num_steps: int) -> ExperimentConfig:
    """A decoder on bytes: a vocabulary of 256 is a small part of small models, too.

    Muon, rotary positions and small batches bring the smallest models past the plateau of pairs of
    bytes, below which no power law holds (docs/log.md).
    """
    return ExperimentConfig(
        model=ModelConfig(
            vocab_size=256,
            context_length=64,
            num_layers=num_layers,
            num_heads=num_heads,
            d_model=d_model,
            positions="rotary",
        ),
        data=DataConfig(corpus="python_docs", tokenizer="bytes"),
        optimizer=OptimizerConfig(
            name="muon",
            learning_rate=0.01,
            warmup_steps=num_steps // 10,
            final_fraction=0.0,
        ),
        training=TrainingConfig(
            num_steps=num_steps,
            batch_size=32,
            log_every=50,
            eval_every=num_steps,
            eval_batches=128,
            sample_tokens=0,
        ),
        checkpoint=CheckpointConfig(every_steps=num_steps, keep=1),
    )


@EXPERIMENTS.register("scaling_smoke")
def scaling_smoke() -> ExperimentConfig:
    """GPT-4's predictable scaling (report, section 3) in a minute: too short for a good law.

    Expected: six runs of 1/10,000 to 1/100 of the compute of a model of one layer of width 128, a
    prediction with a wide interval, and its error, in about a minute on two CPU cores.
    """
    return _target(1, 128, 4, 200)


@EXPERIMENTS.register("scaling_brief")
def scaling_brief() -> ExperimentConfig:
    r"""GPT-4's predictable scaling (report, section 3) in five minutes on two CPU cores.

    Expected: six runs of at most 1/100 of the compute predict the loss of a model of two layers of
    width 64 within a few percent (docs/results.md). All learn from as many tokens a parameter as
    those of `scaling_miniature`:

        python -m experiments.scaling --experiment=scaling_brief --workdir=runs/scaling \
            --sizes=2x8,2x10,2x12,2x14,2x16,2x20
    """
    return _target(2, 64, 2, 1564)


@EXPERIMENTS.register("scaling_miniature")
def scaling_miniature() -> ExperimentConfig:
    r"""GPT-4's predictable scaling (report, section 3): a loss from 1/100 of the compute.

    Expected: seven runs of at most 1/100 of the compute of a model of two layers of width 96
    predict its loss within 2%, in about 20 minutes on two CPU cores (docs/scaling.md has what came
    out):

        python -m experiments.scaling --experiment=scaling_miniature --workdir=runs/scaling \
            --sizes=2x8,2x10,2x14,2x18,2x22,2x26,2x30
    """
    return _target(2, 96, 3, 3520)
