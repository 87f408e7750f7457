"""Runs whose data makes a step's loss not a number, at example 21: the sixth step of four."""

import signal

import jax
import numpy as np
import pytest

from gptjax.data.batches.loader import step_windows
from gptjax.runs import inputs, replay
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.checkpoints.store import Checkpoints
from gptjax.training.reporting import metrics
from gptjax.training.spikes import NotFiniteError

BATCHES = inputs.training_batches


@pytest.fixture
def poison(monkeypatch):
    """Returns a function that makes examples bad, the first `times` that they come up."""
    return _poison(monkeypatch)


def _poison(patch):
    def make(examples, times=10**9, skipped=None):
        left = dict.fromkeys(examples, times)

        def poisoned(config, split, start_step, skipped_since=(), share=((0,), 1)):
            ranges = skipped_since if skipped is None else skipped
            rows = {e: split.batch(np.array(_windows(config, split, e)), 16) for e in left}
            for batch in BATCHES(config, split, start_step, ranges, share):
                for example, row in rows.items():
                    bad = (batch["tokens"] == row["tokens"]).all(axis=1)
                    if bad.any() and left[example]:
                        left[example] -= 1
                        batch["loss_weights"] = np.where(bad[:, None], np.nan, 1).astype("float32")
                yield batch

        patch.setattr(inputs, "training_batches", poisoned)

    return make


@pytest.fixture(scope="module")
def back(tmp_path_factory, make_config):
    """A run that went back once and leaves out what was bad; it is not to be changed."""
    path = tmp_path_factory.mktemp("back") / "run"
    with pytest.MonkeyPatch.context() as patch:
        _poison(patch)([21])
        _run(path, make_config(training__rollback_after=1, training__skip_data=True))
    return path


def _windows(config, split, example):
    batches = inputs.batch_schedule(config)
    return step_windows(split, batches, config.training.seed, 0, [example])


def _run(path, config):
    return train("tiny", config, WorkDirectory(str(path)))


def _rows(path):
    speed = ("seconds", "tokens_per_second", "mfu", "executed_mfu")
    rows = metrics.read_metrics(path / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in speed} for row in rows]


def _assert_same_end(path, other, without=()):
    rows = [{k: v for k, v in row.items() if k not in without} for row in _rows(path)]
    assert rows == [{k: v for k, v in row.items() if k not in without} for row in _rows(other)]
    params, expected = (WorkDirectory(str(run)).params() for run in (path, other))
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_by_default_the_run_stops_and_keeps_what_was_good(tmp_path, make_config, poison):
    poison([21])
    with pytest.raises(NotFiniteError, match=r"^step 6: loss is nan.*last good checkpoint: 3"):
        _run(tmp_path, make_config())
    assert Checkpoints(tmp_path / "checkpoints").steps() == [3]


def test_the_data_of_a_bad_step_is_left_out_as_if_it_had_never_been_there(
    back, tmp_path, make_config, poison
):
    rows = _rows(back)
    assert [row.get("skipped_examples") for row in rows if "split" not in row] == [
        None,
        [[20, 24]],
        [[20, 24]],
        [[20, 24]],
    ]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert not any(row.get("skipped_steps") for row in rows)

    poison([21], skipped=((20, 24),))
    _run(tmp_path, make_config())
    _assert_same_end(back, tmp_path, without=["skipped_examples"])


def test_a_run_that_went_back_is_replayed_without_what_it_skipped(back, poison):
    poison([21])
    workdir = WorkDirectory(str(back))
    learner = replay.learner_in(workdir, workdir.config())
    compared = list(replay.replay(learner, workdir, 0, 8))
    assert [comparison.difference for comparison in compared] == [0.0] * 6


@pytest.mark.slow
def test_skipped_examples_are_remembered_by_a_run_that_goes_on(back, tmp_path, poison, monkeypatch):
    config = WorkDirectory(str(back)).config()
    poison([21])
    poisoned = inputs.training_batches

    def interrupting(*args):
        for step, batch in enumerate(poisoned(*args), start=args[2]):
            if step == 6 and args[3]:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    monkeypatch.setattr(inputs, "training_batches", interrupting)
    stopped = _run(tmp_path, config)
    assert stopped.interrupted_by == "SIGTERM" and int(stopped.state.step) == 7
    monkeypatch.setattr(inputs, "training_batches", poisoned)
    assert _run(tmp_path, config).steps == 1
    _assert_same_end(tmp_path, back)


@pytest.mark.slow
def test_a_fault_that_does_not_come_again_leaves_no_trace(tmp_path, make_config, poison):
    poison([])
    _run(tmp_path / "whole", make_config())
    poison([21, 25], times=1)
    _run(tmp_path / "back", make_config(training__rollback_after=1))
    _assert_same_end(tmp_path / "back", tmp_path / "whole")


@pytest.mark.slow
def test_a_run_that_was_told_where_to_go_on_goes_back_no_further_than_it_must(
    tmp_path, make_config, poison
):
    """It goes on from step 2, and of a fault in step 8 goes back to step 6."""
    config = make_config(training__rollback_after=1, checkpoint__every_steps=2, checkpoint__keep=9)
    poison([])
    _run(tmp_path, config)
    poison([29], times=1)
    ended = train("tiny", config, WorkDirectory(str(tmp_path)), 2)
    assert (int(ended.state.step), ended.steps) == (8, 2)


@pytest.mark.slow
def test_a_fault_that_comes_again_stops_the_run(tmp_path, make_config, poison):
    poison([21])
    with pytest.raises(NotFiniteError, match=r"^step 6: loss is nan.*last good checkpoint: 3"):
        _run(tmp_path, make_config(training__rollback_after=1))
    assert Checkpoints(tmp_path / "checkpoints").steps() == [3]


@pytest.mark.slow
def test_fewer_bad_steps_than_it_takes_are_stepped_over(tmp_path, make_config, poison):
    """The checkpoint of step 6 lies between the two."""
    poison([21, 25])
    _run(tmp_path, make_config(training__rollback_after=3, training__log_every=1))
    rows = [row for row in _rows(tmp_path) if "split" not in row]
    assert [row["loss"] is None for row in rows] == [False] * 5 + [True] * 2 + [False]
    assert [row["skipped_steps"] for row in rows] == [0, 0, 0, 0, 0, 1, 2, 2]
    assert "skipped_examples" not in rows[-1]


@pytest.mark.slow
def test_all_bad_steps_in_a_row_are_left_out_from_before_the_first(tmp_path, make_config, poison):
    """Without a checkpoint before them the run goes back to its start; examples move up."""
    poison([5, 9, 21])
    config = make_config(training__rollback_after=2, training__skip_data=True)
    _run(tmp_path, config)
    rows = [row for row in _rows(tmp_path) if "split" not in row]
    assert rows[-1]["skipped_examples"] == [[4, 12]]
    assert rows[-1]["skipped_steps"] == 1  # example 21 is now of the fourth step, and alone
