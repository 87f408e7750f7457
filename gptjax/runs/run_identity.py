"""Identity of a run: the fields of its configuration that must not change when it resumes.

changed = changes(config, hashes, theirs, their_hashes)
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gptjax.config import Config, ExperimentConfig, batch_schedule
from gptjax.runs.kind import kind_of
from gptjax.runs.life.moved import with_moved_data
from gptjax.settings import differences, fields
from gptjax.training.optimizers import learning_rate

# The beginnings of their paths, in the sections that all kinds have; a kind adds its `identity`.
IDENTITY = (
    *("model.", "data.", "optimizer.", "lora."),
    *("training.batch_", "training.num_steps", "training.seed", "training.skip_grad_norm"),
    "training.revision",
)


# What a longer run has more of, in whichever section.
LENGTH = ("num_steps", "decay_steps", "decay_tokens", "epochs")


def changes(
    config: ExperimentConfig,
    record: Mapping[str, Any],
    theirs: ExperimentConfig,
    their_record: Mapping[str, Any],
    taken: int = 0,
) -> list[str]:
    """Says how a run of one kind differs from another one; nothing where they are the same.

    More steps are no difference if the steps taken so far have the same learning rates, nor are
    other places of data with the same content.

    Args:
      config: of the one, resolved.
      record: content hashes of its data, by name, which must be the same too.
      theirs: of the other.
      their_record: likewise of the other; more names in it are not compared.
      taken: steps that the other has taken, and that are kept.
    """
    length = []
    if config.training.num_steps > theirs.training.num_steps:
        same = _steps_at_the_same_rate(config, theirs)
        if same < taken:
            length = [_how_to_go_on(config, theirs, same)]
        theirs = copy.deepcopy(theirs)
        for path, value in fields(config).items():
            section, _, name = path.rpartition(".")
            if name in LENGTH:
                setattr(getattr(theirs, section), name, value)
    theirs = dataclasses.replace(
        theirs, data=dataclasses.replace(theirs.data, tokenizer=config.data.tokenizer)
    )  # wherever it is, its content hash is in the record
    theirs, _ = moved_data(config, record, theirs, their_record)
    return (
        differences(config, theirs, IDENTITY + kind_of(config).identity)
        + length
        + [
            f"{name}: {value[:12]}, not {their_record.get(name, '')[:12]}"
            for name, value in record.items()
            if value != their_record.get(name)
        ]
    )


def moved_data(
    config: Config, record: Mapping[str, Any], theirs: Config, their_record: Mapping[str, Any]
) -> tuple[Config, list[str]]:
    """As `with_moved_data`, of two runs of one kind."""
    return with_moved_data(config, record, theirs, their_record, kind_of(config).contents)


def _steps_at_the_same_rate(config: ExperimentConfig, theirs: ExperimentConfig) -> int:
    """The first steps of a run that have the learning rates of the same run with fewer steps."""
    steps = np.arange(theirs.training.num_steps, dtype=np.int32)
    rates = [
        np.asarray(jax.jit(learning_rate(each.optimizer, batch_schedule(each)))(steps))
        for each in (config, theirs)
    ]
    different = np.flatnonzero(rates[0] != rates[1])
    return int(different[0]) if different.size else len(steps)


def _how_to_go_on(config: ExperimentConfig, theirs: ExperimentConfig, same: int) -> str:
    length = f"training.num_steps: {config.training.num_steps}, not {theirs.training.num_steps}"
    if same > 0 and config.optimizer.schedule == theirs.optimizer.schedule == "wsd":
        return (
            f"{length}, although the learning rate has decayed since step {same}: go on from a "
            f"checkpoint up to it, --restore_step={same} if that is kept, which removes later ones"
        )
    return (
        f"{length}, although the learning rates so far depend on it: start another run with "
        "--config.checkpoint.init_from=DIR of this one, or from the start with "
        "--config.optimizer.schedule=constant or wsd"
    )
