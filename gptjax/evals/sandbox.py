"""Runs a program that nobody has read, in a child process that may do next to nothing.

    outcome = run("assert 1 + 1 == 3")
    outcome.kind, outcome.why          # "failed", "AssertionError, at line 1: assert 1 + 1 == 3"

What holds a program back, the kernel's means first:

- limits on CPU seconds, memory, the size of a file, open files and processes (`setrlimit`), and a
  limit of time, after which its process group is killed;
- a user and a network namespace of its own, where the kernel lets anyone have them: no network;
- Landlock, where the kernel has it: it reads Python's own files and reads and writes in an empty
  folder that is deleted afterwards, makes no TCP connection and sends no signal to others;
- an audit hook of Python, added before it starts, that ends it where it opens a socket, starts a
  process, loads ctypes, or opens, writes, deletes or lists what is not its own.

It has no environment, no standard input, and nobody reads what it prints. That guards the machine.
It does not guard the verdict: a program written to look for the sandbox around it can say "passed",
as in any harness that runs the test in the process of the answer.
"""

import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PASSED, FAILED, TIMED_OUT, REFUSED = "passed", "failed", "timed out", "refused"

_CHILD = Path(__file__).with_name("sandboxed.py")
_LOOK_EVERY = 0.005  # seconds


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
      cpu_seconds: of processor time; Chen et al. (2107.03374) give 3 seconds.
      wall_seconds: from its start to its end, which the start of Python is part of.
      memory_bytes: of address space.
      file_bytes: of each file that it writes.
      open_files: at the same time.
    """

    cpu_seconds: int = 3
    wall_seconds: float = 8.0
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 20
    open_files: int = 32

    def as_json(self) -> str:
        """The limits by the names of `resource`."""
        return json.dumps(
            {
                "RLIMIT_CPU": self.cpu_seconds,
                "RLIMIT_AS": self.memory_bytes,
                "RLIMIT_FSIZE": self.file_bytes,
                "RLIMIT_NOFILE": self.open_files,
                "RLIMIT_NPROC": 0,
                "RLIMIT_CORE": 0,
            }
        )


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
      kind: passed, failed, timed out or refused.
      why: one line; empty for one that passed.
    """

    kind: str
    why: str = ""


_LIMITS = Limits()


def run(program: str, limits: Limits = _LIMITS) -> Outcome:
    """Runs the text of a program: it passes if it comes to its end without an exception.

    Args:
      program: Python.
      limits: of what it uses.
    """
    nonce = secrets.token_hex(16)
    with (
        tempfile.TemporaryDirectory(prefix="program", ignore_cleanup_errors=True) as own,
        tempfile.TemporaryFile() as job,
        tempfile.TemporaryFile() as verdict,
    ):
        # Through files, so that neither side waits for the other.
        job.write(json.dumps({"program": program, "nonce": nonce}).encode())
        job.seek(0)
        child = subprocess.Popen(
            entered(limits, [*_python(), str(_CHILD), "run"]),
            stdin=job,
            stdout=verdict,
            stderr=subprocess.DEVNULL,
            cwd=own,
            env={},
            start_new_session=True,
        )
        in_time = _ended(child, limits.wall_seconds)
        if not in_time:
            return Outcome(TIMED_OUT, f"took more than {limits.wall_seconds:g} seconds")
        verdict.seek(0)
        return _outcome(child.returncode, nonce, verdict.read(2 * limits.file_bytes), limits)


def entered(limits: Limits, command: list[str]) -> list[str]:
    """The command that gives up rights and becomes `command`."""
    return [*_python(), str(_CHILD), "enter", limits.as_json(), *command]


def _python() -> list[str]:
    """This Python without a virtual environment, its variables or its site."""
    # Not every Python says which one an environment was made from.
    own = getattr(sys, "_base_executable", "") or sys.executable
    return [os.path.realpath(own), "-I", "-S"]


def _ended(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Waits, then kills all that is left of a child's group; False: it had not ended by itself."""
    deadline = time.monotonic() + seconds
    look = os.WEXITED | os.WNOWAIT | os.WNOHANG
    try:
        # The child is not reaped before its group is killed, so the number is still its own.
        while (ended := os.waitid(os.P_PID, child.pid, look)) is None:
            if time.monotonic() > deadline:
                break
            time.sleep(_LOOK_EVERY)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    return ended is not None


def _outcome(status: int, nonce: str, written: bytes, limits: Limits) -> Outcome:
    _, found, rest = written.decode(errors="replace").rpartition(f"\n{nonce} ")
    if found:
        kind, why = json.loads(rest.splitlines()[0])
        return Outcome(kind, why)
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        return Outcome(TIMED_OUT, f"used more than {limits.cpu_seconds} seconds of processor time")
    if status < 0:
        return Outcome(FAILED, f"killed by {signal.Signals(-status).name}")
    return Outcome(FAILED, f"ended with status {status} before its test did")
