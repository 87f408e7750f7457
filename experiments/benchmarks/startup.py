"""Seconds from a command to what it is for: a list, a help, a sample, the first step of training.

python -m experiments.benchmark --suite=startup

Each is a process of its own, as a user starts it, medians over rounds. Python's bytecode is there,
which a first, uncounted start leaves. `sample` continues a prompt of a trained `demo` by 20 tokens,
its programs cached; `train` is `demo` to its first row of metrics. Cold: neither tokens nor
compiled programs are cached; warm: both are. `jax` only imports JAX, Flax and Orbax.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.figures import Target, with_targets
from experiments.benchmarks.interleaved import TimedProgram, interleaved, medians
from experiments.benchmarks.registry import SUITES

ROUNDS = 5
TARGETS: dict[str, Target] = {
    "list_seconds": ("at most", 0.5),
    "help_seconds": ("at most", 0.5),
    "sample_seconds": ("at most", 3),
}
_DEMO = ("train", "--experiment=demo")


class _Commands:
    """Commands in a scratch folder, with caches of their own."""

    def __init__(self, scratch: Path):
        self._scratch, self._count = scratch, 0
        self._environment = {
            name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
        } | {"PYTHONPYCACHEPREFIX": str(scratch / "bytecode")}

    def started(self, cache: str, *arguments: str) -> subprocess.Popen[bytes]:
        """A process of Python, with a cache of that name."""
        environment = {**self._environment, "GPTJAX_CACHE": str(self._scratch / cache)}
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def ended(self, *arguments: str) -> float:
        """Seconds of a process to its end."""
        began = time.perf_counter()
        with self.started("warm", *arguments) as process:
            error = process.communicate()[1]
        if process.returncode:
            raise ValueError(_failed(arguments, process.returncode, error))
        return time.perf_counter() - began

    def new_folder(self) -> Path:
        """Where nothing is yet."""
        self._count += 1
        return self._scratch / str(self._count)

    def first_step(self, cache: str) -> float:
        """Seconds of a new run of `demo` to its first row, after which it is ended."""
        arguments = _command(
            *_DEMO, f"--workdir={(workdir := self.new_folder())}", "--config.training.log_every=1"
        )
        rows, began = workdir / "metrics.jsonl", time.perf_counter()
        with self.started(cache, *arguments) as run:
            while not (rows.exists() and rows.stat().st_size):
                if run.poll() is not None:
                    raise ValueError(_failed(arguments, run.returncode, run.communicate()[1]))
                time.sleep(0.02)
            seconds = time.perf_counter() - began
            run.kill()
        return seconds


def _command(name: str, *arguments: str) -> Sequence[str]:
    return "-m", f"experiments.{name}", *arguments


def _failed(arguments: Sequence[str], code: int, error: bytes) -> str:
    return f"{' '.join(arguments)}: exit code {code}: {error.decode()}"


@SUITES.register("startup")
def startup() -> dict[str, Any]:
    """Runs the suite, in about five minutes on two CPU cores."""
    return with_targets(measure_startup(ROUNDS), TARGETS)


def measure_startup(rounds: int) -> dict[str, Any]:
    """Seconds of each command, without targets; a sample is drawn from a run of two steps."""
    with tempfile.TemporaryDirectory() as scratch:
        commands = _Commands(Path(scratch))
        workdir = f"--workdir={commands.new_folder()}"
        short = ("--config.training.num_steps=2", "--config.optimizer.warmup_steps=1")
        commands.ended(*_command(*_DEMO, workdir, *short))
        sample = _command("sample", workdir, "--prompt=The function", "--max_new_tokens=20")
        programs: dict[str, TimedProgram] = {
            "jax": lambda: commands.ended("-c", "import jax, flax.linen, orbax.checkpoint"),
            "list": lambda: commands.ended(*_command("list")),
            "help": lambda: commands.ended(*_command("train", "--help")),
            "sample": lambda: commands.ended(*sample),
            "train_warm": lambda: commands.first_step("warm"),
        }
        interleaved(programs, 1)  # leaves bytecode and caches
        number = iter(range(rounds))
        programs["train_cold"] = lambda: commands.first_step(f"cold{next(number)}")
        return medians(interleaved(programs, rounds))
