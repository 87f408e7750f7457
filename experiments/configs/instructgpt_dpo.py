r"""DPO: Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290).

Appendix B has the recipe: beta 0.1, 64 pairs a batch, a rate of 1e-6 after 150 steps of warm-up;
its published code clips at 10. Here a batch has 64 rankings, each with all pairs of its answers.
Yours go into `config.dpo.rankings`.

    python -m experiments.train --experiment=dpo_smoke --workdir=runs/dpo \
        --config.checkpoint.init_from=runs/sft
"""

import dataclasses

from experiments.configs.gpt3 import gpt3_6_7b
from experiments.configs.instructgpt import VOCAB, smoke_model
from experiments.configs.registry import EXPERIMENTS
from gptjax.config import CheckpointConfig, DataConfig, OptimizerConfig, TrainingConfig
from gptjax.tasks.configs.preference_optimisation import DPOConfig, DPOSection


@EXPERIMENTS.register("dpo_6b")
def dpo_6b() -> DPOConfig:
    r"""DPO of InstructGPT's 6B model (arXiv 2305.18290, section 4 and appendix B).

    It starts from the model that `sft_6b` makes. Differs from the paper: AdamW without decay in
    place of RMSprop; K answers a prompt are learned from at once. Expected: no figure is published
    of this model; GPT-J 6B's summaries win about 61% against references (section 6.2). A few hours
    on 8 A100 of 80 GB:

        python -m experiments.train --experiment=dpo_6b --workdir=runs/dpo_6b \
            --config.model.dtype=bfloat16 --config.model.remat=block \
            --config.training.accumulate=8 --config.parallelism.strategy=mesh \
            --config.parallelism.fsdp=8
    """
    return DPOConfig(
        model=dataclasses.replace(gpt3_6_7b().model, vocab_size=VOCAB),
        optimizer=OptimizerConfig(
            learning_rate=1e-6,
            schedule="constant",
            warmup_steps=150,
            weight_decay=0.0,
            clip_norm=10.0,
        ),
        training=TrainingConfig(batch_size=64, eval_every=100),
        checkpoint=CheckpointConfig(every_steps=100),
        dpo=DPOSection(epochs=1),
    )


@EXPERIMENTS.register("dpo_smoke")
def dpo_smoke() -> DPOConfig:
    """The recipe of `dpo_6b` on the embedded tasks, for half a minute on two CPU cores.

    Without `checkpoint.init_from` it starts at random parameters. Differs from `dpo_6b`: beta is
    0.5, since at 0.1 so small a model leaves its start by nats and answers worse. Expected, after
    `sft_smoke`: about 70% of held-out comparisons predicted, where annotators agree on 82%, less
    than half a nat an answer from the start, and answers worth what they were worth before.
    """
    recipe = dpo_6b()
    return dataclasses.replace(
        recipe,
        model=smoke_model(),
        data=DataConfig(tokenizer="chat:instructions_448"),
        optimizer=dataclasses.replace(recipe.optimizer, learning_rate=1e-4, warmup_steps=10),
        training=TrainingConfig(batch_size=16, eval_every=25),
        checkpoint=CheckpointConfig(every_steps=50),
        dpo=DPOSection(
            rankings="instructions:count=2000",
            validation="instructions:split=held_out,count=200",
            epochs=1,
            max_prompt_tokens=36,
            max_answer_tokens=28,
            max_answers=4,
            beta=0.5,
            random_start=True,
        ),
    )
