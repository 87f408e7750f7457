"""GPT-2: Language Models are Unsupervised Multitask Learners (Radford et al. 2019), Table 2.

The paper publishes the architecture, batch (512 sequences) and context (1,024 tokens), not the
optimiser: GPT-3's (arXiv 2005.14165, appendix B) stands in, with the peak learning rates of its
models of the nearest size. Nor is the length of training published: 100 billion tokens,
about ten epochs of WebText.

    python -m experiments.train --experiment=gpt2_smoke --workdir=runs/gpt2_smoke
"""

from experiments.configs.registry import EXPERIMENTS
from experiments.configs.smoke import smoke
from gptjax.config import (
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)


def _gpt2(num_layers: int, d_model: int, num_heads: int, learning_rate: float) -> ExperimentConfig:
    model = ModelConfig(
        vocab_size=50257,
        context_length=1024,
        num_layers=num_layers,
        num_heads=num_heads,
        d_model=d_model,
        d_ff=4 * d_model,
        embedding_dropout=0.1,
        attention_dropout=0.1,
        residual_dropout=0.1,
    )
    tokens_a_step = 512 * 1024
    optimizer = OptimizerConfig(
        learning_rate=learning_rate, warmup_tokens=375_000_000, final_fraction=0.1
    )
    training = TrainingConfig(
        num_steps=100_000_000_000 // tokens_a_step,
        batch_size=512,
        log_every=10,
        eval_every=1000,
        eval_batches=50,
    )
    return ExperimentConfig(model=model, optimizer=optimizer, training=training)


@EXPERIMENTS.register("gpt2_small")
def gpt2_small() -> ExperimentConfig:
    r"""GPT-2 small, 124M parameters (Table 2; "117M" in the paper).

    Expected (Table 3, zero-shot): LAMBADA perplexity 35.13, WikiText-103 perplexity 37.50. About a
    day on 8 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=gpt2_small --workdir=runs/gpt2_small \
            --config.model.dtype=bfloat16 --config.training.accumulate=4 \
            --config.parallelism.strategy=mesh --config.parallelism.fsdp=8
    """
    return _gpt2(12, 768, 12, 6.0e-4)


@EXPERIMENTS.register("gpt2_medium")
def gpt2_medium() -> ExperimentConfig:
    r"""GPT-2 medium, 355M parameters (Table 2; "345M" in the paper).

    Expected (Table 3, zero-shot): LAMBADA perplexity 15.60, WikiText-103 perplexity 26.37. About 3
    days on 8 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=gpt2_medium --workdir=runs/gpt2_medium \
            --config.model.dtype=bfloat16 --config.training.accumulate=8 \
            --config.parallelism.strategy=mesh --config.parallelism.fsdp=8
    """
    return _gpt2(24, 1024, 16, 3.0e-4)


@EXPERIMENTS.register("gpt2_large")
def gpt2_large() -> ExperimentConfig:
    r"""GPT-2 large, 774M parameters (Table 2; "762M" in the paper).

    Expected (Table 3, zero-shot): LAMBADA perplexity 10.87, WikiText-103 perplexity 22.05. About 6
    days on 8 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=gpt2_large --workdir=runs/gpt2_large \
            --config.model.dtype=bfloat16 --config.training.accumulate=16 \
            --config.parallelism.strategy=mesh --config.parallelism.fsdp=8
    """
    return _gpt2(36, 1280, 20, 2.5e-4)


@EXPERIMENTS.register("gpt2_xl")
def gpt2_xl() -> ExperimentConfig:
    r"""GPT-2 XL, 1,558M parameters (Table 2; "1542M" in the paper).

    Expected (Table 3, zero-shot): LAMBADA perplexity 8.63, WikiText-103 perplexity 17.48. About 12
    days on 8 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=gpt2_xl --workdir=runs/gpt2_xl \
            --config.model.dtype=bfloat16 --config.training.accumulate=16 \
            --config.parallelism.strategy=mesh --config.parallelism.fsdp=8
    """
    return _gpt2(48, 1600, 25, 2.0e-4)


@EXPERIMENTS.register("gpt2_smoke")
def gpt2_smoke() -> ExperimentConfig:
    """GPT-2's architecture and recipe, small enough for a minute on two CPU cores.

    Expected: about 3.3 bits per byte on held-out `python_docs`, from 3.9 at the start.
    """
    return smoke(
        gpt2_small(), OptimizerConfig(learning_rate=2e-3, warmup_steps=20, final_fraction=0.1)
    )
