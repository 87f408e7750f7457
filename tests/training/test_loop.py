import functools
import itertools
import math
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gptjax.config import (
    CheckpointConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    ParallelismConfig,
    TrainingConfig,
    batch_schedule,
    resolve,
)
from gptjax.training.checkpoints.start import initial_state, start
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.gradients import gradient_sums
from gptjax.training.loop import RunIO, fit, make_train_step
from gptjax.training.optimizers import learning_rate, make_optimizer
from gptjax.training.partitioning import make_mesh, placed
from gptjax.training.reporting.metrics import MetricsWriter, read_metrics
from gptjax.training.reporting.progress import Progress
from gptjax.training.reporting.throughput import Throughput
from gptjax.training.state import create

SPEED = ("seconds", "tokens_per_second", "mfu", "executed_mfu")


def _config(num_steps=10, log_every=2, eval_every=5, every_steps=4):
    return resolve(
        ExperimentConfig(
            model=ModelConfig(context_length=4),
            optimizer=OptimizerConfig(learning_rate=0.05, schedule="constant"),
            training=TrainingConfig(
                num_steps=num_steps, batch_size=8, log_every=log_every, eval_every=eval_every
            ),
            checkpoint=CheckpointConfig(every_steps=every_steps, keep=9),
        )
    )


def _loss(params, batch, rng):
    """A line fitted to points, by half of them at random: dropout, as far as the loop can tell."""
    error = jnp.square(batch["x"] @ params["scalar_head"]["kernel"] - batch["y"])
    kept = jax.random.bernoulli(rng, 0.5, error.shape).astype(jnp.float32)
    weight = jnp.sum(kept) + 1e-6
    return jnp.sum(error * kept), weight, {"bias": jnp.sum((batch["y"] - 1.0) * kept)}


def _batches(first, hook=lambda step: None):
    for step in itertools.count(first):
        hook(step)
        rng = np.random.default_rng([1, step])
        x = rng.normal(size=(8, 3)).astype(np.float32)
        yield {"x": x, "y": x @ np.float32([1, -2, 3])}


def _judge(params):
    loss = float(np.square(np.asarray(params["scalar_head"]["kernel"]) - (1.0, -2.0, 3.0)).sum())
    return {"loss": loss, "perplexity": math.exp(loss), "bits_per_byte": loss / 2}


@functools.cache
def _compiled(loss):
    """The state before the first step, and the step, of all runs by a loss."""
    schedule = learning_rate(_config().optimizer, batch_schedule(_config()))
    tx = make_optimizer(_config().optimizer, schedule)
    fresh = lambda: create({"scalar_head": {"kernel": jnp.zeros(3)}}, tx)  # noqa: E731
    return fresh, functools.partial(make_train_step(gradient_sums(loss), tx, schedule), seed=7)


def _fit(
    workdir, config, *, loss=_loss, judge=_judge, hook=lambda step: None, devices=1, throughput=None
):
    """Starts or resumes the run in `workdir`; returns its outcome and the rows written by now."""
    mesh = make_mesh(ParallelismConfig(strategy="mesh"), jax.devices()[:devices])
    fresh, step = _compiled(loss)
    target = placed(jax.eval_shape(fresh), mesh)
    with (
        Checkpoints(workdir / "checkpoints", keep=config.checkpoint.keep) as checkpoints,
        MetricsWriter(workdir) as writer,
        Progress(config.training.num_steps) as progress,
    ):
        new = functools.partial(initial_state, fresh, target)
        state, _ = start(new, target, checkpoints, restore_step=None)
        writer.truncate_after(int(state.step))
        io = RunIO(
            checkpoints, writer, progress, {"corpus_hash": "c0ffee"}, workdir / "tensorboard"
        )
        outcome = fit(
            state,
            step,
            _batches(int(state.step), hook),
            config,
            io,
            mesh=mesh,
            evaluators={"validation": judge},
            throughput=throughput or Throughput(6.0, 5.0, 1e9),
            statistics=lambda state, batch: {},
        )
    return outcome, read_metrics(workdir / "metrics.jsonl")


def _steps(workdir):
    return Checkpoints(workdir / "checkpoints").steps()


