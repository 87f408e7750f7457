"""The suite on programs that take known seconds, and as a whole on tiny models."""

import contextlib
import fnmatch

import pytest

from experiments.benchmarks import beside_torch
from experiments.benchmarks import encoders as suite
from experiments.benchmarks.figures import with_targets

TINY = suite.EncoderSizes(
    bert=suite.Shape(128, 16, 1, 1, 8),
    bert_rows=2,
    masked=3,
    encoder_decoder=suite.Shape(128, 8, 1, 1, 8),
    pair_rows=2,
    marian=suite.Shape(128, 32, 1, 1, 8),
    sentences=(1, 2),
    source=5,
    new=7,
    rounds=2,
)


@contextlib.contextmanager
def some_torch(module, **arguments):
    if module == "marian":
        assert (arguments["source"], arguments["new"], arguments["num_beams"]) == (5, 7, 4)
        yield lambda: 1000.0 * arguments["rows"], "transformers 0.0"
    else:
        assert module == "encoders" and arguments["batch_size"] == 2
        yield lambda: 3000.0 if arguments["model"] == "bert" else 5000.0, "torch 0.0"


@contextlib.contextmanager
def no_torch(module, **arguments):
    raise ValueError("not here")
    yield


@pytest.mark.slow
def test_the_suite_on_tiny_models(monkeypatch):
    for module in (suite, beside_torch):
        monkeypatch.setattr(module, "torch_program", some_torch)
    monkeypatch.setattr(beside_torch, "matmul_peak_flops", lambda dtype: 1e9)
    figures = suite.measure_encoders(TINY)
    assert figures["bert"]["torch_eager_tokens_per_second"] == 2 * 16 / 3000
    assert figures["encoder_decoder"]["torch_eager_tokens_per_second"] == 2 * 2 * 8 / 5000
    assert figures["beam_4_of_2"]["transformers_tokens_per_second"] == 2 * 7 / 2000
    paths = [f"{group}.{name}" for group in figures for name in figures[group]]
    assert all(fnmatch.filter(paths, target) for target in suite.TARGETS)
    judged = with_targets(figures, suite.TARGETS)
    assert judged["bert"]["over_torch"]["met"] and judged["beam_4_of_1"]["over_transformers"]["met"]


class InSeconds:
    """Stands in for a training program: a second for each position with logits."""

    def __init__(self, config, batch):
        self.batch = batch

    def __call__(self):
        return float(self.batch["targets"].shape[1])


def test_masked_positions_stand_beside_all(monkeypatch):
    monkeypatch.setattr(suite, "TrainingProgram", InSeconds)
    monkeypatch.setattr(suite, "beside_torch", lambda ours, *_, **arguments: arguments)
    figures = suite._bert(TINY)
    assert figures["gathered_over_all"] == 16 / 3
    assert (figures["masked"], figures["model"]) == (3, "bert")


class Found:
    tokens = range(7)


def test_without_transformers_ours_is_measured(monkeypatch):
    monkeypatch.setattr(suite, "torch_program", no_torch)
    figures = suite._beside_transformers(TINY, lambda sources, start: [Found] * len(sources), 2)
    assert figures.keys() == {"transformers", "ours_tokens_per_second"}
    assert figures["transformers"] == "not here"
