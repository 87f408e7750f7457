import numpy as np
import pytest

from gptjax.training.reporting import throughput as module
from gptjax.training.reporting.throughput import Throughput, matmul_peak_flops


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_throughput_is_tokens_over_the_window():
    clock = Clock()
    throughput = Throughput(2e6, 1e6, peak_flops_per_second=1e10, clock=clock)
    clock.now += 40  # compilation
    throughput.restart()
    for _ in range(4):
        throughput.add(1000)
        clock.now += 0.5
    assert throughput.take() == {
        "tokens_per_second": 2000.0,
        "mfu": pytest.approx(0.4),
        "executed_mfu": pytest.approx(0.2),
    }
    throughput.add(3000)
    clock.now += 1.0
    assert throughput.take()["tokens_per_second"] == 3000.0
    nothing = {"tokens_per_second": 0.0, "mfu": None, "executed_mfu": None}
    assert Throughput(2e6, 1e6, clock=clock).take() == nothing


def test_matmul_peak_counts_two_flops_a_multiply_add(monkeypatch):
    seconds = iter(np.arange(0, 100, 0.125).tolist())
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(seconds))
    measured = matmul_peak_flops("bfloat16")
    assert measured == 4 * (2 * 1024**3) / 0.125


def test_tokens_may_stand_for_more_of_them():
    clock = Clock()
    throughput = Throughput(2e6, 1e6, peak_flops_per_second=1e10, scale=2.5, clock=clock)
    throughput.add(1000)
    clock.now += 1.0
    assert throughput.take()["tokens_per_second"] == 2500.0
