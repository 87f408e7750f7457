#!/bin/bash
# GPU hosts reached by ssh, a process a host that takes all its GPUs. From the repository, which all
# hosts see under the same path:
#
#   HOSTS="host0 host1" docs/clusters/gpu_hosts.sh \
#     --experiment=gpt2_small --workdir=/shared/runs/small --config.parallelism.strategy=mesh
#
# Ctrl-C has all of them save and leave. PORT (8476) is free on the first host; BINARY (train) is
# what runs; PYTHON: the interpreter, if it is not that of `make setup`.
set -euo pipefail

read -ra hosts <<< "${HOSTS:?the names of the hosts, the first of which the others reach}"
port=${PORT:-8476}
process_file='"${TMPDIR:-/tmp}"'/gptjax-$port.pid # the host there expands it
command=$(printf '%q ' "${PYTHON:-.venv/bin/python}" -m "experiments.${BINARY:-train}" "$@" \
  "--coordinator=${hosts[0]}:$port" "--num_processes=${#hosts[@]}")

leaving=
leave() {
  trap '' INT TERM
  leaving=1
  ssh -n "${hosts[0]}" "kill -TERM \$(cat $process_file)"
}
trap leave INT TERM

connections=()
for i in "${!hosts[@]}"; do
  ssh -n "${hosts[i]}" \
    "cd $(printf %q "$PWD") && echo \$\$ > $process_file && exec $command --process_id=$i" &
  connections+=($!)
done

failed=0
for connection in "${connections[@]}"; do
  until wait "$connection"; do
    code=$?
    [[ $leaving ]] || { failed=$code && break; }
    leaving= # a signal came: what ended was the waiting
  done
done
exit "$failed"
