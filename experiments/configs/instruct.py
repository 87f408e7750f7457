"""InstructGPT's pipeline on the embedded tasks, whose gold reward judges it without people.

python -m experiments.instruct --experiment=instruct_demo
"""

import dataclasses

from experiments.configs.instructgpt import reward_model_smoke, sft_smoke
from experiments.configs.instructgpt_dpo import dpo_smoke
from experiments.configs.instructgpt_ppo import ppo_smoke
from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from gptjax.studies.instruct_pipeline.config import PIPELINES, Pipeline

HELD_OUT = "instructions:split=held_out,seed=1"


def _muon(optimizer: OptimizerConfig, learning_rate: float) -> OptimizerConfig:
    return dataclasses.replace(optimizer, name="muon", learning_rate=learning_rate)


def _pretraining(model: ModelConfig, num_steps: int) -> ExperimentConfig:
    return ExperimentConfig(
        model=model,
        data=DataConfig(
            corpus="instructions", tokenizer="chat:instructions_448", document_masking=True
        ),
        optimizer=OptimizerConfig(
            name="muon",
            learning_rate=1e-2,
            warmup_steps=min(20, num_steps // 4),
            final_fraction=0.1,
        ),
        training=TrainingConfig(num_steps=num_steps, batch_size=64, eval_every=num_steps // 2),
        checkpoint=CheckpointConfig(every_steps=num_steps),
    )


@PIPELINES.register("instruct_demo")
def instruct_demo() -> Pipeline:
    """InstructGPT's pipeline on the embedded tasks, for 20 minutes on two CPU cores.

    Two thirds of the demonstrations have a slip, so that there is something to learn after SFT,
    and annotators agree on 74% of comparisons, as InstructGPT's on 73% (section 3.4). DPO learns
    from the first two thirds of the rankings, for time. Figures are in docs/benchmarks.md, what
    was tried in docs/log.md.
    """
    model = ModelConfig(vocab_size=453, context_length=64, num_layers=4, num_heads=4, d_model=128)
    return _pipeline(
        model,
        pretraining_steps=500,
        examples=16000,
        rankings=24000,
        iterations=60,
        judged=600,
    )


@PIPELINES.register("instruct_smoke")
def instruct_smoke() -> Pipeline:
    """Every stage of `instruct_demo`, hardly trained, within two minutes."""
    model = ModelConfig(vocab_size=453, context_length=64, num_layers=1, num_heads=2, d_model=32)
    return _pipeline(
        model, pretraining_steps=20, examples=128, rankings=128, iterations=4, judged=32
    )


def _pipeline(
    model: ModelConfig,
    *,
    pretraining_steps: int,
    examples: int,
    rankings: int,
    iterations: int,
    judged: int,
) -> Pipeline:
    sft, reward, ppo, dpo = sft_smoke(), reward_model_smoke(), ppo_smoke(), dpo_smoke()
    noise = "temperature=0.35"
    held_out = f"{HELD_OUT},count={judged}"
    compared = f"{held_out},{noise}"
    every = max(1, iterations // 4)
    lengths = {"max_prompt_tokens": 16, "max_answer_tokens": 16}
    return Pipeline(
        _pretraining(model, pretraining_steps),
        dataclasses.replace(
            sft,
            model=dataclasses.replace(model, residual_dropout=0.1),
            optimizer=_muon(sft.optimizer, 1e-2),
            sft=dataclasses.replace(
                sft.sft,
                conversations=f"instructions:count={examples // 2},sloppiness=0.65",
                validation=held_out,
                epochs=4,
                pretraining_share=0.1,
                random_start=False,
            ),
        ),
        dataclasses.replace(
            reward,
            model=model,
            optimizer=_muon(reward.optimizer, 3e-3),
            training=dataclasses.replace(reward.training, batch_size=32, eval_every=250),
            checkpoint=CheckpointConfig(every_steps=250),
            reward=dataclasses.replace(
                reward.reward,
                rankings=f"instructions:count={rankings},{noise}",
                validation=compared,
                random_start=False,
                **lengths,
            ),
        ),
        dataclasses.replace(
            ppo,
            model=model,
            optimizer=dataclasses.replace(ppo.optimizer, warmup_steps=min(5, iterations // 4)),
            training=dataclasses.replace(
                ppo.training, num_steps=iterations, batch_size=128, eval_every=every
            ),
            checkpoint=CheckpointConfig(every_steps=every),
            ppo=dataclasses.replace(
                ppo.ppo,
                prompts=f"instructions:seed=2,count={examples}",
                kl_coefficient=0.15,
                pretraining_rows=1,
                **lengths,
            ),
        ),
        dataclasses.replace(
            dpo,
            model=model,
            optimizer=dataclasses.replace(dpo.optimizer, warmup_steps=min(10, examples // 128)),
            training=dataclasses.replace(dpo.training, batch_size=32, eval_every=250),
            checkpoint=CheckpointConfig(every_steps=250),
            dpo=dataclasses.replace(
                dpo.dpo,
                rankings=f"instructions:count={examples},{noise}",
                validation=compared,
                random_start=False,
                **lengths,
            ),
        ),
        pretraining_coefficient=0.2,
        judged=held_out,
    )
