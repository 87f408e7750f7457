import json
import re
import struct
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.training.reporting.metrics import MetricsWriter, read_metrics
from gptjax.training.reporting.trackers import TrackedRun, tensorboard


def _training_row(step, loss):
    return {"step": step, "loss": loss, "learning_rate": 1e-3, "grad_norm": 0.5}


def _without_seconds(rows):
    return [{name: x for name, x in row.items() if name != "seconds"} for row in rows]


def _with_tensorboard(workdir, step=-1, **options):
    """A writer that goes on from `step`, and tells TensorBoard."""

    def make(first_step):
        return [tensorboard(TrackedRun(workdir, "tiny", {}, first_step))]

    writer = MetricsWriter(workdir, trackers=make, **options)
    writer.truncate_after(step)
    return writer


def _events(workdir: Path) -> list[Any]:
    """Reads TensorBoard files by their format: length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event  # with torch, that takes seconds

    events = []
    for path in sorted((workdir / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return events


def test_rows_are_json_lines_on_disk_as_soon_as_written(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(
            {
                "step": np.int64(5),
                "loss": jnp.float32(2.5),
                "grad_norm": float("nan"),
                "tokens_per_second": np.float32(np.inf),
                "mfu": None,
            }
        )
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()

        def refuse(name):
            raise AssertionError(f"{name} is not JSON")

        row = json.loads(lines[0], parse_constant=refuse)
        assert row.pop("seconds") >= 0.0
        assert row == {
            "step": 5,
            "loss": 2.5,
            "grad_norm": None,
            "tokens_per_second": None,
            "mfu": None,
        }
        assert isinstance(json.loads(lines[0])["step"], int)
        writer.write({"step": 5, "split": "validation", "loss": jax.device_put(2.0)})
    evaluation = {"step": 5, "split": "validation", "loss": 2.0}
    assert _without_seconds(read_metrics(tmp_path / "metrics.jsonl"))[1] == evaluation


@pytest.mark.parametrize("torn", ["", '{"step": 31, "lo', '{"step": 31, "loss": 1.0}', "\0\0\0"])
def test_resuming_drops_later_rows_and_a_torn_last_line(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(tmp_path) as writer:
        for step in (10, 20, 30):
            writer.write(_training_row(step, loss=step / 10))
        writer.write({"step": 20, "split": "validation", "loss": 2.25})
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole) + torn)
    assert [row["step"] for row in read_metrics(path)][:4] == [10, 20, 30, 20]

    with MetricsWriter(tmp_path) as writer:
        writer.truncate_after(20)
        assert path.read_text() == "".join([whole[0], whole[1], whole[3]])
        writer.write(_training_row(30, loss=9.0))
    assert _without_seconds(read_metrics(path))[3] == _training_row(30, loss=9.0)
    with MetricsWriter(tmp_path) as writer:
        writer.truncate_after(-1)
    assert path.read_text() == ""
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["metrics.jsonl"]


DAMAGED = b'{"step": 1}\n\n{"st\n3\n{"loss": 2}\n\xff\0\n{"step": 2}\n{"step": 3}\n{"st'


def test_damaged_lines_are_left_out_and_named_and_the_run_goes_on(tmp_path, caplog):
    """A last line that was cut off is not worth a word."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(DAMAGED)
    with MetricsWriter(tmp_path) as writer:
        writer.truncate_after(2)
        (warning,) = [record.getMessage() for record in caplog.records]
        assert warning == (
            f"{path} has damaged lines, which are left out: line 2 (b''), line 3 (b'{{\"st'), "
            "line 4 (b'3'), line 5 (b'{\"loss\": 2}'), line 6 (b'\\xff\\x00')"
        )
        assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
        writer.write({"step": 3})
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]


def test_a_row_does_not_join_the_first_one_that_was_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"st')
    with MetricsWriter(tmp_path) as writer:
        writer.truncate_after(0)
        writer.write({"step": 1})
    assert [row["step"] for row in read_metrics(path)] == [1]


def test_metrics_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read metrics from .*absent"):
        read_metrics(tmp_path / "absent")


