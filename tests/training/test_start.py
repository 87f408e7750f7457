import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from gptjax.config import ParallelismConfig
from gptjax.training.checkpoints.start import initial_state, start
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.partitioning import make_mesh
from gptjax.training.state import create

TX = optax.adam(0.1)
MESH = NamedSharding(make_mesh(ParallelismConfig(strategy="mesh")), PartitionSpec())


def _init(width=3):
    return lambda: {"kernel": jax.random.normal(jax.random.key(0), (2, width))}


def _state(step):
    """The state after `step` steps of some run: every leaf tells its step."""
    state = create(_init()(), TX)
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, step, leaf.dtype), state)


def _data(step):
    return {"skipped_examples": [[step, step + 1]]}


def _save(workdir, *steps, ema=None):
    with Checkpoints(workdir / "checkpoints", keep=9) as checkpoints:
        for step in steps:
            state = _state(step)
            checkpoints.save(
                step,
                params=state.params,
                opt_state=state.opt_state,
                ema=ema,
                data=_data(step),
                config={},
            )


def _start(workdir, *, restore_step=None, init_from=None, init=None):
    def fresh(params=None):
        return create((init or _init())() if params is None else params, TX)

    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=MESH),
        jax.eval_shape(fresh),
    )

    def new():
        params = None
        if init_from is not None:
            with Checkpoints(init_from / "checkpoints") as others:
                params = others.restore_eval_params(None, target.params)
        return initial_state(fresh, target, params)

    with Checkpoints(workdir / "checkpoints", keep=9) as checkpoints:
        state, data = start(new, target, checkpoints, restore_step=restore_step)
        steps = checkpoints.steps()
    assert data == (_data(int(state.step)) if int(state.step) else {})
    assert all(leaf.sharding == MESH for leaf in jax.tree.leaves(state))
    return state, steps


def _assert_equal(state, other):
    assert jax.tree.structure(state) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, state, other)


def test_a_new_run_starts_with_what_init_makes(tmp_path):
    state, steps = _start(tmp_path)
    _assert_equal(state, create(_init()(), TX))
    assert steps == [] and list(tmp_path.iterdir()) == []


def test_a_run_resumes_from_its_newest_checkpoint_whatever_init_from_says(tmp_path):
    _save(tmp_path / "run", 2, 4)
    _save(tmp_path / "other", 9)
    state, steps = _start(tmp_path / "run", init_from=tmp_path / "other")
    _assert_equal(state, _state(4))
    assert steps == [2, 4]


def test_restore_step_goes_back_and_removes_later_checkpoints(tmp_path):
    _save(tmp_path, 2, 4, 6)
    state, steps = _start(tmp_path, restore_step=4)
    _assert_equal(state, _state(4))
    assert steps == [2, 4]


def test_a_damaged_checkpoint_names_the_good_one_to_restore(tmp_path):
    _save(tmp_path, 2, 4)
    damaged = next(filter(Path.is_file, (tmp_path / "checkpoints/4/params").rglob("*")))
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint 4 .*corrupt.*--restore_step=2"):
        _start(tmp_path)
    state, steps = _start(tmp_path, restore_step=2)
    _assert_equal(state, _state(2))
    assert steps == [2]


def test_restore_step_needs_its_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"--restore_step: got 4, but .* has no checkpoint"):
        _start(tmp_path, restore_step=4)
    _save(tmp_path, 2)
    with pytest.raises(ValueError, match=r"no checkpoint of step 4 .*; expected one of: 2"):
        _start(tmp_path, restore_step=4)
    assert (tmp_path / "checkpoints/2").is_dir()


def test_init_from_takes_the_newest_parameters_and_nothing_else(tmp_path):
    _save(tmp_path / "other", 2, 4)
    state, steps = _start(tmp_path / "run", init_from=tmp_path / "other")
    _assert_equal(state, create(_state(4).params, TX))
    assert int(state.step) == 0 and steps == []


def test_init_from_takes_the_average_where_the_other_run_keeps_one(tmp_path):
    """Also where its files are gone: the parameters are never taken in its stead."""
    average = {"kernel": jnp.full((2, 3), 0.5)}
    _save(tmp_path / "other", 2, ema=average)
    state, _ = _start(tmp_path / "run", init_from=tmp_path / "other")
    _assert_equal(state, create(average, TX))
    shutil.rmtree(tmp_path / "other/checkpoints/2/ema")
    with pytest.raises(ValueError, match=r"is corrupt: file ema/\S+ is missing"):
        _start(tmp_path / "run", init_from=tmp_path / "other")


def test_init_from_a_model_of_another_shape_is_refused(tmp_path):
    _save(tmp_path / "other", 2)
    with pytest.raises(ValueError, match=r"params kernel is float32\[2,3\], expected .*\[2,5\]"):
        _start(tmp_path / "run", init_from=tmp_path / "other", init=_init(5))


def test_init_from_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no checkpoint in .*/nowhere/checkpoints"):
        _start(tmp_path / "run", init_from=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
