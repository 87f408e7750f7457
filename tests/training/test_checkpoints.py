import json
import logging
import os
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from gptjax.training.checkpoints.store import Checkpoints
from tests.support.good_steps import good_steps

DATA = {"step": 7, "corpus": "a1b2", "batch_size_stages": [[0, 8], [100, 16]]}
CONFIG = {"model": {"num_layers": 2, "attention": "dense"}, "seed": 0, "note": "café"}


def _random_like(tree, seed):
    """A tree of arrays with random bits, so that a lost or moved byte shows."""
    rng = np.random.default_rng(seed)

    def fill(leaf):
        raw = rng.integers(0, 100, size=leaf.shape)
        return jax.device_put((raw / 7).astype(leaf.dtype))

    return jax.tree.map(fill, tree)


def _state(seed=0):
    params = {
        "embedding": np.zeros((32, 8), np.float32),
        "layers": {
            "kernel": np.zeros((2, 8, 8), jnp.bfloat16),
            "bias": np.zeros((2, 8), np.float32),
        },
    }
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    return _random_like(params, seed), _random_like(jax.eval_shape(tx.init, params), seed + 1)


def _small():
    """A state of which nothing but its being there matters."""
    return {"kernel": jnp.zeros(2)}, {"count": jnp.zeros(2)}


def _abstract(tree, sharding=None):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=sharding or leaf.sharding
        ),
        tree,
    )


def _save(checkpoints, step, state, **kwargs):
    params, opt_state = state
    checkpoints.save(step, params=params, opt_state=opt_state, data=DATA, config=CONFIG, **kwargs)


def _restore(checkpoints, state, step=None):
    params, opt_state = (_abstract(tree) for tree in state)
    return checkpoints.restore(step, params=params, opt_state=opt_state)


