"""Base of the smoke experiments: a paper's recipe on text that comes with every Python.

config = smoke(gpt2_small(), optimizer)
"""

import dataclasses

from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    OptimizerConfig,
    TrainingConfig,
)


def smoke(paper: ExperimentConfig, optimizer: OptimizerConfig) -> ExperimentConfig:
    """`paper` with two layers of width 64 and 100 steps: under a minute on two CPU cores."""
    return dataclasses.replace(
        paper,
        model=dataclasses.replace(
            paper.model,
            vocab_size=1024,
            context_length=64,
            num_layers=2,
            num_heads=2,
            d_model=64,
            d_head=None,
            d_ff=256,
        ),
        data=DataConfig(corpus="python_docs", tokenizer="python_docs_1024"),
        optimizer=optimizer,
        training=TrainingConfig(
            num_steps=100, batch_size=8, log_every=10, eval_every=50, eval_batches=20
        ),
        checkpoint=CheckpointConfig(every_steps=50),
    )
