import jax
import numpy as np
import pytest

from gptjax.batch_schedule import BatchSchedule
from gptjax.config import OptimizerConfig, ParallelismConfig
from gptjax.models.gpt import GPT
from gptjax.training.loop import make_train_step
from gptjax.training.losses import language_model
from gptjax.training.optimizers import learning_rate, make_optimizer
from gptjax.training.partitioning import check_divides, make_mesh, put_batch, replicated
from gptjax.training.state import create


def _mesh(data, strategy="mesh"):
    return make_mesh(ParallelismConfig(strategy=strategy, data=data))


def test_a_mesh_has_the_devices_asked_for():
    assert jax.device_count() == 8
    assert _mesh(None).shape == {"data": 8}
    assert _mesh(2).shape == {"data": 2}
    assert _mesh(None, "single").shape == _mesh(8, "single").shape == {"data": 1}


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"parallelism\.data: got 9, expected at most the 8 dev"):
        _mesh(9)


def test_each_device_holds_its_rows_in_order():
    batch = {"tokens": np.arange(24).reshape(8, 3), "loss_weights": np.arange(8.0)}
    put = put_batch(batch, _mesh(4))
    for name, array in batch.items():
        np.testing.assert_array_equal(put[name], array)
        for shard in put[name].addressable_shards:
            np.testing.assert_array_equal(shard.data, array[2 * shard.device.id :][:2])


def test_batches_that_do_not_divide_are_refused_before_training():
    mesh = _mesh(4)
    check_divides(BatchSchedule(8, 16), mesh)
    check_divides(BatchSchedule(24, 16, ramp_start=4, ramp_tokens=4096), mesh)
    with pytest.raises(ValueError, match=r"\.batch_size: got 6 sequences \(from step 0\), expec"):
        check_divides(BatchSchedule(6, 16), mesh)
    with pytest.raises(ValueError, match=r"\.batch_ramp_start: got 2 sequences .* the 4 devices"):
        check_divides(BatchSchedule(8, 16, ramp_start=2, ramp_tokens=1024), mesh)
    with pytest.raises(ValueError, match=r"\.batch_size: got 10 sequences \(from step [1-9]"):
        check_divides(BatchSchedule(10, 16, ramp_start=4, ramp_tokens=1024), mesh)


def test_every_mesh_trains_as_one_device_does(make_model, random_params, make_batch):
    """Dropout too: its bits do not depend on where a row lives."""
    config = make_model(
        num_layers=1,
        embedding_dropout=0.1,
        residual_dropout=0.1,
        attention_dropout=0.1,
    )
    optimizer = OptimizerConfig(learning_rate=0.01, warmup_steps=2, decay_steps=5)
    schedule = learning_rate(optimizer, BatchSchedule(8, 8))
    tx = make_optimizer(optimizer, schedule)
    train_step = make_train_step(language_model(GPT(config)), tx, schedule, seed=3)

    def train(mesh):
        state = jax.device_put(create(random_params(config), tx), replicated(mesh))
        rows = []
        for step in range(5):
            state, metrics = train_step(state, put_batch(make_batch(step), mesh))
            rows.append([float(metrics["loss"]), float(metrics["grad_norm"])])
        return rows

    rows = train(_mesh(None, "single"))
    assert len({loss for loss, _ in rows}) == 5
    for data in (2, 8):
        np.testing.assert_allclose(train(_mesh(data)), rows, rtol=1e-5)