def _assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints 10, 20 and 30 of three states, the first with metrics; copied before damage."""
    directory = tmp_path_factory.mktemp("saved")
    states = {step: _state(seed=step) for step in (10, 20, 30)}
    with Checkpoints(directory, keep=3) as checkpoints:
        for step, state in states.items():
            _save(checkpoints, step, state, metrics={"loss": 1.0 + step})
    return directory, states


@pytest.fixture
def copied(saved, tmp_path):
    directory, states = saved
    shutil.copytree(directory, tmp_path / "checkpoints")
    return tmp_path / "checkpoints", states


def test_everything_comes_back_bit_for_bit(saved):
    directory, states = saved
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.steps() == good_steps(checkpoints) == [10, 20, 30]
        for step, (params, opt_state) in states.items():
            restored = _restore(checkpoints, states[step], step)
            _assert_same_bits(restored["params"], params)
            _assert_same_bits(restored["opt_state"], opt_state)
            assert (restored["step"], restored["metrics"]) == (step, {"loss": 1.0 + step})
            assert (restored["data"], restored["config"]) == (DATA, CONFIG)
        assert _restore(checkpoints, states[30])["step"] == 30


def test_saved_arrays_may_be_donated_at_once(tmp_path):
    value = jax.random.normal(jax.random.key(0), (512, 1024))
    scale = jax.jit(lambda x: x * 1.5 + 1.0, donate_argnums=0)
    expected = {}
    with Checkpoints(tmp_path, keep=4) as checkpoints:
        for step in range(4):
            expected[step] = np.array(value)
            checkpoints.save(
                step, params={"w": value}, opt_state={"count": jnp.int32(step)}, data={}, config={}
            )
            for _ in range(20):
                value = scale(value)
        checkpoints.wait()
        for step, array in expected.items():
            np.testing.assert_array_equal(checkpoints.restore_params(step)["w"], array)


def test_parameters_load_alone_and_need_only_their_own_files(copied):
    directory, states = copied
    for item in ("optimizer", "data", "config"):
        shutil.rmtree(directory / "30" / item)
    with Checkpoints(directory) as checkpoints:
        _assert_same_bits(checkpoints.restore_params(), states[30][0])
        assert checkpoints.restore_params(20, _abstract(states[20][0])) is not None
        with pytest.raises(ValueError, match=r"checkpoint 30 .* is missing"):
            _restore(checkpoints, states[30])


@pytest.mark.parametrize("saved_mesh, restored_mesh", [((8,), (2, 4)), ((2, 4), (1,))])
def test_restores_onto_another_mesh(tmp_path, saved_mesh, restored_mesh):
    def sharding(shape):
        devices = np.array(jax.devices()[: np.prod(shape)]).reshape(shape)
        mesh = jax.sharding.Mesh(devices, ("data", "model")[: len(shape)])
        return NamedSharding(mesh, PartitionSpec(*mesh.axis_names))

    values = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    params = {"kernel": jax.device_put(values, sharding(saved_mesh))}
    target = sharding(restored_mesh)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, params=params, opt_state=params, data={}, config={})
        checkpoints.wait()
        abstract = _abstract(params, target)
        restored = checkpoints.restore(params=abstract, opt_state=abstract)
        for item in ("params", "opt_state"):
            assert restored[item]["kernel"].sharding == target
            np.testing.assert_array_equal(restored[item]["kernel"], values)
        alone = checkpoints.restore_params()["kernel"]
        assert alone.devices() == {jax.devices()[0]}
        np.testing.assert_array_equal(alone, values)


def test_one_changed_byte_in_any_file_is_noticed(copied):
    directory, states = copied
    rng = np.random.default_rng(0)
    files = [path for path in (directory / "30").rglob("*") if path.is_file()]
    assert {path.relative_to(directory / "30").parts[0] for path in files} >= {
        "params", "optimizer", "data", "config", "metrics", "manifest.sha256"
    }  # fmt: skip
    with Checkpoints(directory) as checkpoints:
        for path in files:
            content = path.read_bytes()
            for position in {0, len(content) - 1, *rng.integers(len(content), size=4)}:
                flipped = bytearray(content)
                flipped[position] ^= 1 << rng.integers(8)
                path.write_bytes(flipped)
                with pytest.raises(ValueError, match=r"checkpoint 30 .* is corrupt") as error:
                    _restore(checkpoints, states[30])
                if path.name != "manifest.sha256":
                    assert str(path.relative_to(directory / "30")) in str(error.value)
                assert "use --restore_step=20 (the previous good checkpoint)" in str(error.value)
                assert "\n" not in str(error.value)
            path.write_bytes(content)
        assert good_steps(checkpoints) == [10, 20, 30]


@pytest.mark.parametrize("harm", ["truncate", "empty", "delete"])
def test_truncated_and_missing_files_are_noticed(copied, harm):
    directory, states = copied
    for path in [path for path in (directory / "30").rglob("*") if path.is_file()]:
        content = path.read_bytes()
        if harm == "truncate":
            path.write_bytes(content[:-1])
        elif harm == "empty":
            path.write_bytes(b"")
        else:
            path.unlink()
        with Checkpoints(directory) as checkpoints:
            assert good_steps(checkpoints) == [10, 20]
            with pytest.raises(ValueError, match=r"checkpoint 30 .* is corrupt: file "):
                _restore(checkpoints, states[30])
        path.write_bytes(content)


def test_previous_good_checkpoint_is_offered_and_used_on_request(copied):
    directory, states = copied
    for step in (20, 30):
        next((directory / str(step) / "params" / "d").iterdir()).write_bytes(b"damaged")
    with Checkpoints(directory, keep=2) as checkpoints:
        with pytest.raises(ValueError, match=r"checkpoint 30 .*--restore_step=10 "):
            _restore(checkpoints, states[30])
        _assert_same_bits(_restore(checkpoints, states[10], 10)["params"], states[10][0])
        with pytest.raises(ValueError, match=r"step 11 .* holds step 30"):
            _save(checkpoints, 11, states[10])
        checkpoints.remove_after(10)
        _save(checkpoints, 11, states[20])
        checkpoints.wait()
        assert good_steps(checkpoints) == [10, 11]
        next((directory / "10" / "data").iterdir()).unlink()
        next((directory / "11" / "data").iterdir()).unlink()
        with pytest.raises(ValueError, match=r"there is no good checkpoint before it"):
            _restore(checkpoints, states[10])


def test_absent_checkpoints_are_named(saved, tmp_path):
    directory, states = saved
    with Checkpoints(tmp_path / "none") as checkpoints:
        assert checkpoints.latest_step() is None
        with pytest.raises(ValueError, match=r"no checkpoint in .*none"):
            _restore(checkpoints, states[10])
    assert not (tmp_path / "none").exists()
    message = r"no checkpoint of step 15 .* one of: 10, 20, 30"
    with Checkpoints(directory) as checkpoints, pytest.raises(ValueError, match=message):
        _restore(checkpoints, states[10], 15)


def test_another_dtype_shape_or_tree_is_refused_by_path(saved):
    directory, ((params, opt_state), *_) = saved[0], saved[1].values()
    bfloat16 = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    longer = params | {"embedding": jnp.zeros((33, 8))}
    fewer = {"embedding": params["embedding"]}
    more = params | {"head": jnp.zeros(3)}
    other_tx = optax.sgd(1e-2, momentum=0.9).init(params)
    with Checkpoints(directory) as checkpoints:
        for wrong, message in (
            (bfloat16, r"params embedding is float32\[32,8\], expected bfloat16\[32,8\]"),
            (longer, r"params embedding is float32\[32,8\], expected float32\[33,8\]"),
            (fewer, r"params layers/bias is float32\[2,8\], expected nothing there"),
            (more, r"params head is not in it, expected float32\[3\]"),
        ):
            with pytest.raises(ValueError, match=message):
                checkpoints.restore_params(abstract_params=_abstract(wrong))
            with pytest.raises(ValueError, match=message):
                _restore(checkpoints, (wrong, opt_state))
        with pytest.raises(ValueError, match=r"optimizer "):
            _restore(checkpoints, (params, other_tx))


def test_keeps_the_last_and_the_best(tmp_path):
    losses = {1: float("nan"), 2: 1.5, 3: None, 4: 3.0, 5: 1.75, 6: 2.5}
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step, loss in losses.items():
            _save(checkpoints, step, _small(), metrics=None if loss is None else {"loss": loss})
            checkpoints.wait()
            assert step in checkpoints.steps()
        assert checkpoints.steps() == [2, 5, 6]
        assert checkpoints.best_step() == 2
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        _save(checkpoints, 7, _small(), metrics={"loss": 1.25})
    assert sorted(os.listdir(tmp_path)) == ["7", "lock"]
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        _save(checkpoints, 8, _small(), metrics={"loss": 1.25})
        checkpoints.wait()
        assert (checkpoints.steps(), checkpoints.best_step()) == ([7, 8], 7)  # the first of equals


def test_multiples_of_keep_every_are_kept_for_good(tmp_path):
    with Checkpoints(tmp_path, keep=1, keep_every=3) as checkpoints:
        for step in range(1, 9):
            _save(checkpoints, step, _small())
        checkpoints.wait()
        assert good_steps(checkpoints) == [3, 6, 8]


def test_an_existing_or_earlier_step_is_an_error(copied):
    directory, states = copied
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with Checkpoints(directory) as checkpoints:
        for step in (30, 29, 5):
            with pytest.raises(ValueError, match=f"cannot save step {step} .* holds step 30"):
                _save(checkpoints, step, states[10])
    assert before == {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_two_runs_do_not_write_to_one_directory(tmp_path):
    with Checkpoints(tmp_path) as first, Checkpoints(tmp_path) as second:
        _save(first, 1, _state())
        first.wait()
        with pytest.raises(ValueError, match=r"another process is writing checkpoints there"):
            _save(second, 2, _state())
        with pytest.raises(ValueError, match=r"another process"):
            second.remove_after(0)
        assert _restore(second, _state())["step"] == 1
    with Checkpoints(tmp_path) as third:
        _save(third, 2, _state())
    assert Checkpoints(tmp_path).steps() == [1, 2]


def test_leftovers_of_a_killed_save_are_ignored_then_cleared(copied):
    directory, states = copied
    shutil.copytree(directory / "30", directory / "saving.40")
    shutil.copytree(directory / "20", directory / "saving.50.orbax-checkpoint-tmp")
    shutil.move(directory / "10", directory / "removing.10")
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.steps() == [20, 30]
        assert _restore(checkpoints, states[30])["step"] == 30
        assert len(os.listdir(directory)) == 6  # reading changes nothing
        _save(checkpoints, 40, states[10])
    assert sorted(os.listdir(directory)) == ["20", "30", "40", "lock"]


def test_a_vanished_or_impossible_directory_is_an_error(tmp_path):
    with Checkpoints(tmp_path / "gone") as checkpoints:
        _save(checkpoints, 1, _state())
        checkpoints.wait()
        shutil.rmtree(tmp_path / "gone")
        with pytest.raises(ValueError, match=r"cannot save in .*gone: .* vanished"):
            _save(checkpoints, 2, _state())
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        message = r"cannot save in .*; last good checkpoint: none"
        with Checkpoints(directory) as checkpoints, pytest.raises(ValueError, match=message):
            _save(checkpoints, 1, _state())


def test_closing_ends_all_threads_and_nothing_is_pickled_or_printed(tmp_path, capfd):
    before = set(threading.enumerate())
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(3):
            _save(checkpoints, step, _state())
        checkpoints.wait()
        _restore(checkpoints, _state())
    for thread in set(threading.enumerate()) - before:
        thread.join()  # a thread told to end takes its moment; of one that is not, the test hangs
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and b"\x80\x04" in path.read_bytes()[:2]
    ]
    assert json.loads((tmp_path / "2" / "config" / "metadata").read_text()) == CONFIG
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("absl").filters.count(logging.getLogger("absl").filters[-1]) == 1
