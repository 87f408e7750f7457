"""The running batch of one model, in a thread of its own: requests join and leave while it runs.

    engine = Engine(generator)
    engine.start()
    job = engine.submit(prompt, max_new_tokens=20)     # from any thread but the engine's
    async for piece in job.pieces(): ...               # or, in a thread: job.text()
    engine.stop()

A stretch of the batch takes about `STRETCH` seconds, and at least one step: so long a request
waits to join, a text to be shown, and a place to be free after its client has gone. A text's first
token is shown after one step.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
from absl import logging

from gptjax.inference.generate import Generator
from gptjax.inference.requests import Request, raise_failure

STRETCH = 0.1  # seconds
GATHER = 0.004  # seconds that a batch without texts waits for another to come with the last
_MOST_GATHERS = 10
_MOST_STEPS = 32


class Job:
    """A text that the engine writes; a `Draft`, to be read by one reader.

    Attributes:
      request: what is written; its fields are the draft's.
      submitted, first: `time.perf_counter()` then, and when its first token was there.
    """

    def __init__(self, request: Request, wake: Any):
        self.request, self._wake = request, wake
        self.submitted, self.first = time.perf_counter(), 0.0
        self._changed = threading.Condition()
        self._whole, self._told = False, 0
        self._listener: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    @property
    def tokens(self) -> list[int]:
        """Of the text so far."""
        return self.request.tokens

    @property
    def log_probs(self) -> list[float]:
        """Of each token, in nats."""
        return self.request.log_probs

    @property
    def alternatives(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """To each token, where they were asked for."""
        return self.request.alternatives

    @property
    def finished(self) -> str | None:
        """Why it ended; None while it is written."""
        return self.request.finished

    def text(self) -> Iterator[str]:
        """New text as it comes, for a reader in a thread; errors are those of `Request.text`."""
        while True:
            ended = not self.request.writing  # asked first: what is there after that is all
            if piece := self.request.new_text():
                yield piece
            elif ended:
                return raise_failure(self.finished)
            else:
                with self._changed:
                    self._changed.wait_for(self._has_news)

    async def pieces(self) -> AsyncIterator[str]:
        """New text as it comes, "" where tokens came that show none yet; ends with the text."""
        event = asyncio.Event()
        self._listener = asyncio.get_running_loop(), event
        seen = -1
        while True:
            event.clear()
            ended = not self.request.writing
            piece, count = self.request.new_text(), len(self.request.tokens)
            if piece or count != seen:
                seen = count
                yield piece
            if ended:
                return
            if self.request.writing and len(self.request.tokens) == seen:
                await event.wait()

    async def whole(self) -> str:
        """All of its text once it has ended; its reader is not woken before."""
        event = asyncio.Event()
        self._whole, self._listener = True, (asyncio.get_running_loop(), event)
        while self.request.writing:
            await event.wait()
        return self.request.new_text()

    def cancel(self) -> None:
        """Ends it; its place is free at the batch's next step."""
        self.request.cancel()
        self.changed()
        self._wake()

    def _has_news(self) -> bool:
        return not self.request.writing or self.request.has_new_text

    def tell(self) -> int:
        """Tells the reader of what is new; returns how many tokens that is."""
        count = len(self.request.tokens) - self._told
        if count or not self.request.writing:
            self._told += count
            self.changed()
        return count

    def changed(self) -> None:
        """Wakes the reader."""
        if not self.first and self.request.tokens:
            self.first = time.perf_counter()
        if self._whole and self.request.writing:
            return
        with self._changed:
            self._changed.notify_all()
        if self._listener is not None:
            loop, event = self._listener
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)


class Engine:
    """Steps one generator for as long as there are texts to write."""

    def __init__(self, generator: Generator, ended: Callable[[Job], None] = lambda job: None):
        """`ended` is told of each text that has ended, in the engine's thread."""
        self._generator, self.ended = generator, ended
        self._wanted = threading.Condition()
        self._jobs: list[Job] = []
        self._stopped = False
        self._step_seconds = STRETCH
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends what is written where it is, and the thread."""
        with self._wanted:
            self._stopped = True
            self._wanted.notify()
        self._thread.join()

    @property
    def running(self) -> int:
        """Texts that are written or wait."""
        return len(self._jobs)

    @property
    def step_seconds(self) -> float:
        """Seconds that a step of the batch took lately."""
        return self._step_seconds

    def submit(self, prompt: np.ndarray, **options: Any) -> Job:
        """Asks for a text, at once; arguments and errors are those of `Generator.submit`.

        Raises:
          RuntimeError: the engine was stopped.
        """
        with self._wanted:
            if self._stopped:
                raise RuntimeError("engine: it was stopped")
            job = Job(self._generator.submit(prompt, **options), self._wake)
            self._jobs.append(job)
            self._wanted.notify()
        return job

    def _wake(self) -> None:
        with self._wanted:
            self._wanted.notify()

    def _run(self) -> None:
        while True:
            with self._wanted:
                idle = not self._jobs
                self._wanted.wait_for(lambda: self._stopped or self._jobs)
                if self._stopped:
                    break
            if idle:
                self._gather()
            self._step()
        for job in self._jobs:
            job.cancel()

    def _gather(self) -> None:
        """Waits while texts come one upon another: those that begin together are read together."""
        seen = 0
        for _ in range(_MOST_GATHERS):
            if len(self._jobs) == seen:
                return
            seen = len(self._jobs)
            time.sleep(GATHER)

    def _step(self) -> None:
        waited_for = any(not job.first for job in self._jobs)  # a first token is shown at once
        most = 1 if waited_for else _MOST_STEPS
        steps = max(1, min(most, round(STRETCH / max(self._step_seconds, 1e-6))))
        begun = time.perf_counter()
        try:
            self._generator.step(steps)
        except Exception:  # whatever it was, others are served; the texts of this batch say failed
            logging.exception("a step of the batch failed")
        took = time.perf_counter() - begun
        with self._wanted:  # with those that came meanwhile, and may have been written
            jobs = list(self._jobs)
            self._jobs = [job for job in jobs if job.request.writing]
        ended = [job for job in jobs if not job.request.writing]
        done = max(job.tell() for job in jobs)
        if done and not waited_for:  # else it read prompts, too
            self._step_seconds += 0.3 * (took / done - self._step_seconds)
        for job in ended:
            self.ended(job)
