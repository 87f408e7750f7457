import io
import os

import pytest
from rich.console import Console

from gptjax.training.reporting.progress import Progress, Terminal, phase


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


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
        progress.evaluation({"step": 1, "split": "held out", "loss": 0.5, "accuracy": 0.714})
        progress.sample(1, "a [b]", "head\ntail\x1b[0m")
    lines = [line.strip() for line in output.getvalue().replace("\x1b[2K", "\n").splitlines()]
    assert "step 1 validation: loss 2.500  1.250 bits per byte" in lines
    assert "step 1 dev: loss 2.000" in lines
    assert "step 1 held out: loss 0.500  accuracy 71.4%" in lines
    assert "step 1 sample: 'a [b]' goes on" in lines and "tail\ufffd[0m" in lines


def test_progress_writes_to_standard_output_by_default(capsys):
    with Progress(2) as progress:
        progress.update({"step": 1})
    assert "step 1/2" in capsys.readouterr().out


def test_progress_of_a_policy_shows_its_score_and_kl(capsys):
    with Progress(2) as progress:
        progress.update({"step": 1, "score": 0.25, "kl": 1.5, "kl_k1": 9.0})
    assert capsys.readouterr().out == "step 1/2  score 0.250  kl 1.500\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_what_takes_time_is_named_with_its_seconds(terminal):
    clock, output = Clock(), io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=100)
    with Progress(2, console=console, clock=clock) as progress, progress.phase("compiling"):
        clock.now += 12.4
    assert "compiling took 12.4 s" in output.getvalue()


def test_a_phase_is_told_of_as_it_begins_and_where_it_succeeds(capsys):
    with phase("tokenising"):
        assert capsys.readouterr().out == "tokenising ...\n"
    assert capsys.readouterr().out == "tokenising took 0.0 s\n"
    with pytest.raises(ValueError), phase("tokenising"):
        raise ValueError
    assert capsys.readouterr().out == "tokenising ...\n"


def test_a_console_whose_reader_has_left_raises_as_print_does():
    reader, writer = os.pipe()
    os.close(reader)
    file = os.fdopen(writer, "w")
    with pytest.raises(BrokenPipeError):
        Terminal(file=file).print("a table")
    with pytest.raises(BrokenPipeError):
        file.close()
