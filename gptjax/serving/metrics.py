"""Figures of a server for Prometheus, at /metrics.

metrics = Metrics(models)
with metrics.request("/v1/completions") as answered: answered(200)
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gptjax.serving.engine import Job
from gptjax.serving.served import Models

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self, models: Models):
        self._models, self._registry = models, CollectorRegistry()
        shared: Any = {"registry": self._registry}
        self._requests = Counter(
            "gptjax_requests", "Requests that were answered", ["path", "status"], **shared
        )
        self._seconds = Histogram(
            "gptjax_request_seconds",
            "Seconds to an answer's end",
            ["path"],
            buckets=_SECONDS,
            **shared,
        )
        self._prompt = Counter("gptjax_prompt_tokens", "Tokens of prompts", ["model"], **shared)
        self._tokens = Counter("gptjax_generated_tokens", "Tokens written", ["model"], **shared)
        self._first = Histogram(
            "gptjax_time_to_first_token_seconds",
            "Seconds from a place in the queue to the first token",
            ["model"],
            buckets=_SECONDS,
            **shared,
        )
        self._between = Histogram(
            "gptjax_time_between_tokens_seconds",
            "Mean seconds between the tokens of a text",
            ["model"],
            buckets=_SECONDS,
            **shared,
        )
        self._gauges = {
            name: Gauge(f"gptjax_{name}", about, ["model"], **shared)
            for name, about in (
                ("slots", "Texts that may be written at a time"),
                ("slots_running", "Texts that are written"),
                ("queue", "Texts that wait for a slot"),
                ("step_seconds", "Seconds of a step of the batch lately"),
            )
        }

    @contextlib.contextmanager
    def request(self, path: str) -> Iterator[Callable[[int], None]]:
        """Times one request; what it gives is told the status."""
        begun, status = time.perf_counter(), 500

        def answered(code: int) -> None:
            nonlocal status
            status = code

        try:
            yield answered
        finally:
            self._requests.labels(path, str(status)).inc()
            self._seconds.labels(path).observe(time.perf_counter() - begun)

    def ended(self, name: str, job: Job) -> None:
        """Counts a text that has ended, of the model of that name."""
        count = len(job.tokens)
        self._prompt.labels(name).inc(job.request.order.prompt.size)
        self._tokens.labels(name).inc(count)
        if job.first:
            self._first.labels(name).observe(job.first - job.submitted)
        if count > 1:
            between = (time.perf_counter() - job.first) / (count - 1)
            self._between.labels(name).observe(between)

    def text(self) -> bytes:
        """The figures as Prometheus reads them."""
        for name, served in self._models.all.items():
            slots, running = served.model.generator.slots, served.engine.running
            for gauge, value in (
                ("slots", slots),
                ("slots_running", min(running, slots)),
                ("queue", max(0, running - slots)),
                ("step_seconds", served.engine.step_seconds),
            ):
                self._gauges[gauge].labels(name).set(value)
        return generate_latest(self._registry)
