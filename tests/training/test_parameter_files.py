"""Checkpoints written and read an array at a time, against those that `Checkpoints` handles."""

import errno
import os
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.training.checkpoints import retention
from gptjax.training.checkpoints.parameter_files import (
    Deferred,
    StoredParameters,
    write_parameters,
)
from gptjax.training.checkpoints.store import Checkpoints
from tests.support.good_steps import good_steps


def arrays() -> dict:
    rng = np.random.default_rng(0)
    shapes = {"table": (6, 4), "trunk": {"kernel": (3, 4, 5), "bias": (3, 5)}}
    return jax.tree.map(
        lambda shape: rng.normal(size=shape).astype(np.float32),
        shapes,
        is_leaf=lambda shape: isinstance(shape, tuple),
    )


def deferred(tree, log=None) -> dict:
    def of(array):
        def read():
            if log is not None:
                log.append(array.shape)
            return array

        return Deferred(array.shape, read)

    return jax.tree.map(of, tree)


def test_what_is_written_is_restored_as_parameters(tmp_path):
    tree, log = arrays(), []
    write_parameters(tmp_path, 0, deferred(tree, log), {"model": 1})
    assert sorted(log) == sorted(leaf.shape for leaf in jax.tree.leaves(tree))
    with Checkpoints(tmp_path) as checkpoints:
        assert good_steps(checkpoints) == [0]
        restored = checkpoints.restore_params()
    jax.tree.map(np.testing.assert_array_equal, restored, tree)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


def test_what_a_run_saved_is_read_by_name(tmp_path):
    tree = arrays()
    average = jax.tree.map(lambda leaf: leaf + 1, tree)
    with Checkpoints(tmp_path) as checkpoints:
        for step in (3, 5):
            scaled = jax.tree.map(lambda leaf, step=step: jax.device_put(leaf * step), tree)
            state = {"count": jnp.zeros(())}
            checkpoints.save(step, params=scaled, ema=average, opt_state=state, data={}, config={})
    for step, factor in ((None, 5), (3, 3)):
        stored = StoredParameters(tmp_path, step, "params")
        assert stored.shapes == {"table": (6, 4), "trunk/kernel": (3, 4, 5), "trunk/bias": (3, 5)}
        kernel = stored.read("trunk/kernel")
        assert type(kernel) is np.ndarray
        np.testing.assert_array_equal(kernel, tree["trunk"]["kernel"] * np.float32(factor))
        np.testing.assert_array_equal(stored.read("table"), tree["table"] * np.float32(factor))
    averaged = StoredParameters(tmp_path, None)  # what the run is judged by
    np.testing.assert_array_equal(averaged.read("trunk/bias"), tree["trunk"]["bias"] + 1)


def test_an_array_that_cannot_be_made_leaves_no_checkpoint(tmp_path):
    def fail():
        raise ValueError("the disk is gone")

    tree = deferred(arrays())
    tree["trunk"]["kernel"] = Deferred((3, 4, 5), fail)
    with pytest.raises(ValueError, match=r"^the disk is gone$"):
        write_parameters(tmp_path, 0, tree, {})
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == []


def _no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _too_large(limit):
    """As a disk that is full once a file has so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("when", ["an array is written", "the manifest is written"])
def test_a_full_disk_is_one_line_with_the_path(tmp_path, monkeypatch, when):
    rng, before = np.random.default_rng(0), resource.getrlimit(resource.RLIMIT_FSIZE)
    tree = deferred({"w": rng.normal(size=(100, 1000)).astype(np.float32)})
    if when == "the manifest is written":
        monkeypatch.setattr(retention, "write_manifest", _no_space)
    try:
        if when == "an array is written":
            _too_large(50_000)
        with pytest.raises(ValueError, match=r"^cannot save step 7 in ") as error:
            write_parameters(tmp_path, 7, tree, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).endswith("; last good checkpoint: none")
    monkeypatch.undo()
    write_parameters(tmp_path, 7, tree, {})


def test_a_later_checkpoint_is_never_replaced(tmp_path):
    write_parameters(tmp_path, 4, deferred(arrays()), {})
    with pytest.raises(ValueError, match=r"cannot save step 4 in .*: it holds step 4"):
        write_parameters(tmp_path, 4, deferred(arrays()), {})


def test_damage_is_found_before_anything_is_read(tmp_path):
    write_parameters(tmp_path, 0, deferred(arrays()), {})
    largest = max((tmp_path / "0/params").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[-1] ^= 1
    largest.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint 0 in .* is corrupt: file params/"):
        StoredParameters(tmp_path, None)
    with pytest.raises(ValueError, match="no checkpoint in"):
        StoredParameters(tmp_path / "nowhere", None)
