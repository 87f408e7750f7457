"""Parameters that a new run starts from: another run's, or those of a model of Hugging Face's.

initial = find_initial_checkpoint(config)   # `WorkDirectory.begin` records it
params = initial_params(config, initial)(program.params)
state = initial_state(program.fresh, program.target, seed, params)
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from absl import logging

from gptjax.config import ExperimentConfig
from gptjax.models.grown_tables import at_images_of, grown, of_source, resizes, stretches
from gptjax.runs.initial.sources import Source, source_for
from gptjax.runs.initial.stored import FIELD, refuse_changed
from gptjax.runs.inputs import tokenizer_named
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import InitialCheckpoint
from gptjax.settings import differences
from gptjax.training.processes import together
from gptjax.training.state import rng

# What changes the function of the same parameters, and is seldom meant to change.
SAME = ("activation", "layer_norm_epsilon", "norm", "positions", "rotary_base", "trunk")


def find_initial_checkpoint(config: ExperimentConfig) -> InitialCheckpoint:
    """Finds the initial parameters of a new run that `config.checkpoint.init_from` names.

    In a work directory this is the checkpoint that the directory chooses, usually the newest. A
    warning says where its model computes another function, and where adapters stand beside rows of
    new tokens or a checkpoint that may be removed.

    Raises:
      ValueError: the path holds nothing that a run can start from; a kind of run that follows
        pretraining is given no path, or a model with another tokenizer.
    """
    given, kind = config.checkpoint.init_from, kind_of(config)
    if given is None:
        if config.lora.rank is not None:
            raise ValueError(
                f"{FIELD}: got none with lora.rank={config.lora.rank}, expected a work directory "
                "or a model directory, whose parameters stay as they are"
            )
        if not kind.starts_at_random(config):
            raise ValueError(
                f"{FIELD}: got none for a new run of kind {kind.name}, "
                f"expected the work directory of one of kind {kind.follows}"
            )
        return InitialCheckpoint()
    source = source_for(config, given)
    if kind.follows is not None:
        _check_tokenizer(source, config)
    for line in differences(config.model, source.model, SAME):
        logging.warning("%s: %s has another model.%s", FIELD, given, line)
    if stretches(source.model, config.model):
        logging.info(
            "%s: the %d learned positions of %s are interpolated to %d",
            *(FIELD, source.model.context_length, given, config.model.context_length),
        )
    if resizes(source.model, config.model):
        logging.info("%s: %s has images of another size; positions are interpolated", FIELD, given)
    if config.lora.rank is not None:
        _warn_of_base(source, config)
    step = source.chosen_step()
    return InitialCheckpoint(given, step, source.sha256(step))


def _warn_of_base(source: Source, config: ExperimentConfig) -> None:
    new = config.model.vocab_size - source.model.vocab_size
    if new > 0:
        logging.warning(
            "%s: %s has no rows for %d tokens of this run; they are drawn at random, and adapters "
            "do not train them (docs/adapters.md)",
            *(FIELD, source.path, new),
        )
    if source.may_remove_checkpoints():
        logging.warning(
            "%s: %s has not ended; if it goes on, it may remove the checkpoint that these adapters "
            "need (docs/adapters.md)",
            *(FIELD, source.path),
        )


def initial_params(
    config: ExperimentConfig, initial: InitialCheckpoint | None = None
) -> Callable[[Any], Any] | None:
    """Reads the parameters that a run of `config` started from; None where they were random.

    From a work directory they are its run's evaluation parameters (`TrainState.eval_params`). A
    model directory of Hugging Face's is read as it is. If this run has a larger vocabulary, the new
    rows are drawn at random; if it has a longer context, or images of another size, learned
    positions are interpolated. The kind of run then adopts them (`Kind.adopt`).

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
    read = functools.partial(_read, initial, config)
    return functools.partial(kind_of(config).adopt, config, read)


def _read(initial: InitialCheckpoint, config: ExperimentConfig, target: Any) -> Any:
    source = together(lambda: _unchanged(config, initial))
    model, vocab_size = config.model, source.model.vocab_size
    same = dataclasses.replace(
        model, vocab_size=vocab_size, vocab_multiple=source.model.vocab_multiple
    )
    if stretches(source.model, model):
        same.context_length = source.model.context_length
    if resizes(source.model, model):
        same = at_images_of(source.model, same)
    if vocab_size > model.vocab_size:
        raise ValueError(
            f"config.model.vocab_size: got {model.vocab_size}, expected at least {vocab_size}, as "
            f"{source.path} has"
        )
    params = source.read(initial.step, same, of_source(target, same))
    return grown(params, target, source.model, model, rng(config.training.seed, "new_tokens"))


def _unchanged(config: ExperimentConfig, initial: InitialCheckpoint) -> Source:
    """The source of a run; refuses one that has changed since the run started from it."""
    path = config.checkpoint.init_from or initial.path
    assert path is not None
    source = source_for(config, path)
    refuse_changed(path, source.sha256(initial.step), initial)
    return source


def _check_tokenizer(source: Source, config: ExperimentConfig) -> None:
    """Refuses a model whose tokenizer does not fit the run's."""
    fitting = kind_of(config).fitting_tokenizers(tokenizer_named(config.data.tokenizer or ""))
    theirs = source.tokenizer_hash()
    if theirs not in fitting:
        raise ValueError(
            f"{FIELD}: got {source.path} of the tokenizer {theirs[:12]}, "
            f"expected {' or '.join(each[:12] for each in fitting)}, that of config.data.tokenizer="
            f"{config.data.tokenizer}"
        )
