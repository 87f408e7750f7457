import dataclasses
import shutil

import pytest

from gptjax.runs.life.restarts import GONE_BACK, checked_restart, record_going_back
from gptjax.runs.workdir import WorkDirectory
from tests.support.alignment_runs import refusal, rows, run, stopping


@pytest.fixture
def copy(trained, tmp_path, monkeypatch):
    """A run of eight steps that has ended, with checkpoints of 4 and 8."""
    monkeypatch.setenv("GPTJAX_CACHE", str(trained.cache))
    return WorkDirectory(str(shutil.copytree(trained("pretrain").path, tmp_path / "copy")))


def _started_at(path, config, restore_step=None, stop=None):
    """The step that a start of the run goes on from; `stop`: where SIGTERM ends it."""
    started = []

    def change(task):
        def batches(step, *given):
            started.append(step)
            return task.batches(step, *given)

        noted = dataclasses.replace(task, batches=batches)
        return noted if stop is None else stopping(stop)(noted)

    run(path, config, restore_step, change=change)
    return started[0]


def test_a_run_goes_back_once_however_often_the_command_is_given(copy, trained, caplog):
    config, whole = trained.config("pretrain"), rows(copy)
    assert _started_at(copy.path, config, 4, stop=5) == 4
    (stopped,) = set(copy.checkpoints().steps()) - {4}
    assert _started_at(copy.path, config, 4) == stopped
    message = f"the run has gone back to step 4 before and goes on from step {stopped}"
    assert [message in record.getMessage() for record in caplog.records] == [True]
    assert rows(copy) == whole and copy.has_result()
    assert checked_restart(copy, 4) is None
    (copy.path / GONE_BACK).unlink()
    assert checked_restart(copy, 4) == 4  # on purpose


def test_a_repeated_command_does_not_fail_where_its_checkpoint_is_gone(tmp_path):
    workdir = WorkDirectory(str(tmp_path))
    record_going_back(tmp_path, 4)
    (tmp_path / "checkpoints/8").mkdir(parents=True)
    assert checked_restart(workdir, 4) is None
    assert checked_restart(workdir, 6) == 6
    assert checked_restart(workdir, None) is None
    (tmp_path / "checkpoints/8").rename(tmp_path / "checkpoints/3")
    assert checked_restart(workdir, 4) == 4  # which is refused: there is none


def test_the_rows_of_a_run_without_its_checkpoints_are_kept_and_said(copy, trained, caplog):
    before = (copy.path / "metrics.jsonl").read_bytes()
    shutil.rmtree(copy.path / "checkpoints")
    said = refusal(run, copy.path, trained.config("pretrain"))
    assert said.startswith(
        f"--workdir: got {copy.path}, a run that has ended and has no checkpoint"
    )
    assert (copy.path / "metrics.jsonl").read_bytes() == before

    (copy.path / "result.json").unlink()
    whole = rows(copy)
    assert _started_at(copy.path, trained.config("pretrain")) == 0
    assert (copy.path / "metrics.1.jsonl").read_bytes() == before
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == (
        f"{copy.path} has no checkpoint to go on from: the run starts at step 0 again; its rows up "
        f"to step 8 are kept in {copy.path}/metrics.1.jsonl"
    )
    assert rows(copy) == whole
