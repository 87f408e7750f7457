"""The parameters a new run starts from: another run's, or those of a model of Hugging Face's.

state, data = start(fresh, target, checkpoints, restore_step=None, init_from=initial_params(config))
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import logging

from experiments.workdir import WorkDirectory
from gptjax.config import ExperimentConfig
from gptjax.interop.huggingface_directory import Pretrained, is_pretrained
from gptjax.settings import differences
from gptjax.training.start import newest_params

# What changes the function of the same parameters, and is seldom meant to change.
SAME = ("model.activation", "model.layer_norm_epsilon")


def initial_params(config: ExperimentConfig) -> Callable[[Any], Any] | None:
    """Reads the parameters that `config.checkpoint.init_from` names; None where it names none.

    Of a work directory they are those of the newest checkpoint; a warning says where their model
    computes something else. A model directory of Hugging Face's is read as it is.
    """
    given = config.checkpoint.init_from
    return None if given is None else functools.partial(_read, Path(given), config)


def _read(path: Path, config: ExperimentConfig, target: Any) -> Any:
    if is_pretrained(path):
        return _from_huggingface(path, config, target)
    if (path / "config.json").is_file():
        for line in differences(config, WorkDirectory(str(path)).config(), SAME):
            logging.warning("config.checkpoint.init_from: %s has another %s", path, line)
    return newest_params(str(path))(target)


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
