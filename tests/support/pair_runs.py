"""Two processes of four devices each, over loopback, as tests start them.

seen = pair_seen(folder, {"rewards": run_of(folder / "rewards", config)})
"""

import concurrent.futures
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gptjax.settings import to_dict
from gptjax.training.reporting.metrics import read_metrics

REPOSITORY = Path(__file__).resolve().parents[2]


def run_of(path, config):
    """A run as a plan of `pair` has it."""
    return {"workdir": str(path), "config": to_dict(config), "task": config.kind}


def pair_seen(folder, plan):
    """Results of the runs of a plan as each of two processes saw them; both end with the call."""
    (folder / "plan.json").write_text(json.dumps(plan))
    address = [f"--coordinator=127.0.0.1:{_free_port()}", "--num_processes=2"]
    command = [sys.executable, "-m", "tests.support.pair", f"--plan={folder / 'plan.json'}"]
    processes = []
    try:
        for i in range(2):
            with _said(folder, i, "out").open("w") as out, _said(folder, i, "err").open("w") as err:
                process = subprocess.Popen(
                    [*command, *address, f"--process_id={i}"],
                    cwd=REPOSITORY,
                    env={**os.environ, "JAX_NUM_CPU_DEVICES": "4"},
                    stdout=out,
                    stderr=err,
                )
            processes.append(process)
        codes = _codes(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    errors = [_said(folder, i, "err").read_text()[-3000:] for i in range(2)]
    assert codes == [0, 0], f"exit codes: got {codes} (None: killed), expected [0, 0]: {errors}"
    printed = _said(folder, 1, "out").read_text()
    assert printed.replace("[Gloo]", "").count("step ") == 0  # process 0 alone prints
    return [json.loads((folder / f"seen_{i}.json").read_text()) for i in range(2)]


def assert_alike(path, other):
    """Losses to 1e-5, as the design promises of another topology, and gradient norms to 1e-4."""
    rows, expected = (read_metrics(run / "metrics.jsonl") for run in (path, other))
    assert [(row["step"], row.get("split")) for row in rows] == [
        (row["step"], row.get("split")) for row in expected
    ]
    for row, like in zip(rows, expected, strict=True):
        assert row["loss"] == pytest.approx(like["loss"], rel=1e-5)
        assert row.get("grad_norm", 0) == pytest.approx(like.get("grad_norm", 0), rel=1e-4)


def _codes(processes):
    """With what each has ended once all have, or one has failed; None for what still runs.

    One that fails leaves the other waiting for it.
    """
    with concurrent.futures.ThreadPoolExecutor(len(processes)) as pool:
        ends = [pool.submit(process.wait) for process in processes]
        for end in concurrent.futures.as_completed(ends):
            if end.result() != 0:
                break
        codes = [process.poll() for process in processes]
        for process in processes:
            process.kill()
    return codes


def _said(folder, process, stream):
    return folder / f"pair_{process}.{stream}"


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
