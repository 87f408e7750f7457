"""Several processes that are one run, each with devices of its own; see docs/clusters.md.

python -m experiments.train ... --coordinator=host0:8476 --num_processes=2 --process_id=0
srun python -m experiments.train ... --coordinator=detect
"""

import os
import sys
from collections.abc import Callable

from absl import flags

from gptjax.config import ParallelismConfig

_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "host:port of process 0, which all processes can reach. detect asks SLURM, Open MPI, GKE or "
    "Cloud TPU. By default this process runs alone.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of processes that are one run.", lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Number of this process, from 0. Process 0 writes the files.", lower_bound=0
)


# Variables that say how many processes there are, in the order in which JAX looks for clusters.
_COUNTS = ("OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS")


def connect(parallelism: Callable[[], ParallelismConfig]) -> None:
    """Waits for all processes that the flags speak of, of which only process 0 then prints.

    To be called before anything is computed, but after all that a process can refuse alone: one
    that stops before it has joined leaves the others waiting for five minutes.

    Args:
      parallelism: reads that of the run. `strategy=single` is refused where there are several
        processes: before they join if flags or a cluster's variables say how many, or else right
        after. What one process cannot read, as on a disk that they do not share, is refused by all
        of them once they have joined.

    Raises:
      ValueError: flags are missing or contradict each other, the run has one device alone, nothing
        is detected, or process 0 cannot listen there; or `parallelism` raises it. JAX itself ends
        processes that wait in vain, after five minutes.
    """
    import jax

    from gptjax.training.processes import together

    coordinator, given = _COORDINATOR.value, (_NUM_PROCESSES.value, _PROCESS_ID.value)
    counted = coordinator is not None and coordinator != "detect"
    if (None in given) if counted else (given != (None, None)):
        raise ValueError(
            f"--coordinator: got {coordinator} with --num_processes={given[0]} and --process_id="
            f"{given[1]}, expected all three, or --coordinator=detect alone, or none"
        )
    if coordinator is None:
        return
    said = given[0] or next(filter(None, map(os.environ.get, _COUNTS)), 1)
    try:
        known = parallelism()
    except ValueError:
        known = None
    if known is not None:
        _check_several(known, int(said))
    try:
        if counted:
            jax.distributed.initialize(coordinator, *given, cluster_detection_method="deactivate")
        else:
            jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"--coordinator: got {coordinator}, but no processes met: {error}"
        ) from error
    _check_several(together(parallelism), jax.process_count())
    if jax.process_index() != 0:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _check_several(parallelism: ParallelismConfig, processes: int) -> None:
    """Refuses several processes of a run that has one device."""
    if processes > 1 and parallelism.strategy == "single":
        raise ValueError(
            f"config.parallelism.strategy: got single, which is one device, with {processes} "
            "processes, expected mesh or pmap (or one process)"
        )
