"""Reference log-probabilities for DPO, computed once and kept in the work directory.

The reference is the parameters that the run started from. The log-probabilities are computed before
training, by its own forward pass, so that training holds no second copy of the parameters.

    rows = ReferredRows(ranking_rows(...))
    refer(program, workdir, {"train": rows, "validation": validation})   # before the first batch
    rows.batch(np.arange(8))["reference_log_probs"]
"""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gptjax.alignment.preference_losses import answer_log_probs
from gptjax.atomic_files import replaced
from gptjax.config import ExperimentConfig
from gptjax.data.batches.ranking_rows import RankingRows
from gptjax.data.batches.token_stream import HostBatch
from gptjax.runs.initial.params import initial_params
from gptjax.runs.program import Program
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import to_dict
from gptjax.tasks.row_scores import of_all_rows
from gptjax.training.processes import on_first

FILE = "reference.npz"


class ReferredRows:
    """Rankings whose batches also hold prompt lengths and reference log-probabilities.

    Attributes:
      rows: the rankings, as whole texts.
      log_probs: [N, K] float32 nats of each answer, end of the turn included; 0 where there is
        none. They are there once `refer` has been called.
    """

    def __init__(self, rows: RankingRows):
        self.rows = rows
        self.log_probs = np.full((len(rows), max(map(len, rows.answers))), np.nan, np.float32)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: np.ndarray) -> HostBatch:
        """Makes the batch of `RankingRows.batch` with two more arrays, 0 where there is padding.

        Returns:
          prompt_lengths: [B] int32.
          reference_log_probs: [B, K] float32, of `log_probs`.
        """
        inside, held = indices < len(self), np.minimum(indices, len(self) - 1)
        lengths = np.array([len(self.rows.prompts[index]) for index in held.tolist()], np.int32)
        return self.rows.batch(indices) | {
            "prompt_lengths": np.where(inside, lengths, 0),
            "reference_log_probs": np.where(inside[:, None], self.log_probs[held], 0.0),
        }


def refer(
    program: Program,
    config: ExperimentConfig,
    workdir: WorkDirectory,
    sets: Mapping[str, ReferredRows],
) -> None:
    """Fills in the log-probabilities of `sets`: those that the run keeps, or new ones.

    Args:
      program: of the run.
      config: of the run, resolved.
      workdir: records what the run started from, and keeps the log-probabilities in FILE.
      sets: by name.

    Raises:
      ValueError: nothing is kept, and the model that the run started from is gone.
    """
    made_for = json.dumps(
        [
            dataclasses.asdict(workdir.initial_checkpoint()),
            to_dict(config.model),
            config.training.seed,
            {name: [*held.log_probs.shape] for name, held in sets.items()},
        ]
    )
    path = workdir.path / FILE
    kept = _read(path, made_for)
    if kept is None:
        params = start_params(program, config, workdir)
        kept = {name: log_probs(program, config, params, held) for name, held in sets.items()}
        on_first(lambda: _write(path, made_for, kept))
    for name, held in sets.items():
        held.log_probs[:] = kept[name]


def log_probs(
    program: Program, config: ExperimentConfig, params: Any, rows: ReferredRows
) -> np.ndarray:
    """The log-probabilities of all answers, [N, K] float32 nats; every process has all of them."""
    size, chunk = config.training.batch_size, config.training.loss_chunk
    return of_all_rows(program, params, rows, size, answer_log_probs, chunk)


def start_params(program: Program, config: ExperimentConfig, workdir: WorkDirectory) -> Any:
    """The parameters that the run started from."""
    read = initial_params(config, workdir.initial_checkpoint())
    if read is not None:
        return read(program.params)
    sharding = jax.tree.map(lambda leaf: leaf.sharding, program.params)
    return jax.jit(lambda seed: program.fresh(seed).params, out_shardings=sharding)(
        config.training.seed
    )


def _read(path: Path, made_for: str) -> dict[str, np.ndarray] | None:
    """Reads the file's arrays if they were made for the same inputs, else None."""
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            if str(file["made_for"]) == made_for:
                return {name: file[name] for name in file if name != "made_for"}
    except FileNotFoundError:
        return None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: {error}; expected the file as the run wrote it, or no file: then the run "
            "makes it again"
        ) from error
    return None


def _write(path: Path, made_for: str, kept: Mapping[str, np.ndarray]) -> None:
    with replaced(path, "wb") as file:
        np.savez(file, made_for=np.array(made_for), **kept)  # pyright: ignore[reportArgumentType]
