"""A model whose context experiments.long_context extends: rotary positions, heads of 32.

python -m experiments.train --experiment=long_context_smoke --workdir=runs/short
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


@EXPERIMENTS.register("long_context_smoke")
def long_context_smoke() -> ExperimentConfig:
    """A small GPT with rotary positions and 512 tokens of context, to be extended.

    Source: YaRN, arXiv 2309.00071, section 3.2. Its ramp keeps pairs that turn more than 32 times
    in the trained context; with heads of 32 there is such a pair from 512 tokens on, and under 202
    tokens there is none at any width.
    Expected: about 5.3 nats a token after 100 steps, within a minute on two CPU cores; with
    --config.training.num_steps=600 what docs/long_context.md shows.
    """
    return ExperimentConfig(
        model=ModelConfig(
            vocab_size=1024,
            context_length=512,
            num_layers=4,
            num_heads=4,
            d_model=128,
            positions="rotary",
        ),
        data=DataConfig(corpus="python_docs", tokenizer="python_docs_1024"),
        optimizer=OptimizerConfig(name="muon", learning_rate=0.012, warmup_steps=10),
        training=TrainingConfig(
            num_steps=100, batch_size=8, log_every=10, eval_every=50, eval_batches=10
        ),
        checkpoint=CheckpointConfig(every_steps=100),
    )
