"""The parameters a new run starts from: another run's, or those of a model of Hugging Face's.

state, data = start(fresh, target, checkpoints, restore_step=None, init_from=initial_params(config))
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import logging

from experiments.objectives import build_model
from experiments.task_configs import RewardModelConfig, SFTConfig, may_start_at_random, task_of
from experiments.workdir import WorkDirectory
from gptjax.alignment.reward_model import from_language_model
from gptjax.config import ExperimentConfig
from gptjax.interop.huggingface_directory import Pretrained, is_pretrained
from gptjax.models.gpt import GPT
from gptjax.settings import differences
from gptjax.tokenization import ChatTokenizer, load_tokenizer
from gptjax.training.partitioning import placed
from gptjax.training.start import newest_params
from gptjax.training.state import rng

# What changes the function of the same parameters, and is seldom meant to change.
SAME = ("model.activation", "model.layer_norm_epsilon")


def initial_params(config: ExperimentConfig) -> Callable[[Any], Any] | None:
    """Reads the parameters that `config.checkpoint.init_from` names; None where it names none.

    Of a work directory they are those of the checkpoint it chooses, most often the newest; a
    warning says where their model computes something else. A model directory of Hugging Face's is
    read as it is. A reward model takes a language model's, and draws its scalar head.

    Reading raises ValueError where they are of another model, or, of what comes after pretraining,
    where they are missing or of another tokenizer.
    """
    given = config.checkpoint.init_from
    if given is None:
        return None if may_start_at_random(config) else functools.partial(_refuse_random, config)
    read = functools.partial(_read, Path(given), config)
    if isinstance(config, RewardModelConfig):
        return functools.partial(_with_scalar_head, read, config)
    return read


def _refuse_random(config: ExperimentConfig, target: Any) -> Any:
    del target
    before = "sft" if isinstance(config, RewardModelConfig) else "pretrain"
    raise ValueError(
        f"config.checkpoint.init_from: got none for a new run of experiments.{task_of(config)}, "
        f"expected the work directory of one of experiments.{before}"
    )


def _read(path: Path, config: ExperimentConfig, target: Any) -> Any:
    if is_pretrained(path):
        return _from_huggingface(path, config, target)
    step = None
    if (path / "config.json").is_file():
        source = WorkDirectory(str(path))
        if isinstance(config, SFTConfig | RewardModelConfig):
            source.model()
            _check_tokenizer(source, config)
        for line in differences(config, source.config(), SAME):
            logging.warning("config.checkpoint.init_from: %s has another %s", path, line)
        step = source.chosen_step()
    return newest_params(str(path), step)(target)


def _check_tokenizer(source: WorkDirectory, config: ExperimentConfig) -> None:
    """Refuses a model of another tokenizer; fine-tuning may add the tokens of a chat to its own."""
    ours = load_tokenizer(config.data.tokenizer or "")
    fitting = [ours.content_hash()]
    if isinstance(config, SFTConfig) and isinstance(ours, ChatTokenizer):
        fitting.append(ours.inner.content_hash())
    theirs = source.record().get("tokenizer_hash", "")
    if theirs not in fitting:
        raise ValueError(
            f"config.checkpoint.init_from: got {source.path} of the tokenizer {theirs[:12]}, "
            f"expected {' or '.join(each[:12] for each in fitting)}, that of config.data.tokenizer="
            f"{config.data.tokenizer}"
        )


def _with_scalar_head(read: Callable[[Any], Any], config: RewardModelConfig, target: Any) -> Any:
    """Parameters of a reward model, of which `read` gives a language model's."""
    mesh = jax.tree.leaves(target)[0].sharding.mesh
    token = jax.ShapeDtypeStruct((1, 1), "int32")
    shapes = jax.eval_shape(GPT(config.model).init, jax.random.key(0), token)["params"]
    key = rng(config.training.seed, "scalar_head")
    return from_language_model(build_model(config), read(placed(shapes, mesh)), key)


def _from_huggingface(path: Path, config: ExperimentConfig, target: Any) -> Any:
    """Parameters of a model directory, each put where it is to live before the next is read."""
    try:
        params = Pretrained(path).params(config.model)
    except ValueError as error:
        raise ValueError(f"config.checkpoint.init_from: {error}") from error

    def put(leaf: Any, where: Any) -> jax.Array:
        array = leaf.read()
        return jax.make_array_from_callback(array.shape, where.sharding, lambda index: array[index])

    return jax.tree.map(put, params, target)
