"""Checkpoints of a run that is killed, and of one whose disk is full."""

import asyncio
import errno
import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.training.checkpoints.parameter_files import StoredParameters
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
    many = {"w": array, "others": {str(i): array for i in range(4)}}
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


def test_files_of_others_are_not_of_a_checkpoint(tmp_path, monkeypatch, caplog):
    """What desktops, NFS and people leave in every folder, and beside the steps."""
    arrays = {step: {"w": jax.random.normal(jax.random.key(step), (9,))} for step in (1, 2, 3)}
    abstract = jax.eval_shape(lambda: arrays[1])

    def save(step):
        checkpoints.save(step, params=arrays[step], opt_state=arrays[step], data={}, config={})
        checkpoints.wait()

    with Checkpoints(tmp_path) as checkpoints:
        save(1)
        save(2)
        for folder in [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]:
            for name in (".DS_Store", "Thumbs.db", ".nfs0001", "._2", "notes"):
                (folder / name).write_bytes(b"x")
            (folder / "2 (copy)").mkdir()
        (tmp_path / "40").write_bytes(b"a file, no checkpoint")
        (tmp_path / "³").mkdir()
        assert good_steps(checkpoints) == [1, 2]
        restored = checkpoints.restore(params=abstract, opt_state=abstract)
        np.testing.assert_array_equal(restored["params"]["w"], arrays[2]["w"])
        np.testing.assert_array_equal(checkpoints.restore_params(1)["w"], arrays[1]["w"])
        read = StoredParameters(tmp_path, 2).read("w")
        np.testing.assert_array_equal(read, arrays[2]["w"])
        monkeypatch.setattr(shutil, "rmtree", Mock(side_effect=OSError(errno.EBUSY, "held")))
        save(3)  # and 1 goes
        assert good_steps(checkpoints) == [2, 3]
        assert "removing.1 now: [Errno 16] held" in caplog.text
    monkeypatch.undo()
    (tmp_path / "saving.notes").write_bytes(b"x")
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.acquire_lock()
    assert not (tmp_path / "removing.1").exists() and (tmp_path / "saving.notes").exists()
