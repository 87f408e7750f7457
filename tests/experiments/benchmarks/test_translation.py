"""The suite on made-up pairs, with a stand-in for PyTorch's side."""

import contextlib
import json
from pathlib import Path

import pytest

from experiments.benchmarks import translation as suite
from experiments.benchmarks.figures import with_targets
from tests.support.binaries import call


@contextlib.contextmanager
def some_torch(module, *, seconds, slices, scored, output, **arguments):
    """Takes a second a slice, and writes what it knows after the last, of which there are ten."""
    assert module == "translation" and (seconds, slices) == (0.1, 10)
    left = [slices - 1]

    def run():
        left[0] -= 1
        if left[0] == 0:
            made = {"steps": 7, "seconds": 10.0, "translations": ["zwei drei"] * scored}
            Path(output).write_text(json.dumps(made))
        return 1.0

    yield run, "torch 0.0"


@pytest.mark.slow
def test_both_sides_are_scored_on_the_same_sentences(monkeypatch, tmp_path, capsys):
    pytest.importorskip("sacrebleu")
    monkeypatch.setattr(suite, "torch_program", some_torch)
    monkeypatch.setattr(suite, "SCORED", 8)
    monkeypatch.setattr(suite, "VOCABULARY", 448)
    figures = with_targets(suite.measure_translation("numbers", 1.0, tmp_path), suite.TARGETS)
    assert figures["pairs"] == 8
    assert figures["ours"]["steps"] >= 1 and figures["torch"]["steps"] == 7
    assert figures["ours"]["seconds"] >= 1.0 and figures["torch"]["seconds"] == 10.0
    assert figures["ours"]["bleu_signature"] == figures["torch"]["bleu_signature"]
    ahead = figures["ours"]["bleu"] - figures["torch"]["bleu"]
    assert figures["bleu_ahead_of_torch"]["value"] == ahead
    shown = capsys.readouterr().out
    assert shown.count("torch      zwei drei") == suite.SAMPLES


def test_what_a_slice_takes_too_long_is_taken_from_the_next(monkeypatch):
    now, steps = [0.0], iter((25.0, 2.0, 4.0))
    monkeypatch.setattr(suite.time, "perf_counter", lambda: now[0])

    def step():
        now[0] += next(steps)

    clock = suite.Clock(10.0)
    assert [clock.fill(step) for _ in range(3)] == [25.0, 0.0, 6.0]
    assert (clock.seconds, clock.slices) == (31.0, 3)


def test_pairs_are_for_this_suite_alone():
    assert call("benchmark", "--suite=translation").refusal.startswith("--pairs: got none")
    refusal = call("benchmark", "--suite=train", "--seconds=5").refusal
    assert refusal == "--seconds: got 5 with the suite train, expected none"
