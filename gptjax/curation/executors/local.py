"""Tasks in processes of this machine. A process that dies is replaced, and its task tried again.

    with contextlib.closing(LocalProcesses(4, attempts=3)) as executor:
        for name, result in executor.run(tasks):
            ...

The processes are new interpreters that import what a task names and no more: they share no lock, no
thread and no random state with this one.
"""

import collections
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from gptjax.curation.executors.tasks import Task, run_task, told

_ONE_THREAD = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def worker_environment() -> dict[str, str]:
    """Variables of a process that works beside others: it finds our modules, and has one thread."""
    own = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    return own | dict.fromkeys(_ONE_THREAD, "1") | {"TOKENIZERS_PARALLELISM": "false"}


@dataclasses.dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection
    task: Task | None = None

    @classmethod
    def start(cls) -> "_Worker":
        ours, theirs = Pipe()
        command = f"from {__name__} import serve; serve({theirs.fileno()})"
        process = subprocess.Popen(
            [sys.executable, "-c", command],
            pass_fds=[theirs.fileno()],
            env=os.environ | worker_environment(),
        )
        theirs.close()
        return cls(process, ours)

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


class LocalProcesses:
    """A number of processes, each with one task at a time."""

    def __init__(self, processes: int, attempts: int):
        """`attempts`: times that a task is tried in all, where its process dies."""
        self._processes = processes
        self._attempts = attempts
        self._workers: list[_Worker] = []

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Any]]:
        waiting = collections.deque(tasks)
        tries: collections.Counter[str] = collections.Counter()
        while len(self._workers) < min(self._processes, len(tasks)):
            self._workers.append(_Worker.start())
        try:
            while waiting or any(worker.task for worker in self._workers):
                for worker in self._workers:
                    if worker.task is None and waiting:
                        self._give(worker, waiting.popleft(), tries)
                busy = [worker for worker in self._workers if worker.task]
                ready = wait([worker.connection for worker in busy])
                for worker in busy:
                    if worker.connection in ready:
                        yield from self._answer(worker, waiting, tries)
        except BaseException:
            self.close()
            raise

    def _give(self, worker: _Worker, task: Task, tries: collections.Counter[str]) -> None:
        worker.task = task
        tries[task.name] += 1
        with contextlib.suppress(BrokenPipeError):  # it has died, which its answer tells
            worker.connection.send(task)

    def _answer(
        self, worker: _Worker, waiting: collections.deque[Task], tries: collections.Counter[str]
    ) -> Iterator[tuple[str, Any]]:
        task, worker.task = worker.task, None
        assert task is not None
        try:
            failed, result = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            code = worker.process.wait()
            self._workers[self._workers.index(worker)] = _Worker.start()
            worker.connection.close()
            if tries[task.name] >= self._attempts:
                raise ValueError(
                    f"task {task.name}: got a process that ended with code {code} at each of "
                    f"{self._attempts} attempts, expected an answer (where memory is short, "
                    "execution.part_megabytes and --processes decide how much is taken)"
                ) from None
            waiting.appendleft(task)
            return
        if failed:
            raise result
        yield task.name, result

    def close(self) -> None:
        while self._workers:
            self._workers.pop().end()


def serve(descriptor: int) -> None:
    """Answers tasks until nobody asks any more; this is the whole life of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    connection = Connection(descriptor)
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        try:
            answer = False, run_task(task)
        except Exception as error:  # whatever a task raises is told to whoever asked
            if not isinstance(error, (ValueError, OSError)):
                traceback.print_exc()
            answer = True, told(error)
        try:
            connection.send(answer)
        except BrokenPipeError:
            return
