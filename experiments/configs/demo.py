"""The default of `make demo`: a small GPT on text that comes with every Python.

python -m experiments.train --experiment=demo --workdir=runs/demo
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


@EXPERIMENTS.register("demo")
def demo() -> ExperimentConfig:
    """A small GPT on the documentation of Python's standard library.

    Muon and a larger vocabulary are what a few minutes of CPU reward most (docs/log.md).
    Expected: about 2.05 bits per byte on held-out documents, after two to three minutes on two
    CPU cores.
    """
    return ExperimentConfig(
        model=ModelConfig(
            vocab_size=4096,
            context_length=256,
            num_layers=4,
            num_heads=3,
            d_model=192,
            d_ff=768,
        ),
        data=DataConfig(corpus="python_docs", tokenizer="python_docs_4096"),
        optimizer=OptimizerConfig(name="muon", learning_rate=0.012, warmup_steps=20),
        training=TrainingConfig(num_steps=280, batch_size=8, log_every=10, eval_every=70),
        checkpoint=CheckpointConfig(every_steps=140),
    )
