#!/bin/bash
# TPU slices of a GKE cluster, by xpk, a process a host. From anywhere with xpk and gcloud:
#
#   CLUSTER=my-cluster PROJECT=my-project ZONE=us-east5-a TPU_TYPE=v5litepod-16 NAME=small \
#     IMAGE=REGISTRY/gptjax docs/clusters/xpk.sh --experiment=gpt2_small --workdir=/shared/runs/1 \
#     --config.parallelism.strategy=mesh
#
# IMAGE is made by docs/clusters/Dockerfile; the work directory is on storage that `xpk storage`
# has attached. BINARY (train) is what runs. Pods that are lost are started again and go on
# (RESTARTS, 10 times).
set -euo pipefail

command=$(printf '%q ' "${PYTHON:-python}" -m "experiments.${BINARY:-train}" \
  --coordinator=detect "$@")

exec xpk workload create --cluster="${CLUSTER:?}" --project="${PROJECT:?}" --zone="${ZONE:?}" \
  --workload="${NAME:?what the run is called}" --docker-image="${IMAGE:?}" \
  --tpu-type="${TPU_TYPE:?}" --num-slices="${NUM_SLICES:-1}" --max-restarts="${RESTARTS:-10}" \
  --command="exec $command"