def test_lists_stand_in_a_row_and_are_a_scalar_an_entry_in_tensorboard(tmp_path):
    sizes = jnp.array([1.5, np.nan, 2.5])
    with _with_tensorboard(tmp_path) as writer:
        writer.write({"step": 3, "split": "layers", "activation_rms": sizes})
    (row,) = _without_seconds(read_metrics(tmp_path / "metrics.jsonl"))
    assert row == {"step": 3, "split": "layers", "activation_rms": [1.5, None, 2.5]}
    values = [value for event in _events(tmp_path) for value in event.summary.value]
    written = {value.tag: value.simple_value for value in values}
    assert written.pop("layers/seconds") >= 0.0
    assert written == {
        "layers/activation_rms/000": 1.5,
        "layers/activation_rms/002": 2.5,
    }


def test_tensorboard_has_the_scalars_and_forgets_steps_after_a_resumption(tmp_path):
    with _with_tensorboard(tmp_path) as writer:
        writer.write(_training_row(10, loss=3.0))
        writer.write({"step": 10, "split": "validation", "loss": 2.0, "perplexity": None})
    scalars = {
        (value.tag, event.step): value.simple_value
        for event in _events(tmp_path)
        for value in event.summary.value
    }
    assert scalars.keys() == {
        ("train/loss", 10),
        ("train/learning_rate", 10),
        ("train/grad_norm", 10),
        ("train/seconds", 10),
        ("validation/loss", 10),
        ("validation/seconds", 10),
    }
    assert scalars["train/loss", 10] == 3.0
    with _with_tensorboard(tmp_path, 5) as writer:
        writer.write(_training_row(6, loss=4.0))
    starts = [event.step for event in _events(tmp_path) if event.session_log.status]
    assert starts == [0, 6]  # TensorBoard drops what it has from this step on


def test_other_processes_write_nothing(tmp_path):
    with MetricsWriter(tmp_path, enabled=False) as writer:
        writer.truncate_after(3)
        writer.write(_training_row(1, loss=1.0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("full", ["metrics.jsonl", "tensorboard"])
def test_a_full_disk_is_one_line_with_the_last_good_step(tmp_path, monkeypatch, full):
    """What is left unwritten does not come up again when files are closed."""
    opened = Path.open

    def on_a_full_disk(path, mode="r", **given):
        if full in path.parts[-2:] and "r" not in mode:
            path, mode = Path("/dev/full"), mode.replace("x", "w")
        return opened(path, mode, **given)

    with (
        pytest.raises(ValueError) as error,
        _with_tensorboard(tmp_path, last_good_step=lambda: 25) as writer,
    ):
        writer.write(_training_row(1, loss=1.0))
        monkeypatch.setattr(Path, "open", on_a_full_disk)
        writer.truncate_after(1)
        writer.write(_training_row(2, loss=1.0))
    file = re.escape(f"{tmp_path}/{full}") + ("" if full.endswith("jsonl") else r"/events\S+")
    assert re.fullmatch(
        f"cannot write {file}: No space left on device; expected a writable disk; last good "
        "checkpoint: 25",
        str(error.value),
    )
    monkeypatch.undo()
    with MetricsWriter(tmp_path) as writer:
        writer.truncate_after(1)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1]


def test_files_of_events_made_in_one_second_are_all_kept(tmp_path):
    for step in range(3):
        with _with_tensorboard(tmp_path, step - 1) as writer:
            writer.write(_training_row(step, loss=1.0))
    steps = [event.step for event in _events(tmp_path) if event.summary.value]
    assert steps == [0, 1, 2]


def test_seconds_are_those_of_all_starts(tmp_path):
    """Also where a start was lost after its last checkpoint, or ended after its last row."""
    now = [100.0]

    def start(restored, *steps, saved=0.0):
        with MetricsWriter(tmp_path, began=now[0], clock=lambda: now[0]) as writer:
            for again in (restored, restored):  # a run that goes back truncates again
                writer.truncate_after(again, saved)
            for step in steps:
                now[0] += 10.0
                writer.write({"step": step, "loss": 1.0})
            return writer.seconds

    def seconds():
        return [row["seconds"] for row in read_metrics(tmp_path / "metrics.jsonl")]

    assert start(0, 1, 2, 3) == 30.0
    now[0] += 1000.0  # nothing runs
    assert start(1, 2) == 40.0 and seconds() == [10.0, 40.0]
    assert start(2, 3, saved=45.0) == 55.0 and seconds() == [10.0, 40.0, 55.0]
