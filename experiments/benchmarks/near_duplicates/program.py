"""A contender in a process of its own, run once for each line it reads.

with contender("rensa", documents=20_000) as (run, version):
    figures = run()     # seconds of each part, and of processors; pairs, dropped, peak_bytes
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

_SERVER = "experiments.benchmarks.near_duplicates.contenders"

Run = Callable[[], dict[str, float]]


@contextlib.contextmanager
def contender(name: str, documents: int) -> Iterator[tuple[Run, str]]:
    """Starts a process that makes the documents, and waits until it has run once on a few of them.

    Raises:
      ValueError: it does not run here, with the last line of what it said.
    """
    command = [sys.executable, "-m", _SERVER, name, str(documents)]
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
                raise ValueError(f"{name} does not run here: {last}")
            return line.strip()

        def run() -> dict[str, float]:
            print(file=process.stdin, flush=True)
            return json.loads(answer())

        yield run, answer()
