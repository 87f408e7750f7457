"""A program of PyTorch's, timed from here while it runs in a process of its own.

with torch_program("attention", program="sdpa", length=4096, ...) as (run, version):
    seconds = run()

    serve(make, version)   # in that process
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from experiments.benchmarks.interleaved import TimedProgram
from experiments.benchmarks.served import answers


@contextlib.contextmanager
def torch_program(module: str, **arguments: Any) -> Iterator[tuple[TimedProgram, str]]:
    """Starts `module`, which ends with the context, and waits until it has compiled.

    Args:
      module: beside this one, which calls `serve`.
      **arguments: of what makes its program, as JSON has them.

    Yields:
      What runs it once and returns its seconds; the version of PyTorch, and its device.

    Raises:
      ValueError: it does not run here, with the last line of what it said.
    """
    command = [
        sys.executable,
        "-m",
        f"experiments.benchmarks.pytorch.{module}",
        json.dumps(arguments),
    ]
    with answers(command, "PyTorch") as (answer, version):
        yield lambda: float(answer()), version


def serve(make: Callable[..., TimedProgram], version: str) -> None:
    """Serves the other side: makes a program, runs it once, then once more for each line it reads.

    Args:
      make: of the program, from the arguments of `torch_program`.
      version: of PyTorch, and its device.
    """
    sys.excepthook = _say_in_one_line
    run = make(**json.loads(sys.argv[1]))
    run()  # compiles
    print(version, flush=True)
    for _ in sys.stdin:
        print(run(), flush=True)


def _say_in_one_line(kind: type[BaseException], error: BaseException, _: Any) -> None:
    print(f"{kind.__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr)
