import jax
import jax.numpy as jnp
import pytest

from gptjax.config import ProfileConfig
from gptjax.training.reporting.profile import Trace


@pytest.fixture
def calls(monkeypatch):
    calls = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda _: calls.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
    return calls


def _run(config, directory, first, last, calls):
    with Trace(config, first, directory) as trace:
        for step in range(first, last):
            trace.before_step(step, jnp.zeros(3))
            calls.append(step)


def test_the_steps_asked_for_are_traced_counted_from_the_first(tmp_path, calls):
    _run(ProfileConfig(start_step=2, num_steps=2), tmp_path, 100, 106, calls)
    assert calls == [100, 101, "start", 102, 103, "stop", 104, 105]


def test_a_run_that_ends_within_its_trace_stops_it(tmp_path, calls):
    _run(ProfileConfig(start_step=1, num_steps=9), tmp_path, 0, 3, calls)
    assert calls == [0, "start", 1, 2, "stop"]


def test_nothing_is_traced_unless_asked(tmp_path, calls):
    _run(ProfileConfig(start_step=1), tmp_path, 0, 3, calls)
    assert calls == [0, 1, 2]


def test_a_trace_is_written(tmp_path):
    with Trace(ProfileConfig(start_step=0, num_steps=1), 0, tmp_path / "tensorboard") as trace:
        trace.before_step(0, state := jnp.zeros(3))
        with jax.profiler.StepTraceAnnotation("train", step_num=0):
            state = jnp.sin(state)
        trace.before_step(1, state)
    (written,) = tmp_path.glob("tensorboard/plugins/profile/*/*.xplane.pb")
    assert b"step_num" in written.read_bytes()
