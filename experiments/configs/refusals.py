r"""Rule-based rewards of GPT-4 (2303.08774, section 6) on made-up requests: SFT, then PPO.

    python -m experiments.refusals

runs both and judges them; docs/refusals.md. GPT-4 publishes no setting of its PPO: these are those
of `ppo_smoke`.
"""

import dataclasses

from experiments.configs.instructgpt import sft_smoke
from experiments.configs.instructgpt_ppo import ppo_smoke
from experiments.configs.registry import EXPERIMENTS
from gptjax.alignment.ppo_settings import StopSettings
from gptjax.config import CheckpointConfig, DataConfig, ModelConfig, TrainingConfig
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.policy_optimisation.config import PPOConfig

# As people differ who write demonstrations: before PPO the model has all four classes to unlearn.
_MIXED = "complying=0.45,refusing=0.2,undesired=0.15"


def _model() -> ModelConfig:
    return ModelConfig(vocab_size=1029, context_length=96, num_layers=3, num_heads=4, d_model=128)


@EXPERIMENTS.register("refusal_sft_smoke")
def refusal_sft_smoke() -> SFTConfig:
    """A model that refuses some of what it should and some of what it should not.

    It learns from demonstrations of mixed quality. Expected: of held-out topics it refuses 60% of
    the disallowed requests, and 30% of the allowed ones, in either style; four minutes on two CPU
    cores that are busy besides.
    """
    sft = sft_smoke()
    return dataclasses.replace(
        sft,
        model=dataclasses.replace(_model(), residual_dropout=0.1),
        data=DataConfig(tokenizer="chat:python_docs_1024", document_masking=True),
        optimizer=dataclasses.replace(sft.optimizer, name="muon", learning_rate=1e-2),
        training=TrainingConfig(batch_size=32, eval_every=100),
        checkpoint=CheckpointConfig(every_steps=100),
        sft=dataclasses.replace(
            sft.sft,
            conversations=f"refusals:count=8000,{_MIXED}",
            validation=f"refusals:split=held_out,count=400,seed=3,{_MIXED}",
            epochs=2,
        ),
    )


@EXPERIMENTS.register("refusal_ppo_smoke")
def refusal_ppo_smoke() -> PPOConfig:
    """PPO with the classes of GPT-4's rubric as the reward, from `refusal_sft_smoke`.

    `experiments.refusals` writes the rubric. Expected: of held-out topics 71% of the disallowed
    requests are refused in the desired style, from 44%, and 9% of the allowed ones in any, from
    30%; seven minutes on two CPU cores that are busy besides.
    """
    ppo = ppo_smoke()
    return dataclasses.replace(
        ppo,
        model=_model(),
        data=DataConfig(tokenizer="chat:python_docs_1024"),
        training=TrainingConfig(num_steps=40, batch_size=128, log_every=1, eval_every=20),
        checkpoint=CheckpointConfig(every_steps=20),
        ppo=dataclasses.replace(
            ppo.ppo,
            prompts="refusals:count=8000,seed=2",
            samples="refusals:split=held_out,count=8,seed=4",
            max_prompt_tokens=44,
            max_answer_tokens=50,
            kl_coefficient=0.05,
        ),
        # An answer is a set phrase: once its first words are said, hardly anything is left to draw.
        stop=StopSettings(max_kl=200.0, min_entropy=None),
    )
