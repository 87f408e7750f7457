"""Trackers by name: what each is told, and what becomes of one that fails."""

import json
import struct

import numpy as np
import pytest

from gptjax.training.reporting.metrics import MetricsWriter
from gptjax.training.reporting.trackers import TrackedRun, load_trackers

HERE = "tests.training.test_trackers"
CONFIG = {"model.num_layers": 2, "data.corpus": None}


class CSV:
    """The one that the documentation shows."""

    def __init__(self, run):
        self.file = (run.directory / "mine.csv").open("a")

    def log(self, step, figures):
        for name, value in figures.items():
            print(step, name, value, sep=",", file=self.file, flush=True)

    def close(self):
        self.file.close()


class Failing:
    def __init__(self, run):
        self.steps = []
        (run.directory / "started").touch()

    def log(self, step, figures):
        self.steps.append(step)
        if step == 2:
            raise KeyError("no\nservice")
        assert step < 2, "it is told nothing more"

    def close(self):
        raise AssertionError("what has failed is left alone")


class Refusing:
    def __init__(self, run):
        raise PermissionError(f"no key for {run.experiment}")


def _start(path, names, *losses, restored=0):
    """A start of a run, which goes on from `restored`, with a row a step."""

    def make(first_step):
        run = TrackedRun(path, "tiny", CONFIG, first_step)
        return [tracker(run) for tracker in load_trackers(names)]

    with MetricsWriter(path, trackers=make) as writer:
        writer.truncate_after(restored)
        for step, loss in enumerate(losses, start=restored + 1):
            writer.write({"step": step, "loss": loss})
        writer.write({"step": restored + len(losses), "split": "validation", "loss": 0.5})


def test_a_tracker_of_ones_own_is_told_every_number(tmp_path):
    _start(tmp_path, [f"python:{HERE}:CSV"], 3.0, np.float32(2.5))
    told = [line.split(",") for line in (tmp_path / "mine.csv").read_text().splitlines()]
    kept = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line for line in told if "loss" in line[1]] == [
        *(["1", "train/loss", "3.0"], ["2", "train/loss", "2.5"], ["2", "validation/loss", "0.5"])
    ]
    seconds = [float(line[2]) for line in told if "seconds" in line[1]]
    assert seconds == [row["seconds"] for row in kept]


def test_one_that_fails_is_a_warning_and_the_run_goes_on(tmp_path, caplog):
    _start(tmp_path, [f"python:{HERE}:Failing", f"python:{HERE}:CSV"], 3.0, 2.0, 1.0)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == (
        f"tracker python:{HERE}:Failing failed at step 2: KeyError: 'no\\nservice'; the run goes "
        "on without it, and metrics.jsonl has all figures"
    )
    assert "3,train/loss,1.0" in (tmp_path / "mine.csv").read_text()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tensorbord", "unknown tracker 'tensorbord' (did you mean 'tensorboard'?); expected one"),
        ("python:mine", "tracker 'python:mine': got 'mine', expected python:MODULE:FUNCTION"),
        ("python:nowhere.at:All", "tracker 'python:nowhere.at:All': got ModuleNotFoundError: No "),
        (
            f"python:{HERE}:HERE",
            f"tracker 'python:{HERE}:HERE': got 'HERE', which is no function of",
        ),
        (f"python:{HERE}:Refusing", "Refusing: got PermissionError: no key for tiny, expected a "),
    ],
)
def test_one_that_cannot_be_had_is_refused_before_the_first_row(tmp_path, name, expected):
    with pytest.raises(ValueError) as error:
        _start(tmp_path, [name], 3.0)
    assert expected in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_one_whose_package_is_missing_names_its_extra(monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ValueError, match=rf"without the package {name}.*gptjax\[{name}\]'$"):
        load_trackers([name])


@pytest.mark.slow
def test_mlflow_has_one_run_for_all_starts(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    _start(tmp_path, ["mlflow"], 3.0, 2.0, 1.5)
    _start(tmp_path, ["mlflow"], 9.0, 1.0, 0.8, restored=1)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'gptjax'")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(each.step, each.value) for each in history] == [(1, 3.0), (2, 2.0), (3, 1.5), (4, 0.8)]
    assert run.data.params == {name: str(value) for name, value in CONFIG.items()}
    assert (run.info.run_name, run.info.status) == (tmp_path.name, "FINISHED")


def _wandb_records(path):
    """What a file of wandb holds, by its format: LevelDB's log, after a head of seven bytes.

    Each piece of a record, which ends in blocks of 32 KiB, has its checksum, length and type: 1 is
    whole, 2 to 4 are first, middle and last.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, held = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        held += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield Record.FromString(held)
            held = b""


@pytest.mark.slow
def test_wandb_offline_keeps_all_in_the_work_directory(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    _start(tmp_path, ["wandb"], 3.0, 2.0)
    _start(tmp_path, ["wandb"], 1.5, restored=2)
    paths = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    found = [record for path in paths for record in _wandb_records(path)]
    assert {record.run.run_id for record in found if record.HasField("run")} == {
        json.loads((tmp_path / "trackers.json").read_text())["wandb"]
    }
    rows = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in row}
        for row in (record.history.item for record in found if record.HasField("history"))
    ]
    assert [(row["_step"], row["train/loss"]) for row in rows] == [(1, 3.0), (2, 2.0), (3, 1.5)]
    assert [row.get("validation/loss") for row in rows] == [None, 0.5, 0.5]
