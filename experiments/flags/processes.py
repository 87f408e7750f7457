"""Several processes that are one run, each with devices of its own; see docs/clusters.md.

python -m experiments.train ... --coordinator=host0:8476 --num_processes=2 --process_id=0
srun python -m experiments.train ... --coordinator=detect
"""

import os
import sys

import jax
from absl import flags

_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "host:port of process 0, free there and reached by all; detect: as SLURM, Open MPI, GKE or "
    "Cloud TPU say. By default this process is alone.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "How many processes there are.", lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Which of them this is, from 0; process 0 writes.", lower_bound=0
)


def connect() -> None:
    """Waits for all processes that the flags speak of, of which only process 0 then prints.

    To be called before anything is computed.

    Raises:
      ValueError: flags are missing or contradict each other, nothing is detected, or process 0
        cannot listen there. JAX itself ends processes that wait in vain, after five minutes.
    """
    coordinator, given = _COORDINATOR.value, (_NUM_PROCESSES.value, _PROCESS_ID.value)
    counted = coordinator is not None and coordinator != "detect"
    if (None in given) if counted else (given != (None, None)):
        raise ValueError(
            f"--coordinator: got {coordinator} with --num_processes={given[0]} and --process_id="
            f"{given[1]}, expected all three, or --coordinator=detect alone, or none"
        )
    try:
        if counted:
            jax.distributed.initialize(coordinator, *given, cluster_detection_method="deactivate")
        elif coordinator == "detect":
            jax.distributed.initialize()
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"--coordinator: got {coordinator}, but no processes met: {error}"
        ) from error
    if coordinator is not None and jax.process_index() != 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