def _without_speed(rows):
    return [{k: v for k, v in row.items() if k not in SPEED} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody interrupts."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, *_fit(workdir, _config())


def test_rows_are_written_at_their_steps_with_what_a_row_has(whole):
    _, outcome, rows = whole
    training = [row for row in rows if "split" not in row]
    evaluations = [row for row in rows if "split" in row]
    assert [row["step"] for row in training] == [2, 4, 6, 8, 10]
    for row in training:
        figures = {"step", "loss", "learning_rate", "grad_norm", "bias", "tokens"}
        assert row.keys() == figures | set(SPEED)
        assert row["tokens"] == row["step"] * 8 * 4
        assert row["learning_rate"] == pytest.approx(0.05)
        assert row["mfu"] == pytest.approx(row["tokens_per_second"] * 6.0 / 1e9)
        assert row["executed_mfu"] == pytest.approx(row["mfu"] * 5 / 6)
    assert [row["step"] for row in evaluations] == [5, 10]
    for row in evaluations:
        figures = {"loss", "perplexity", "bits_per_byte"}
        assert row.keys() == {"step", "split", "tokens", "seconds", *figures}
        assert row["split"] == "validation"
    assert evaluations[1]["loss"] < evaluations[0]["loss"]
    of_all = {"step": 10, "split": "validation", "tokens": 320}
    assert _without_speed(rows)[-1] == of_all | outcome.evaluation["validation"]


def test_metrics_are_those_of_the_parameters_before_the_step(tmp_path):
    """Loss, gradient norm and a metric of the first step, by hand: the line is zero."""
    _, rows = _fit(tmp_path, _config(num_steps=1))

    batch = next(_batches(0))
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), _crc("dropout")), 0)
    kept = np.asarray(jax.random.bernoulli(key, 0.5, (8,)))
    x, y = batch["x"][kept].astype(np.float64), batch["y"][kept].astype(np.float64)
    assert rows[0]["loss"] == pytest.approx(np.mean(y**2), rel=1e-5)
    gradient = -2 * (x * y[:, None]).mean(axis=0)
    assert rows[0]["grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    assert rows[0]["bias"] == pytest.approx(np.mean(y - 1.0), rel=1e-5)


def _crc(name):
    """CRC-32 bit by bit (ISO 3309)."""
    value = 0xFFFFFFFF
    for byte in name.encode():
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def test_checkpoints_are_saved_when_due_and_at_the_end(whole):
    workdir, outcome, _ = whole
    assert _steps(workdir) == [4, 8, 10]
    assert outcome.steps == 10 and outcome.interrupted_by is None
    assert 0.0 <= outcome.data_wait_fraction < 1.0
    for step in (4, 8, 10):
        with Checkpoints(workdir / "checkpoints") as checkpoints:
            target = jax.tree.map(lambda x: x, outcome.state)
            restored = checkpoints.restore(step, params=target.params, opt_state=target.opt_state)
        assert restored["data"].pop("seconds") > 0.0
        assert restored["data"] == {"corpus_hash": "c0ffee"}
        assert restored["config"]["training"]["num_steps"] == 10
        # Only the last was evaluated at the step it was saved.
        assert (restored["metrics"] is None) == (step != 10)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path, whole, number):
    """Interrupted while the batch of step 7 is made, that is, during the seventh step."""

    def interrupt(step):
        if step == 6:
            os.kill(os.getpid(), number)

    stopped, rows = _fit(tmp_path, _config(), hook=interrupt)
    assert stopped.interrupted_by == number.name
    assert int(stopped.state.step) == stopped.steps == 7
    assert _steps(tmp_path) == [4, 7]
    assert rows[-1]["step"] == 6

    resumed, rows = _fit(tmp_path, _config())
    _, outcome, whole_rows = whole
    assert resumed.steps == 3
    assert _without_speed(rows) == _without_speed(whole_rows)
    jax.tree.map(np.testing.assert_array_equal, resumed.state, outcome.state)


def test_the_step_that_compiles_is_not_timed_at_any_start(tmp_path):
    """A row has the tokens of its steps, of batches that grow, less those before its window."""

    class Windows(Throughput):
        def take(self):
            taken.append(self._tokens)
            return super().take()

    config = _config(num_steps=8, log_every=4, eval_every=8, every_steps=8)
    config.training.batch_ramp_start, config.training.batch_ramp_tokens = 1, 64
    sizes = [batch_schedule(config).batch_size_at(step) for step in range(9)]
    assert sizes[1] < sizes[3] < sizes[5] < sizes[8]
    for hook, steps in (
        (lambda step: step == 4 and os.kill(os.getpid(), signal.SIGTERM), (1, 2, 3)),  # from 0
        (lambda step: None, (6, 7)),
    ):
        taken = []
        _fit(tmp_path, config, hook=hook, throughput=Windows(6.0, 5.0, 1e9))
        assert taken == [sum(4 * sizes[step] for step in steps)]


