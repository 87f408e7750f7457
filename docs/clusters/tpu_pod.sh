#!/bin/bash
# A Cloud TPU pod slice, a process a host. From anywhere with gcloud:
#
#   TPU=my-pod ZONE=us-east5-a docs/clusters/tpu_pod.sh \
#     --experiment=gpt2_small --workdir=/shared/runs/small --config.parallelism.strategy=mesh
#
# BINARY (train) is what runs; REPOSITORY (gptjax) where the hosts have it, below their home
# directory; PYTHON: the interpreter there, if it is not that of `make setup EXTRAS=tpu`.
set -euo pipefail

command=$(printf '%q ' "${PYTHON:-.venv/bin/python}" -m "experiments.${BINARY:-train}" \
  --coordinator=detect "$@")

exec gcloud compute tpus tpu-vm ssh "${TPU:?the name of the TPU}" --zone="${ZONE:?its zone}" \
  --worker=all --command="cd $(printf %q "${REPOSITORY:-gptjax}") && exec $command"
