import io
import json
import re
import struct
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import image
from rich.console import Console

from gptjax.training.reporting.metrics import MetricsWriter, Progress, plot_curve, read_metrics


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def _training_row(step, loss):
    return {"step": step, "loss": loss, "learning_rate": 1e-3, "grad_norm": 0.5}


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

        assert json.loads(lines[0], parse_constant=refuse) == {
            "step": 5,
            "loss": 2.5,
            "grad_norm": None,
            "tokens_per_second": None,
            "mfu": None,
        }
        assert isinstance(json.loads(lines[0])["step"], int)
        writer.write({"step": 5, "split": "validation", "loss": jax.device_put(2.0)})
    assert read_metrics(tmp_path / "metrics.jsonl")[1] == {
        "step": 5,
        "split": "validation",
        "loss": 2.0,
    }


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
    assert read_metrics(path)[3] == _training_row(30, loss=9.0)
    with MetricsWriter(tmp_path) as writer:
        writer.truncate_after(-1)
    assert path.read_text() == ""
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["metrics.jsonl"]


def test_damage_before_the_last_line_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl line 2 is .*; expected JSON"):
        read_metrics(path)
    with pytest.raises(ValueError, match=r"cannot read metrics from .*absent"):
        read_metrics(tmp_path / "absent")


def test_lists_stand_in_a_row_and_are_a_scalar_an_entry_in_tensorboard(tmp_path):
    sizes = jnp.array([1.5, np.nan, 2.5])
    with MetricsWriter(tmp_path) as writer:
        writer.write({"step": 3, "split": "layers", "activation_rms": sizes})
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert row == {"step": 3, "split": "layers", "activation_rms": [1.5, None, 2.5]}
    values = [value for event in _events(tmp_path) for value in event.summary.value]
    assert {value.tag: value.simple_value for value in values} == {
        "layers/activation_rms/000": 1.5,
        "layers/activation_rms/002": 2.5,
    }


def test_tensorboard_has_the_scalars_and_forgets_steps_after_a_resumption(tmp_path):
    with MetricsWriter(tmp_path) as writer:
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
        ("validation/loss", 10),
    }
    assert scalars["train/loss", 10] == 3.0
    with MetricsWriter(tmp_path) as writer:
        writer.truncate_after(5)
        writer.write(_training_row(6, loss=4.0))
    starts = [event.step for event in _events(tmp_path) if event.session_log.status]
    assert starts == [6]  # TensorBoard drops what it has from this step on


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
        if full in path.parts[-2:]:
            path, mode = Path("/dev/full"), mode.replace("x", "w")
        return opened(path, mode, **given)

    with (
        pytest.raises(ValueError) as error,
        MetricsWriter(tmp_path, last_good_step=lambda: 25) as writer,
    ):
        writer.write(_training_row(1, loss=1.0))
        monkeypatch.setattr(Path, "open", on_a_full_disk)
        writer.close()
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
        with MetricsWriter(tmp_path) as writer:
            writer.truncate_after(step - 1)
            writer.write(_training_row(step, loss=1.0))
    steps = [event.step for event in _events(tmp_path) if event.summary.value]
    assert steps == [0, 1, 2]


def test_without_a_terminal_progress_is_a_plain_line_every_ten_seconds():
    clock, output = Clock(), io.StringIO()
    console = Console(file=output, width=20)
    with Progress(1000, console=console, clock=clock) as progress:
        for step in range(1, 101):
            clock.now += 0.5
            speed = {"tokens_per_second": 12345.6, "mfu": 0.414, "executed_mfu": 0.377}
            progress.update({"step": step, "loss": 4.0, **speed})
        progress.update({"step": 1000, "loss": 1.5})
    lines = output.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        f"step {step}/1000" for step in (1, 21, 41, 61, 81, 1000)
    ]
    assert lines[2] == (
        "step 41/1000  loss 4.000  12,346 tokens/s  MFU 41% (executed 38%)  0:08:00 left"
    )
    assert lines[-1] == "step 1000/1000  loss 1.500  0:00:00 left"
    assert "\x1b" not in output.getvalue()


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"])
@pytest.mark.parametrize("width", [1, 30, 200])
def test_on_a_terminal_progress_survives_any_width(monkeypatch, term, width):
    monkeypatch.setenv("TERM", term)
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=200, height=10)
    with Progress(3, console=console) as progress:
        progress.update({"step": 1, "loss": 4.25, "mfu": None})
        console.width = width  # the window is resized
        progress.update({"step": 2, "loss": None})
        progress.update({"step": 3, "loss": 0.5})
    assert ("\x1b" in output.getvalue()) == (term != "dumb")
    if width == 200:
        assert "loss 0.500" in output.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_evaluations_are_lines_of_their_own(terminal):
    output = io.StringIO()
    with Progress(2, console=Console(file=output, force_terminal=terminal, width=100)) as progress:
        progress.update({"step": 1, "loss": 3.0})
        progress.evaluation({"step": 1, "split": "validation", "loss": 2.5, "bits_per_byte": 1.25})
        progress.evaluation({"step": 1, "split": "dev", "loss": 2.0})
    lines = [line.strip() for line in output.getvalue().replace("\x1b[2K", "\n").splitlines()]
    assert "step 1 validation: loss 2.500  1.250 bits per byte" in lines
    assert "step 1 dev: loss 2.000" in lines


def test_progress_writes_to_standard_output_by_default(capsys):
    with Progress(2) as progress:
        progress.update({"step": 1})
    assert "step 1/2" in capsys.readouterr().out


def test_progress_of_a_policy_shows_its_score_and_kl(capsys):
    with Progress(2) as progress:
        progress.update({"step": 1, "score": 0.25, "kl": 1.5, "kl_k1": 9.0})
    assert capsys.readouterr().out == "step 1/2  score 0.250  kl 1.500\n"


def test_loss_curve_is_a_picture_of_the_rows(tmp_path):
    def draw(rows):
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        plot_curve(tmp_path / "metrics.jsonl", tmp_path / "loss.png", title="gpt2_smoke")
        return image.imread(tmp_path / "loss.png")

    training = [_training_row(step, loss=4.0 - step / 50) for step in range(1, 100)]
    evaluation = {"step": 50, "split": "validation", "loss": 3.5, "bits_per_byte": 1.75}
    pictures = [draw([]), draw(training[:1]), draw(training), draw([*training, evaluation])]
    assert len({picture.shape for picture in pictures}) == 1
    assert pictures[0].shape[0] >= 800
    inks = [(picture[..., :3].min(axis=-1) < 0.9).sum() for picture in pictures]
    assert inks[0] < inks[1] < inks[2]
    orange = (np.abs(pictures[3][..., :3] - (1.0, 0.498, 0.055)) < 0.02).all(axis=-1)
    assert orange.any()
    draw([_training_row(1, loss=None), evaluation])