def test_a_killed_run_goes_on_from_its_last_checkpoint_to_the_same_bits(tmp_path, whole):
    """Rows past the checkpoint, and a torn one, are written again."""

    class Killed(BaseException):
        pass

    def kill(step):
        if step == 7:
            raise Killed

    with pytest.raises(Killed):
        _fit(tmp_path, _config(), hook=kill)
    assert _steps(tmp_path) == [4]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')

    resumed, rows = _fit(tmp_path, _config())
    _, outcome, whole_rows = whole
    assert resumed.steps == 6
    assert _without_speed(rows) == _without_speed(whole_rows)
    jax.tree.map(np.testing.assert_array_equal, resumed.state, outcome.state)


def test_a_run_goes_on_on_another_mesh(tmp_path, whole):
    _fit(tmp_path, _config(), hook=lambda step: step == 5 and os.kill(os.getpid(), signal.SIGTERM))
    resumed, rows = _fit(tmp_path, _config(), devices=4)
    assert len(resumed.state.params["scalar_head"]["kernel"].sharding.device_set) == 4
    _, outcome, whole_rows = whole
    for row, expected in zip(rows, whole_rows, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    np.testing.assert_allclose(
        resumed.state.params["scalar_head"]["kernel"],
        outcome.state.params["scalar_head"]["kernel"],
        rtol=1e-5,
    )


def test_a_finished_run_has_nothing_to_do(whole):
    workdir, outcome, rows = whole
    again, rows_again = _fit(workdir, _config())
    assert again.steps == 0
    assert rows_again == rows
    jax.tree.map(np.testing.assert_array_equal, again.state, outcome.state)


def _breaks_at(step, **broken):
    """A loss that at one step is `broken["loss"]`, or has a gradient that is not a number."""

    def loss(params, batch, rng):
        loss_sum, weight, metrics = _loss(params, batch, rng)
        bad = jnp.all(batch["x"] == next(_batches(step))["x"])
        if "loss" in broken:
            return loss_sum + jnp.where(bad, broken["loss"], 0.0), weight, metrics
        steep = jax.lax.cond(
            bad, lambda w: jnp.sqrt(jnp.sum(w * 0.0)), jnp.sum, params["scalar_head"]["kernel"]
        )
        return loss_sum + steep, weight, metrics

    return loss


@pytest.mark.parametrize(
    ("broken", "metric"),
    [({"loss": math.nan}, "loss is nan"), ({"loss": math.inf}, "loss is inf"), ({}, "grad_norm")],
)
def test_a_step_that_is_not_finite_stops_the_run(tmp_path, broken, metric):
    """Also where it is the step of a checkpoint: step 8, of the batch with index 7."""
    with pytest.raises(ValueError, match=f"^step 8: {metric}.*last good checkpoint: 4") as error:
        _fit(tmp_path, _config(), loss=_breaks_at(7, **broken))
    assert "\n" not in str(error.value)
    assert _steps(tmp_path) == [4]
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [2, 4, 5, 6]


def test_without_checkpoints_the_message_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"step 1: loss is nan.*there is no checkpoint yet"):
        _fit(tmp_path, _config(), loss=_breaks_at(0, loss=math.nan))
    assert not (tmp_path / "checkpoints").exists()


def test_an_evaluation_that_is_not_finite_stops_the_run(tmp_path):
    def judge(params):
        return _judge(params) | {"loss": math.nan}

    with pytest.raises(ValueError, match=r"step 5: validation loss is nan.*good checkpoint: 4"):
        _fit(tmp_path, _config(), judge=judge)
    assert _steps(tmp_path) == [4]


def test_a_disk_that_fills_up_stops_the_run_in_one_line(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("gptjax.training.checkpoints.retention.write_manifest", full)
    with pytest.raises(ValueError, match=r"cannot save step 4.*No space left on device") as error:
        _fit(tmp_path, _config())
    assert "\n" not in str(error.value)


def test_every_step_of_every_seed_drops_out_anew():
    """The same batch, and parameters that do not move."""
    tx, batch, losses = optax.sgd(0.0), next(_batches(0)), {}
    train_step = make_train_step(gradient_sums(_loss), tx, optax.constant_schedule(0.0))
    for seed in (7, 8):
        state, losses[seed] = create({"scalar_head": {"kernel": jnp.zeros(3)}}, tx), []
        for _ in range(5):
            state, metrics = train_step(state, batch, seed)
            losses[seed].append(float(metrics["loss"]))
    assert len(set(losses[7])) == len(set(losses[8])) == 5 and losses[7] != losses[8]


def test_the_step_donates_its_state():
    config = _config()
    schedule = learning_rate(config.optimizer, batch_schedule(config))
    tx = make_optimizer(config.optimizer, schedule)
    state = create({"scalar_head": {"kernel": jnp.zeros(3)}}, tx)
    make_train_step(gradient_sums(_loss), tx, schedule)(state, next(_batches(0)), 7)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))
