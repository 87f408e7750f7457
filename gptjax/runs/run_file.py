"""The config.json of a run: its configuration, and what it started from.

run = read_run(Path("runs/demo"))
config, initial = config_of(run, path), initial_checkpoint_of(run, path)
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptjax.config import ExperimentConfig, resolve
from gptjax.registry import unknown_name
from gptjax.runs.kind import KINDS, kind_named
from gptjax.settings import from_dict

CONFIG = "config.json"
STARTED_FROM = "started_from"  # in config.json
RENAMED = {"judges_hash": "rewards_hash"}  # names in config.json of runs made before


@dataclasses.dataclass(frozen=True)
class InitialCheckpoint:
    """Initial parameters of a run, recorded at its first start and the same at every later one.

    A run reads them again if it must go back to its start, and `experiments.verify` reads them to
    replay it. Meanwhile their source may have been trained further, or replaced.

    Attributes:
      path: the work directory, or the model directory of Hugging Face's, that the parameters
        before the first step were read from; None: they were random.
      step: of the work directory's checkpoint; None of a model directory.
      sha256: of the checkpoint's manifest, or over the model directory's files; empty without.
    """

    path: str | None = None
    step: int | None = None
    sha256: str = ""


def read_run(path: Path, given_as: str = "--workdir") -> dict[str, Any]:
    """The contents of config.json in the work directory `path`.

    Raises:
      ValueError: there is none, or it is damaged; the message begins with `given_as`, the flag or
        the field that gave the path.
    """
    file = path / CONFIG
    try:
        run: Any = json.loads(file.read_text())
    except OSError as error:
        raise ValueError(
            f"{given_as}: no run in {path} ({CONFIG}: {error.strerror}); "
            "expected the directory of a run of experiments.train"
        ) from error
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}; expected JSON") from error
    if not isinstance(run, dict):
        raise ValueError(f"{file} is damaged: expected a JSON object")
    return {str(RENAMED.get(name, name)): value for name, value in run.items()}


def config_of(run: Mapping[str, Any], path: Path) -> ExperimentConfig:
    """The resolved configuration in what `read_run` gave of `path`."""
    if "config" not in run:
        raise ValueError(f"{path / CONFIG} is damaged: it has no 'config'")
    name = run.get("task", ExperimentConfig.kind)
    if name not in KINDS:
        raise unknown_name(f"kind of run in {path / CONFIG}:", name, KINDS)
    return resolve(from_dict(kind_named(name).config, run["config"]))


def initial_checkpoint_of(run: Mapping[str, Any], path: Path) -> InitialCheckpoint:
    """The initial parameters in what `read_run` gave of `path`."""
    if STARTED_FROM not in run:
        raise ValueError(
            f"{path / CONFIG}: got no {STARTED_FROM!r}, expected the file of a run which has "
            "been started"
        )
    return InitialCheckpoint(**run[STARTED_FROM])
