"""Time and memory of a run outside its training steps: reading batches, logging, saving.

figures = beside_steps(TrainingProgram(config))
figures = memory_over_saves(TrainingProgram(config), saves=50)
"""

import ctypes
import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments.benchmarks.training_program import TrainingProgram
from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.runs import inputs
from gptjax.settings import to_dict
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.partitioning import put_batch
from gptjax.training.reporting.metrics import MetricsWriter
from gptjax.training.reporting.progress import Progress

TOKENS = 2_000_000
TIMES = 50
FEW_TIMES = 3
SETTLED = 10  # saves after which memory is to stay as it is


def beside_steps(program: TrainingProgram) -> dict[str, float]:
    """Seconds of a batch, a row and a save, and what share of a step they make up together.

    A row counts for every `log_every` steps and a save for every `every_steps`. Each is measured
    whole, though a run does most of it while a step is under way.
    """
    config = program.config
    with tempfile.TemporaryDirectory() as scratch:
        seconds = {
            "batch": _batch_seconds(program),
            "row": _row_seconds(Path(scratch)),
            "save": statistics.median(_saves(program, Path(scratch), FEW_TIMES)),
        }
    step = statistics.median(program() for _ in range(FEW_TIMES))
    of_each_step = (
        seconds["batch"]
        + seconds["row"] / config.training.log_every
        + seconds["save"] / config.checkpoint.every_steps
    )
    figures = {f"{name}_seconds": value for name, value in seconds.items()}
    return figures | {"step_seconds": step, "share_of_step": of_each_step / step}


def memory_over_saves(program: TrainingProgram, saves: int) -> dict[str, float]:
    """Growth of this process from the tenth of its saves to the last, in bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        resident = [_resident_bytes() for _ in _saves(program, Path(scratch), saves)]
    settled = resident[min(SETTLED, saves) - 1 :]
    return {"resident_bytes": resident[-1], "growth_bytes": max(settled) - settled[0]}


def _batch_seconds(program: TrainingProgram) -> float:
    """Seconds to read and gather a batch of random text and to put it where the batches live."""
    vocab_size = program.config.model.vocab_size
    tokens = np.random.default_rng(0).integers(0, vocab_size, TOKENS, np.uint16)
    starts = lengths = np.zeros(1, np.int64)
    split = TokenizedSplit("random text", tokens, starts, lengths)
    batches = inputs.training_batches(program.config, split, 0)
    return _mean_seconds(lambda: put_batch(next(batches), program.mesh))


def _row_seconds(workdir: Path) -> float:
    """Seconds to write and show a row of metrics."""
    names = ("loss", "learning_rate", "grad_norm", "tokens_per_second", "mfu", "executed_mfu")
    row = {"step": 1, **dict.fromkeys(names, 0.5)}
    with (
        MetricsWriter(workdir) as writer,
        open(os.devnull, "w") as nowhere,
        Progress(1, console=Console(file=nowhere)) as progress,
    ):

        def log() -> None:
            writer.write(row)
            progress.update(row)

        return _mean_seconds(log)


def _saves(program: TrainingProgram, directory: Path, count: int) -> Iterator[float]:
    """Saves the program's state again and again; yields the seconds until each was complete."""
    state, config = program.state, to_dict(program.config)
    with Checkpoints(directory / "checkpoints", keep=2) as checkpoints:
        for step in range(1, count + 1):
            began = time.perf_counter()
            checkpoints.save(
                step, params=state.params, opt_state=state.opt_state, data={}, config=config
            )
            checkpoints.wait()
            yield time.perf_counter() - began


def _mean_seconds(call: Callable[[], object]) -> float:
    call()
    began = time.perf_counter()
    for _ in range(TIMES):
        call()
    return (time.perf_counter() - began) / TIMES


def _resident_bytes() -> int:
    """Resident bytes of this process after unused memory is given back; on Linux alone."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
