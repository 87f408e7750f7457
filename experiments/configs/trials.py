"""Small experiments to try `python -m experiments.compare` with.

python -m experiments.compare --experiment=compare_smoke --workdir=runs/compare
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


@EXPERIMENTS.register("compare_smoke")
def compare_smoke() -> ExperimentConfig:
    """A decoder whose attention is a good part of its cost, for comparisons of a few minutes.

    Expected: with the default variants and three seeds, under two minutes on two CPU cores.
    """
    return ExperimentConfig(
        model=ModelConfig(
            vocab_size=1024, context_length=512, num_layers=2, num_heads=2, d_model=64
        ),
        data=DataConfig(corpus="python_docs", tokenizer="python_docs_1024"),
        optimizer=OptimizerConfig(name="muon", learning_rate=0.02, warmup_steps=10),
        training=TrainingConfig(
            num_steps=80, batch_size=2, log_every=5, eval_every=20, eval_batches=8
        ),
        checkpoint=CheckpointConfig(every_steps=80),
    )
