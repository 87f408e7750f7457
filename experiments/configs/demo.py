"""The default of `make demo`: a small GPT on text that comes with every Python.

python -m experiments.pretrain --experiment=demo --workdir=runs/demo
"""

from experiments.registry import EXPERIMENTS
from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)


@EXPERIMENTS.register("demo")
def demo() -> ExperimentConfig:
    """A small GPT on the documentation of Python's standard library.

    Expected: 2.4 bits per byte or better on held-out documents, within 5 minutes on two CPU
    cores.
    """
    return ExperimentConfig(
        model=ModelConfig(
            vocab_size=2048,
            context_length=256,
            num_layers=4,
            num_heads=4,
            d_model=256,
            d_ff=1024,
        ),
        data=DataConfig(corpus="python_docs", tokenizer="python_docs_2048"),
        optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=50, weight_decay=0.1),
        training=TrainingConfig(num_steps=600, batch_size=8, log_every=10, eval_every=300),
        checkpoint=CheckpointConfig(every_steps=300),
    )
