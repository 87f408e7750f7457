"""Parameters that a new run starts from: another run's, or those of a model of Hugging Face's.

initial = find_initial_checkpoint(config)   # `WorkDirectory.begin` records it
state = initial_state(fresh, target, initial_params(config, initial))
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import logging

from gptjax.config import ExperimentConfig
from gptjax.interop.huggingface_directory import Pretrained, is_pretrained
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import InitialCheckpoint, WorkDirectory
from gptjax.settings import differences
from gptjax.tokenization import load_tokenizer
from gptjax.training.checkpoints.manifest import content_hash
from gptjax.training.checkpoints.start import eval_params_of
from gptjax.training.processes import together

# What changes the function of the same parameters, and is seldom meant to change.
SAME = ("model.activation", "model.layer_norm_epsilon")


def find_initial_checkpoint(config: ExperimentConfig) -> InitialCheckpoint:
    """Finds the initial parameters of a new run that `config.checkpoint.init_from` names.

    In a work directory that is the checkpoint which the directory chooses, most often the newest.
    A warning says where its model computes another function.

    Raises:
      ValueError: the path holds nothing that a run can start from; a kind of run that follows
        pretraining is given no path, or a model with another tokenizer.
    """
    given, kind = config.checkpoint.init_from, kind_of(config)
    if given is None:
        if not kind.starts_at_random(config):
            raise ValueError(
                f"config.checkpoint.init_from: got none for a new run of kind {kind.name}, "
                f"expected the work directory of one of kind {kind.follows}"
            )
        return InitialCheckpoint()
    path = Path(given)
    if is_pretrained(path):
        return InitialCheckpoint(given, None, _sha256(path, None))
    source, step = WorkDirectory(given), None
    if (path / "config.json").is_file():
        if kind.follows is not None:
            source.model()
            _check_tokenizer(source, config)
        for line in differences(config, source.config(), SAME):
            logging.warning("config.checkpoint.init_from: %s has another %s", path, line)
        step = source.chosen_step()
    if step is None:
        raise ValueError(
            f"config.checkpoint.init_from: no checkpoint in {path}, expected a work directory or "
            "a model directory of Hugging Face's"
        )
    return InitialCheckpoint(given, step, _sha256(path, step))


def initial_params(
    config: ExperimentConfig, initial: InitialCheckpoint | None = None
) -> Callable[[Any], Any] | None:
    """Reads the parameters that a run of `config` started from; None where they were random.

    From a work directory they are its run's evaluation parameters (`TrainState.eval_params`). A
    model directory of Hugging Face's is read as it is. The kind of run then adopts them
    (`Kind.adopt`).

    Args:
      config: resolved; its `checkpoint.init_from` may say where the source is now.
      initial: what `find_initial_checkpoint` gave when the run started, as
        `WorkDirectory.initial_checkpoint` recorded it; by default what it gives now.

    Raises:
      ValueError: as `find_initial_checkpoint`; reading raises it too, where the source has changed
        or is of another model.
    """
    initial = find_initial_checkpoint(config) if initial is None else initial
    if initial.path is None:
        return None
    path = Path(config.checkpoint.init_from or initial.path)
    read = functools.partial(_read, path, initial, config)
    return functools.partial(kind_of(config).adopt, config, read)


def _read(path: Path, initial: InitialCheckpoint, config: ExperimentConfig, target: Any) -> Any:
    together(lambda: _refuse_changed(path, initial))
    if initial.step is None:
        return _from_huggingface(path, config, target)
    return eval_params_of(str(path), initial.step)(target)


def _refuse_changed(path: Path, initial: InitialCheckpoint) -> None:
    found = _sha256(path, initial.step)
    if found != initial.sha256:
        raise ValueError(
            f"config.checkpoint.init_from: got {path} with the SHA-256 {found[:12]}, expected "
            f"{initial.sha256[:12]}, as when the run started from it"
        )


def _sha256(path: Path, step: int | None) -> str:
    """Hash of a work directory's checkpoint or, without a step, of a model directory."""
    if step is None:
        try:
            return Pretrained(path).content_hash()
        except ValueError as error:
            raise ValueError(f"config.checkpoint.init_from: {error}") from error
    try:
        return content_hash(path / "checkpoints" / str(step))
    except OSError as error:
        raise ValueError(
            f"config.checkpoint.init_from: cannot read checkpoint {step} of {path} "
            f"({error.strerror}), expected that which the run starts from"
        ) from error


def _check_tokenizer(source: WorkDirectory, config: ExperimentConfig) -> None:
    """Refuses a model of a tokenizer that does not fit the run's."""
    fitting = kind_of(config).fitting_tokenizers(load_tokenizer(config.data.tokenizer or ""))
    theirs = source.record().get("tokenizer_hash", "")
    if theirs not in fitting:
        raise ValueError(
            f"config.checkpoint.init_from: got {source.path} of the tokenizer {theirs[:12]}, "
            f"expected {' or '.join(each[:12] for each in fitting)}, that of config.data.tokenizer="
            f"{config.data.tokenizer}"
        )


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
