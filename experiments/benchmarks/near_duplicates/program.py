"""A contender in a process of its own, run once for each line it reads.

with contender("rensa", documents=20_000) as (run, version):
    figures = run()     # seconds of each part, and of processors; pairs, dropped, peak_bytes
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator

from experiments.benchmarks.served import answers

_SERVER = "experiments.benchmarks.near_duplicates.contenders"

Run = Callable[[], dict[str, float]]


@contextlib.contextmanager
def contender(name: str, documents: int) -> Iterator[tuple[Run, str]]:
    """Starts a process that makes the documents, and waits until it has run once on a few of them.

    Raises:
      ValueError: it does not run here, with the last line of what it said.
    """
    command = [sys.executable, "-m", _SERVER, name, str(documents)]
    with answers(command, name) as (answer, version):
        yield lambda: json.loads(answer()), version
