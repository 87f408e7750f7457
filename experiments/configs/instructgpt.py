r"""InstructGPT: Training Language Models to Follow Instructions (Ouyang et al. 2022, 2203.02155).

Appendix C has the recipes. Not published, and GPT-3's here: weight decay, clipping, and Adam's
epsilon. Prompts and answers are of at most 1,000 tokens each. The data, some 13,000 demonstrations
and 33,000 ranked prompts, was never released: yours go into `config.sft.conversations` and
`config.reward.rankings`. The vocabulary is GPT-2's with the tokens of a chat, `chat:gpt2:DIR`.

    python -m experiments.train --experiment=sft_smoke --workdir=runs/sft
    python -m experiments.train --experiment=reward_model_smoke --workdir=runs/reward \
        --config.checkpoint.init_from=runs/sft
"""

import dataclasses

from experiments.configs.gpt3 import gpt3_6_7b, gpt3_175b, gpt3_xl
from experiments.configs.registry import EXPERIMENTS
from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from gptjax.tasks.configs.fine_tuning import SFTConfig, SFTSection
from gptjax.tasks.configs.reward_modelling import RewardModelConfig, RewardSection

VOCAB = 50257 + 5  # GPT-2's, three roles, the end of a turn, padding


def _sft(pretrained: ExperimentConfig, batch_size: int, learning_rate: float) -> SFTConfig:
    return SFTConfig(
        model=dataclasses.replace(pretrained.model, vocab_size=VOCAB, residual_dropout=0.2),
        data=DataConfig(document_masking=True),
        optimizer=OptimizerConfig(learning_rate=learning_rate, final_fraction=0.1),
        training=TrainingConfig(batch_size=batch_size, eval_every=100),
        checkpoint=CheckpointConfig(every_steps=100),
        sft=SFTSection(epochs=16),
    )


@EXPERIMENTS.register("sft_1.3b")
def sft_1_3b() -> SFTConfig:
    r"""InstructGPT's supervised fine-tuning of GPT-3 1.3B (section 3.5, appendix C.1).

    Differs from the paper: several demonstrations share a row of 2,048 tokens, so that a batch of
    32 rows holds more than 32 of them; the checkpoint is chosen by validation loss, which the paper
    says is lowest after one epoch. With `sft.choose=reward` and `sft.rewards=reward_model:DIR` a
    reward model's score chooses it, as there. Expected: no figure is published. About an hour on 8
    A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=sft_1.3b --workdir=runs/sft_1.3b \
            --config.model.dtype=bfloat16 --config.training.accumulate=4 \
            --config.parallelism.strategy=mesh --config.parallelism.fsdp=8
    """
    return _sft(gpt3_xl(), 32, 9.65e-6)


@EXPERIMENTS.register("sft_6b")
def sft_6b() -> SFTConfig:
    r"""InstructGPT's supervised fine-tuning of GPT-3 6.7B (section 3.5, appendix C.1).

    Differs from the paper as `sft_1.3b`. Expected: no figure is published. About five hours on 8
    A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=sft_6b --workdir=runs/sft_6b \
            --config.model.dtype=bfloat16 --config.model.remat=block \
            --config.parallelism.strategy=mesh --config.parallelism.fsdp=8
    """
    return _sft(gpt3_6_7b(), 32, 9.65e-6)


@EXPERIMENTS.register("sft_175b")
def sft_175b() -> SFTConfig:
    r"""InstructGPT's supervised fine-tuning of GPT-3 175B (section 3.5, appendix C.1).

    Differs from the paper as `sft_1.3b`. Expected: no figure is published; 4.9 petaflop/s-days
    (section 5.1), about 10 hours on 96 A100 of 80 GB at 40% utilisation:

        python -m experiments.train --experiment=sft_175b --workdir=runs/sft_175b \
            --config.model.dtype=bfloat16 --config.model.remat=block \
            --config.parallelism.strategy=mesh --config.parallelism.fsdp=8 \
            --config.parallelism.tensor=12
    """
    return _sft(gpt3_175b(), 8, 5.03e-6)


@EXPERIMENTS.register("reward_model_6b")
def reward_model_6b() -> RewardModelConfig:
    r"""InstructGPT's reward model, of 6B parameters (section 3.5, appendix C.2).

    It starts from the model that `sft_6b` makes. Expected: 72.4 +- 0.4% of the comparisons of
    labellers it was trained on predicted, 69.6 +- 0.9% of others' (section 4.1), where labellers
    agree with each other 72.6 +- 1.5% of the time (section 3.4). A few hours on 8 A100 of 80 GB:

        python -m experiments.train --experiment=reward_model_6b --workdir=runs/reward_model_6b \
            --config.model.dtype=bfloat16 --config.model.remat=block \
            --config.training.accumulate=8 --config.parallelism.strategy=mesh \
            --config.parallelism.fsdp=8
    """
    return RewardModelConfig(
        model=dataclasses.replace(gpt3_6_7b().model, vocab_size=VOCAB),
        optimizer=OptimizerConfig(learning_rate=9e-6, final_fraction=0.1),
        training=TrainingConfig(batch_size=64, eval_every=100),
        checkpoint=CheckpointConfig(every_steps=100),
        reward=RewardSection(epochs=1),
    )


def smoke_model() -> ModelConfig:
    """Model that the smoke experiments train."""
    return ModelConfig(vocab_size=448 + 5, context_length=64, num_layers=2, num_heads=2, d_model=64)


@EXPERIMENTS.register("sft_smoke")
def sft_smoke() -> SFTConfig:
    """The recipe of `sft_1.3b` on the embedded tasks, for a minute on two CPU cores.

    Without `checkpoint.init_from` it starts at random parameters, and learns what answers look
    like, at a higher rate than a pretrained model would. Expected: a held-out loss of about 1.38
    nats a token, from ln 453 = 6.1 at the start.
    """
    return dataclasses.replace(
        sft_1_3b(),
        model=dataclasses.replace(smoke_model(), residual_dropout=0.2),
        data=DataConfig(
            corpus="instructions", tokenizer="chat:instructions_448", document_masking=True
        ),
        optimizer=OptimizerConfig(learning_rate=3e-3, final_fraction=0.1),
        training=TrainingConfig(batch_size=32, eval_every=50),
        checkpoint=CheckpointConfig(every_steps=50),
        sft=SFTSection(
            conversations="instructions:count=2000",
            validation="instructions:split=held_out,count=200",
            epochs=16,
            random_start=True,
        ),
    )


@EXPERIMENTS.register("reward_model_smoke")
def reward_model_smoke() -> RewardModelConfig:
    """The recipe of `reward_model_6b` on the embedded tasks, for a minute on two CPU cores.

    Without `checkpoint.init_from` it starts at random parameters. Expected, after `sft_smoke`:
    about 72% of held-out comparisons predicted, where annotators agree on 82%.
    """
    return dataclasses.replace(
        reward_model_6b(),
        model=smoke_model(),
        data=DataConfig(tokenizer="chat:instructions_448"),
        optimizer=OptimizerConfig(learning_rate=1e-3, final_fraction=0.1),
        training=TrainingConfig(batch_size=16, eval_every=25),
        checkpoint=CheckpointConfig(every_steps=50),
        reward=RewardSection(
            rankings="instructions:count=2000",
            validation="instructions:split=held_out,count=200",
            epochs=1,
            max_prompt_tokens=36,
            max_answer_tokens=28,
            share_prompts=True,
            demonstrations="instructions:count=500",
            random_start=True,
        ),
    )
