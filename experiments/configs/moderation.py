r"""OpenAI's classifier of undesired content (Markov et al. 2022, arXiv 2208.03274).

The eight categories are S (sexual), H (hate), V (violence), HR (harassment), SH (self-harm), S3
(sexual, minors), H2 (hate, threatening) and V2 (violence, graphic). Their public rows, 1,680, are a
test set; the training data of the paper are not public.

    python -m experiments.train --experiment=moderation_smoke --workdir=runs/moderation
    python -m experiments.moderation     # the study: nested cross-validation on the public rows
"""

import dataclasses

from experiments.configs.gpt2 import gpt2_small
from experiments.configs.registry import EXPERIMENTS
from experiments.configs.smoke import smoke
from gptjax.config import CheckpointConfig, DataConfig, OptimizerConfig, TrainingConfig
from gptjax.tasks.moderation.config import ModerationConfig, ModerationSection


@EXPERIMENTS.register("moderation")
def moderation() -> ModerationConfig:
    r"""The paper's classifier, with the published recipe on a model of the size of GPT-2 small.

    A rate of 0.05, batches of 256, dropout of 0.1 in the heads, at most three epochs. Not published
    are the size of the model, the optimizer and the schedule: AdamW without decay at a constant
    rate stands in, with which 0.05 is high for all parameters of a GPT; lower
    `--config.optimizer.learning_rate` if the loss does not fall. Expected: unknown, as the training
    data are not public; the paper's figures are of OpenAI's own. Give
    `--config.checkpoint.init_from=DIR` and `--config.moderation.train=jsonl:PATH`. Minutes for some
    thousand texts on 1 A100 of 80 GB:

        python -m experiments.train --experiment=moderation --workdir=runs/moderation \
            --config.model.dtype=bfloat16 --config.training.accumulate=8 \
            --config.parallelism.strategy=mesh
    """
    return ModerationConfig(
        model=gpt2_small().model,
        optimizer=OptimizerConfig(
            learning_rate=0.05, schedule="constant", beta2=0.999, weight_decay=0.0
        ),
        training=TrainingConfig(batch_size=256, log_every=1, eval_every=5, sample_tokens=0),
        checkpoint=CheckpointConfig(every_steps=5),
        moderation=ModerationSection(epochs=3, head_dropout=0.1),
    )


@EXPERIMENTS.register("moderation_smoke")
def moderation_smoke() -> ModerationConfig:
    """The paper's heads on two layers of width 64, small enough for a minute on two CPU cores.

    It learns from made-up texts of harmless words: which of eight words stand in them, where a
    fifth of the labels are unknown. Expected: a mean AUPRC of about 0.9 on held-out texts,
    where chance has about 0.1. `experiments.moderation` trains this model on the published rows.

    Differs from the paper: ten epochs in batches of 32 at a rate of 2e-3, and heads that read the
    mean over all tokens, which a model without pretraining learns from sooner.
    """
    paper = moderation()
    small = smoke(paper, dataclasses.replace(paper.optimizer, learning_rate=2e-3))
    return ModerationConfig(
        model=dataclasses.replace(small.model, context_length=128),
        data=DataConfig(tokenizer="python_docs_1024"),
        optimizer=dataclasses.replace(small.optimizer, schedule="linear", weight_decay=0.1),
        training=TrainingConfig(batch_size=32, log_every=10, eval_every=40, sample_tokens=0),
        checkpoint=CheckpointConfig(every_steps=40),
        moderation=ModerationSection(
            train="embedded",
            validation="embedded:split=held_out,count=300",
            pooling="mean",
            epochs=10,
            random_start=True,
        ),
    )
