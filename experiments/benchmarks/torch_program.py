"""A program of PyTorch's, timed from here while it runs in a process of its own.

with torch_program(program="sdpa", backward=True, length=4096, ...) as (run, version):
    seconds = run()
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from experiments.benchmarks.interleaved import Program


@contextlib.contextmanager
def torch_program(**arguments: Any) -> Iterator[tuple[Program, str]]:
    """Starts `torch_attention`, which ends with the context, and waits until it has compiled.

    Args:
        **arguments: program ("sdpa" or "flex"), backward, length, heads, head_dim, dtype, and the
            window of flex.

    Yields:
        What runs it once and returns its seconds; the version of PyTorch, and its device.

    Raises:
        ValueError: it does not run here, with the last line of what it said.
    """
    module = "experiments.benchmarks.torch_attention"
    command = [sys.executable, "-m", module, json.dumps(arguments)]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):

        def answer() -> str:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait()
                said.seek(0)
                last = (said.read().splitlines() or ["it ended without a word"])[-1]
                raise ValueError(f"PyTorch's attention does not run here: {last}")
            return line.strip()

        def run() -> float:
            print(file=process.stdin, flush=True)
            return float(answer())

        yield run, answer()
