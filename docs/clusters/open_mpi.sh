#!/bin/bash
# Open MPI, a process a GPU. From the repository, which all hosts see under the same path:
#
#   HOSTS=host0:8,host1:8 docs/clusters/open_mpi.sh \
#     --experiment=gpt2_small --workdir=/shared/runs/small --config.parallelism.strategy=mesh
#
# Open MPI 4 would do with --coordinator=detect; 5 does not say where process 0 is. PORT (8476) is
# free on the first host; BINARY (train) is what runs; PYTHON: the interpreter, if it is not that
# of `make setup`.
set -euo pipefail

: "${HOSTS:?host:processes, separated by commas; the others reach the first}"
first=${HOSTS%%,*}

# shellcheck disable=SC2016  # the processes expand it
exec mpirun --host "$HOSTS" bash -c '
  export JAX_LOCAL_DEVICE_IDS=$OMPI_COMM_WORLD_LOCAL_RANK
  exec "$@" --num_processes="$OMPI_COMM_WORLD_SIZE" --process_id="$OMPI_COMM_WORLD_RANK"
' process "${PYTHON:-.venv/bin/python}" -m "experiments.${BINARY:-train}" "$@" \
  --coordinator="${first%%:*}:${PORT:-8476}"
