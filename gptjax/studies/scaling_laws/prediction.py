"""A prediction on disk: written once, with its time and a hash, before the run that it is about.

written = write_prediction(path, rungs, losses, target, "non_embedding")
read_prediction(path)   # refuses one that was changed
"""

import datetime
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptjax.atomic_files import write_json
from gptjax.runs.provenance import provenance
from gptjax.scaling.intervals import LEVEL, predict
from gptjax.settings import to_dict
from gptjax.studies.scaling_laws.ladder import FEWEST, Rung

FILE = "prediction.json"


def digest(values: dict[str, Any]) -> str:
    """SHA-256 of a prediction but for the hash itself, as JSON with sorted keys."""
    rest = {name: value for name, value in values.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def write_prediction(
    path: Path, rungs: Sequence[Rung], losses: Sequence[float], target: Rung, count: str
) -> dict[str, Any]:
    """Predicts the target's loss from the ladder's, and writes that where nothing stands yet.

    Args:
      path: of the file.
      rungs: whose runs have ended.
      losses: held-out, in nats per token, a rung each.
      target: that has not begun.
      count: what compute counts.

    Returns:
      What is written: `points`, `target`, `law` (a, b, c, with intervals), `predicted`, `interval`
      (None where there is none), `residuals` (of log loss), `warning`, `written` (UTC), provenance,
      `sha256`.

    Raises:
      ValueError: a file stands there, or too few runs.
    """
    if path.exists():
        raise ValueError(f"{path}: got a prediction that stands, expected none: it is written once")
    if len(rungs) < FEWEST:
        raise ValueError(f"ladder: got {len(rungs)} runs, expected at least {FEWEST}")
    found = predict([rung.compute for rung in rungs], losses, target.compute)
    law = found.law
    values: dict[str, Any] = {
        "count": count,
        "points": [
            _described(rung) | {"loss": loss} for rung, loss in zip(rungs, losses, strict=True)
        ],
        "target": _described(target) | {"config": to_dict(target.config)},
        "law": {
            name: {"value": each.value, "low": each.low, "high": each.high}
            for name, each in found.parameters.items()
        },
        "predicted": found.value.value,
        "level": LEVEL,
        "interval": [found.value.low, found.value.high],
        "residuals": [float(each) for each in law.residuals],
        "warning": found.warning,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **provenance(),
    }
    values = json.loads(json.dumps(values))  # as it is read back, so that the hash is the same
    values["sha256"] = digest(values)
    write_json(path, values)
    return values


def read_prediction(path: Path) -> dict[str, Any]:
    """The prediction in a file.

    Raises:
      ValueError: it is not what was written.
    """
    values = json.loads(path.read_text("utf-8"))
    if values.get("sha256") != digest(values):
        raise ValueError(
            f"{path}: got contents of hash {digest(values)}, expected {values.get('sha256')}, as "
            "they were written before the large run"
        )
    return values


def _described(rung: Rung) -> dict[str, Any]:
    training = rung.config.training
    return {
        "name": rung.name,
        "parameters": rung.parameters,
        "tokens": rung.tokens,
        "compute": rung.compute,
        "batch_size": training.batch_size,
        "num_steps": training.num_steps,
        "learning_rate": rung.config.optimizer.learning_rate,
    }
