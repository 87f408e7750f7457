import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from gptjax.training.reporting import throughput as module
from gptjax.training.reporting.throughput import (
    Peak,
    Throughput,
    available_cores,
    flops_a_second,
    matmul_peak_flops,
    peak_flops,
)


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


def test_what_else_the_machine_does_leaves_the_peak_of_its_cores(monkeypatch):
    """Seconds on the clock count others' work; those of the process, of which one is odd, do not.

    Each call takes this process 0.5 s of its cores' time, however long that is on the clock.
    """
    clock, process = itertools.count(0, 0.02), itertools.count(0, 0.5)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module.time, "process_time", lambda: next(process))
    monkeypatch.setattr(module, "available_cores", lambda: 3.0)
    peak = peak_flops("float32")
    assert peak == Peak(3 * 2 * (2 * 512**3) / 0.5, "measured")
    assert peak.of_devices(2) == 12 * 2 * (2 * 512**3) / 1.0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 3.0),
        ({"cpu.max": "max 100000\n"}, 3.0),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "800000 100000\n"}, 3.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3.0),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
    ],
)
def test_cores_are_those_of_the_process_and_of_its_containers_quota(
    monkeypatch, tmp_path, files, expected
):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: {3, 5, 7})
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == expected


@pytest.mark.parametrize(("calls", "slow"), [(7, 1.0), (20, 1.5)])
def test_a_peak_that_another_start_would_not_find_is_not_known(monkeypatch, calls, slow):
    """There is time for a few calls only, or every other one takes half as long again."""
    clock = itertools.count(0, 0.2 / calls + 1e-6)
    process = itertools.accumulate(itertools.cycle([0.0, 0.5, 0.0, 0.5 * slow]))
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module.time, "process_time", lambda: next(process))
    peak = peak_flops("float32")
    assert peak.flops_per_second is peak.of_devices(4) is None
    assert peak.source == "not known: the machine is too busy to measure it"


@pytest.mark.parametrize(
    ("kind", "dtype", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989),
        ("NVIDIA A100-SXM4-40GB", "float32", 156),
        ("TPU v5 lite", "bfloat16", 197),
        ("TPU v5p", "float32", 459),
    ],
)
def test_a_known_device_has_the_peak_that_its_maker_publishes(monkeypatch, kind, dtype, tera):
    monkeypatch.setattr(module.jax, "local_devices", lambda: [SimpleNamespace(device_kind=kind)])
    assert peak_flops(dtype) == Peak(tera * 1e12, "published")


def test_flops_are_read_in_their_unit():
    assert [flops_a_second(x) for x in (2.05e11, 9.89e14, 1.2e16)] == [
        *("205 GFLOP/s", "989 TFLOP/s", "12 PFLOP/s")
    ]


def test_tokens_may_stand_for_more_of_them():
    clock = Clock()
    throughput = Throughput(2e6, 1e6, peak_flops_per_second=1e10, scale=2.5, clock=clock)
    throughput.add(1000)
    clock.now += 1.0
    assert throughput.take()["tokens_per_second"] == 2500.0
    assert throughput.computed(4000) == 10_000
