"""Checkpoints of a run that is killed, and of one whose disk is full."""

import asyncio
import gc
import os
import resource
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.training.checkpoints.store import Checkpoints
from tests.support.good_steps import good_steps

SAVE_FOR_EVER = """
import itertools, sys
import jax.numpy as jnp
from gptjax.training.checkpoints.store import Checkpoints
checkpoints = Checkpoints(sys.argv[1], keep=2)
for step in itertools.count(1):
    array = jnp.full((400, 1000), step, "float32")
    checkpoints.save(step, params={"w": array}, opt_state={"m": array}, data={}, config={})
    print(step, flush=True)  # the steps before it are on disk
"""


@pytest.mark.slow
def test_a_killed_run_resumes_from_a_whole_checkpoint(tmp_path):
    command = [sys.executable, "-c", SAVE_FOR_EVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert [int(child.stdout.readline()) for _ in range(6)] == [1, 2, 3, 4, 5, 6]
        os.kill(child.pid, signal.SIGKILL)
    with Checkpoints(tmp_path) as checkpoints:
        steps = checkpoints.steps()
        assert len(steps) >= 2
        assert good_steps(checkpoints) == steps
        for step in steps:
            np.testing.assert_array_equal(checkpoints.restore_params(step)["w"], step)
        array = jnp.zeros(3)
        checkpoints.save(
            steps[-1] + 1, params={"w": array}, opt_state={"m": array}, data={}, config={}
        )
    assert good_steps(Checkpoints(tmp_path)) == [steps[-1], steps[-1] + 1]


def test_a_full_disk_is_one_line_with_path_and_last_good_step(tmp_path, capfd, caplog, monkeypatch):
    """Of all arrays that cannot be written, one is told."""
    array = jax.random.normal(jax.random.key(0), (100, 1000))
    many = {"w": array, "others": {str(i): array for i in range(20)}}
    uncaught = []
    monkeypatch.setattr(sys, "unraisablehook", uncaught.append)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, params={"w": array}, opt_state={"m": array}, data={}, config={})
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # writes past it fail
        try:
            checkpoints.save(2, params=many, opt_state=many, data={}, config={})
            with pytest.raises(ValueError, match=r"cannot save step 2 in") as error:
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "File too large" in str(error.value)
        assert str(tmp_path) in str(error.value)
        assert str(error.value).endswith("last good checkpoint: 1")
        assert "\n" not in str(error.value)
        checkpoints.save(3, params={"w": array}, opt_state={"m": array}, data={}, config={})
    assert good_steps(Checkpoints(tmp_path)) == [1, 3]
    gc.collect()  # what nobody asked for is told when it goes
    assert (capfd.readouterr().err, caplog.records, uncaught) == ("", [], [])


def test_what_others_cannot_raise_is_told(tmp_path, monkeypatch):
    """A loop that is closed may be anyone's."""
    uncaught, loop = [], asyncio.new_event_loop()
    monkeypatch.setattr(sys, "unraisablehook", uncaught.append)
    loop.close()

    class Careless:
        def __del__(self):
            loop.call_soon_threadsafe(print)

    with Checkpoints(tmp_path):
        Careless()
    assert [str(each.exc_value) for each in uncaught] == ["Event loop is closed"]
