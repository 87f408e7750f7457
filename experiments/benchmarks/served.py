"""A program in a process of its own that does its work once for each line it reads.

with answers([sys.executable, "-m", "MODULE", ...], "PyTorch") as (answer, first):
    line = answer()
"""

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence


@contextlib.contextmanager
def answers(command: Sequence[str], name: str) -> Iterator[tuple[Callable[[], str], str]]:
    """Starts a program, which ends with the context, and waits for its first line.

    Args:
      command: of the program.
      name: of it, for messages.

    Yields:
      What asks it once more and returns the line it answers; and its first line.

    Raises:
      ValueError: it does not run here, with the last line of what it said.
    """
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):

        def line() -> str:
            assert process.stdout is not None
            read = process.stdout.readline()
            if not read:
                process.wait()
                said.seek(0)
                last = (said.read().splitlines() or ["it ended without a word"])[-1]
                raise ValueError(f"{name} does not run here: {last}")
            return read.strip()

        def answer() -> str:
            print(file=process.stdin, flush=True)
            return line()

        yield answer, line()
