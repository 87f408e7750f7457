"""Seconds from the start of `experiments.train --experiment=demo` to its first step, cold and warm.

python -m experiments.benchmark --suite=startup
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments.benchmarks.registry import SUITES


def _seconds_to_first_step(workdir: Path, cache: Path) -> float:
    command = [sys.executable, "-m", "experiments.train", "--experiment=demo"]
    command += [f"--workdir={workdir}", "--config.training.log_every=1"]
    environment = {**os.environ, "GPTJAX_CACHE": str(cache)}
    rows = workdir / "metrics.jsonl"
    began = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as run:
        while not (rows.exists() and rows.stat().st_size):
            if run.poll() is not None:
                error = run.stderr.read().decode() if run.stderr else ""
                raise ValueError(f"demo: exit code {run.returncode}: {error}")
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        run.kill()
    return seconds


@SUITES.register("startup")
def startup() -> dict[str, Any]:
    """Measures both starts. Cold: no tokens and no compiled programs are cached. Warm: both are."""
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        return {
            "cold_seconds_to_first_step": _seconds_to_first_step(Path(scratch) / "cold", cache),
            "warm_seconds_to_first_step": _seconds_to_first_step(Path(scratch) / "warm", cache),
        }
