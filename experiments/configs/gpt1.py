"""GPT-1: Improving Language Understanding by Generative Pre-Training (Radford et al. 2018).

python -m experiments.train --experiment=gpt1_smoke --workdir=runs/gpt1_smoke
"""

import dataclasses

from experiments.configs.registry import EXPERIMENTS
from experiments.configs.smoke import smoke
from gptjax.config import (
    CheckpointConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)


@EXPERIMENTS.register("gpt1")
def gpt1() -> ExperimentConfig:
    """GPT-1, 117M parameters (section 4.1, "Model specifications").

    Expected: a token-level perplexity of 18.4 on the training corpus. The paper names neither
    the number of tokens nor of steps: 100 epochs are counted as of one billion tokens each.
    Trained for a month on 8 P600 GPUs; about 20 hours on 8 A100 at 40% utilisation.
    """
    model = ModelConfig(
        vocab_size=40478,
        context_length=512,
        num_layers=12,
        num_heads=12,
        d_model=768,
        d_ff=3072,
        norm="post",
        scaled_residual_init=False,
        embedding_dropout=0.1,
        attention_dropout=0.1,
        residual_dropout=0.1,
    )
    optimizer = OptimizerConfig(
        learning_rate=2.5e-4,
        schedule="cosine",
        warmup_steps=2000,
        beta2=0.999,
        weight_decay=0.01,
        clip_norm=None,
    )
    training = TrainingConfig(
        num_steps=100 * 1_000_000_000 // (64 * 512),
        batch_size=64,
        log_every=100,
        eval_every=5000,
        eval_batches=100,
    )
    checkpoint = CheckpointConfig(every_steps=5000)
    return ExperimentConfig(
        model=model, optimizer=optimizer, training=training, checkpoint=checkpoint
    )


@EXPERIMENTS.register("gpt1_smoke")
def gpt1_smoke() -> ExperimentConfig:
    """GPT-1's architecture and recipe, small enough for a minute on two CPU cores.

    Expected: about 3.4 bits per byte on held-out `python_docs`, from 3.9 at the start.
    """
    paper = gpt1()
    return smoke(paper, dataclasses.replace(paper.optimizer, learning_rate=2e-3, warmup_steps=20))
