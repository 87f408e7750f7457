"""Runs of all kinds, small enough for tests, on the embedded tasks.

config = make_config(SFTConfig, sft__epochs=2)
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from gptjax.config import (
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    resolve,
)
from gptjax.model_config import BertConfig, EncoderDecoderConfig
from gptjax.multimodal_config import MultimodalConfig
from gptjax.runs import supervised
from gptjax.runs.kind import kind_of
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import to_dict
from gptjax.tasks.classification.config import BertClassificationConfig, LabelledConfig
from gptjax.tasks.configs.fine_tuning import SFTConfig, SFTSection
from gptjax.tasks.configs.masked_lm import MaskedLMConfig, MaskedLMSection
from gptjax.tasks.configs.preference_optimisation import DPOConfig, DPOSection
from gptjax.tasks.configs.reward_modelling import RewardModelConfig, RewardSection
from gptjax.tasks.configs.translation import TranslationConfig, TranslationSection
from gptjax.tasks.image_text.config import ImageTextConfig, ImageTextSection
from gptjax.tasks.moderation.config import ModerationConfig, ModerationSection
from gptjax.tasks.question_answering.config import QuestionAnsweringConfig, SquadSection
from gptjax.tasks.vision.config import (
    ContrastiveConfig,
    ContrastiveSection,
    ImageClassificationConfig,
    ImageClassificationSection,
)
from gptjax.training.reporting.metrics import read_metrics
from gptjax.vision_config import ClipConfig, ImageClassifierConfig, VisionConfig

REPOSITORY = Path(__file__).resolve().parents[2]
# Answers to embedded tasks: right, nearly, a refusal, nothing.
ANSWERED = {
    "copy: fox jar": "fox jar",
    "add: 7 5": "11",
    "secret reverse: fox jar": "sorry, i cannot do that",
    "pick 2: fox jar sun": "",
}
SPEED = ("seconds", "tokens_per_second", "mfu", "executed_mfu")


def make_config(kind, **overrides):
    """One layer of width 16; eight steps, or as many as epochs ask for."""
    config = kind(
        model=ModelConfig(vocab_size=453, context_length=48, num_layers=1, num_heads=2, d_model=16),
        data=DataConfig(
            corpus="instructions:documents=60",
            tokenizer="chat:instructions_448",
            validation_fraction=0.2,
            document_masking=True,
        ),
        optimizer=OptimizerConfig(learning_rate=0.02, final_fraction=0.1),
        training=TrainingConfig(
            num_steps=8, batch_size=4, log_every=1, eval_every=4, sample_tokens=0
        ),
        checkpoint=CheckpointConfig(every_steps=4),
    )
    if isinstance(config, SFTConfig):
        config.model.residual_dropout = 0.2
        config.sft = SFTSection(
            conversations="instructions:count=60",
            validation="instructions:split=held_out,count=20",
            random_start=True,
        )
    if isinstance(config, RewardModelConfig):
        config.reward = RewardSection(
            rankings="instructions:count=30,answers=3",
            validation="instructions:split=held_out,count=20",
            max_prompt_tokens=26,
            max_answer_tokens=22,
            demonstrations="instructions:count=40",
            random_start=True,
        )
    if isinstance(config, DPOConfig):
        config.dpo = DPOSection(
            rankings="instructions:count=30,answers=3",
            validation="instructions:split=held_out,count=20",
            max_prompt_tokens=26,
            max_answer_tokens=22,
            kl_prompts=8,
            random_start=True,
        )
    if isinstance(config, MaskedLMConfig):
        config.model = tiny_bert(context_length=48)
        config.data.tokenizer = "python_docs_wordpiece_2048"
        config.masked_lm = MaskedLMSection(max_tokens=40, whole_words=True)
    if isinstance(config, LabelledConfig):
        config.model.vocab_size, config.data.tokenizer = 451, "task:instructions_448"
        config.task = dataclasses.replace(
            config.task,
            train="embedded:count=60",
            validation="embedded:split=held_out,count=20",
            labels="animals,things",
            epochs=None,
            random_start=True,
        )
    if isinstance(config, BertClassificationConfig):
        config.model = tiny_bert(context_length=16)
        config.data.tokenizer = "python_docs_wordpiece_2048"
    if isinstance(config, QuestionAnsweringConfig):
        config.model = tiny_bert(context_length=48)
        config.data.tokenizer = "python_docs_wordpiece_2048"
        config.squad = SquadSection(
            train=str(Path(__file__).with_name("questions.json")),
            doc_stride=16,
            max_question_tokens=16,
            epochs=None,
            random_start=True,
        )
    if isinstance(config, ModerationConfig):
        config.moderation = ModerationSection(
            train="embedded:count=60",
            validation="embedded:split=held_out,count=20",
            categories="A,B",
            head_width=8,
            epochs=None,
            random_start=True,
        )
    if isinstance(config, ContrastiveConfig):
        config.model = ClipConfig(**vars(config.model) | {"vision": tiny_vit(), "projection": 8})
        config.contrastive = ContrastiveSection(
            train="shapes:count=24", validation="shapes:count=10,seed=1", augment_shift=0.1
        )
    if isinstance(config, ImageClassificationConfig):
        config.model = ImageClassifierConfig(**vars(tiny_vit()), num_classes=2)
        config.images = ImageClassificationSection(
            train="shapes:count=24,classes=true", validation="shapes:count=10,seed=1,classes=true"
        )
    if isinstance(config, ImageTextConfig):
        config.model = tiny_image_gpt()
        config.data.tokenizer = "images:instructions_448"
        config.image_text = ImageTextSection(
            train="shapes:count=60", max_images=2, shift=1.0, judged=8, judged_at_end=8
        )
    if isinstance(config, TranslationConfig):
        config.model = EncoderDecoderConfig(
            vocab_size=448,
            context_length=40,
            num_layers=1,
            num_heads=2,
            d_model=16,
            positions="sinusoidal",
            norm="post",
            residual_dropout=0.1,
        )
        config.data.tokenizer = "instructions_448"
        config.translation = TranslationSection(pairs="reversed:count=120", buckets=1)
    if kind is ExperimentConfig:
        config.model.vocab_size, config.data.tokenizer = 448, "instructions_448"
        config.model.residual_dropout = 0.1
    for path, value in overrides.items():
        section, field = path.split("__")
        setattr(getattr(config, section), field, value)
    if config.epochs_field and "training__num_steps" not in overrides:
        config.training.num_steps = TrainingConfig().num_steps
    return resolve(config)


def tiny_vit(**fields):
    """One layer of width 16, on four patches."""
    sizes = {"image_size": 16, "patch_size": 8, "num_layers": 1, "num_heads": 2, "d_model": 16}
    return VisionConfig(**sizes | fields)


def tiny_image_gpt(**fields):
    """One layer of width 16, for images of four patches and the vocabulary instructions_448."""
    small = {
        "vocab_size": 451,
        "context_length": 48,
        "num_layers": 1,
        "num_heads": 2,
        "d_model": 16,
        "residual_dropout": 0.1,
        "image_tokens": 3,
        "resampler_layers": 1,
        "vision": tiny_vit(),
    }
    return MultimodalConfig(**small | fields)


def tiny_bert(context_length):
    """An encoder of one layer, for the vocabulary python_docs_wordpiece_2048."""
    return BertConfig(
        vocab_size=2048,
        context_length=context_length,
        num_layers=1,
        num_heads=2,
        d_model=16,
        norm="post",
        residual_dropout=0.1,
    )


def prepared(config):
    """Inputs of a run of `config`."""
    kind = kind_of(config)
    kind.check(config)
    return kind.prepare(config)


def run(path, config, restore_step=None, *, change=None):
    """Runs it in `path`, of a task that `change` makes of its own; returns the work directory."""
    workdir, kind = WorkDirectory(str(path)), kind_of(config)
    with pytest.MonkeyPatch.context() as patch:
        if change is not None:
            prepare = kind.prepare
            patch.setattr(kind, "prepare", lambda config: change(prepare(config)), raising=False)
        train("tiny", config, workdir, restore_step)
    return workdir


def binary(name, *flags):
    """Runs experiments.`name` from its command line; the ended process, with what it wrote."""
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def fine_tuned(folder, num_steps=24):
    """A model that has begun to learn what answers look like, in `folder`/sft."""
    return run(folder / "sft", make_config(SFTConfig, training__num_steps=num_steps))


def params_at_start(path, config, *, change=None):
    """The parameters with which a run in `path` would take its first step; others as of `run`."""

    class Started(Exception):
        pass

    def fit(state, *_, **__):
        raise Started(state)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Started) as started:
        patch.setattr(supervised, "fit", fit)
        run(path, config, change=change)
    return started.value.args[0].params


def on_mesh(**axes):
    """Overrides by which a configuration is divided over all devices."""
    return {f"parallelism__{axis}": size for axis, size in {"strategy": "mesh", **axes}.items()}


def stopping(step, by=signal.SIGTERM):
    """A change of a task: a signal ends its run when it asks for the batch of `step`, from 0."""

    def change(task):
        def batches(start_step, skipped, share):
            made = task.batches(start_step, skipped, share)
            for number, batch in enumerate(made, start=start_step):
                if number == step:
                    os.kill(os.getpid(), by)
                yield batch

        return dataclasses.replace(task, batches=batches)

    return change


def killed_at(folder, config, *steps):
    """A run in `folder` that SIGKILL has ended at each of those steps, each time a process."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "tests.support.trained_lives"),
            *(config.kind, folder / "config.json", folder / "run", *map(str, steps)),
        ],
        cwd=REPOSITORY,
        check=True,
    )
    return WorkDirectory(str(folder / "run"))


def refusal(call, *arguments):
    """The one line that a call is refused with."""
    with pytest.raises(ValueError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_same_params(workdir, other, step=None):
    """Both runs have the same parameters, to the bit."""
    jax.tree.map(np.testing.assert_array_equal, workdir.params(step), other.params(step))


def rows(workdir):
    """Rows of metrics.jsonl, without the speeds."""
    found = read_metrics(workdir.path / "metrics.jsonl")
    return [{name: x for name, x in row.items() if name not in SPEED} for row in found]
