"""Two processes of four devices each, over loopback, as tests start them.

seen = pair_seen(folder, {"rewards": run_of(folder / "rewards", config)})
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.task_configs import task_of
from gptjax.settings import to_dict
from gptjax.training.metrics import read_metrics

REPOSITORY = Path(__file__).resolve().parents[2]


def run_of(path, config):
    """A run as a plan of `pair` has it."""
    return {"workdir": str(path), "config": to_dict(config), "task": task_of(config)}


def on_mesh(**axes):
    """Overrides by which a configuration is divided over all devices."""
    return {f"parallelism__{axis}": size for axis, size in {"strategy": "mesh", **axes}.items()}


def pair_seen(folder, plan):
    """What each of two processes has seen of the runs of a plan."""
    (folder / "plan.json").write_text(json.dumps(plan))
    address = [f"--coordinator=127.0.0.1:{_free_port()}", "--num_processes=2"]
    command = [sys.executable, "-m", "tests.experiments.pair", f"--plan={folder / 'plan.json'}"]
    processes = [
        subprocess.Popen(
            [*command, *address, f"--process_id={i}"],
            cwd=REPOSITORY,
            env={**os.environ, "JAX_NUM_CPU_DEVICES": "4"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    ended = [process.communicate(timeout=600) for process in processes]
    codes = [process.returncode for process in processes]
    assert codes == [0, 0], [errors[-3000:] for _, errors in ended]
    assert ended[1][0].replace("[Gloo]", "").count("step ") == 0  # process 0 alone prints
    return [json.loads((folder / f"seen_{i}.json").read_text()) for i in range(2)]


def assert_alike(path, other):
    """Losses and gradient norms to 1e-5, as the design promises of another topology."""
    rows, expected = (read_metrics(run / "metrics.jsonl") for run in (path, other))
    assert [(row["step"], row.get("split")) for row in rows] == [
        (row["step"], row.get("split")) for row in expected
    ]
    for row, like in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(like["loss"], rel=1e-5)
        assert row.get("grad_norm", 0) == pytest.approx(like.get("grad_norm", 0), rel=1e-4)


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
