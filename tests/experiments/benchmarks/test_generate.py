"""The suite on a tiny model: all parts run, and ratios are those of the seconds."""

import contextlib
import json

import pytest

from experiments.benchmarks import generate as suite
from experiments.benchmarks.figures import with_targets
from gptjax.config import ModelConfig

TINY = suite.GenerateSizes(
    ModelConfig(vocab_size=50, context_length=64, num_layers=1, num_heads=1, d_model=8),
    prompt=4,
    new=8,
    rows=2,
    requests=5,
    lengths=(2, 12),
    question=20,
    answer=3,
    prefill=16,
    stream=1 << 12,
    rounds=2,
)


@contextlib.contextmanager
def some_transformers(module, *, rows, num_beams, prompt, new, dtype, shape):
    assert (module, prompt, new, dtype) == ("generate", 4, 8, "float32")
    assert shape["d_model"] == 8
    yield lambda: 1000.0 * rows * num_beams, "torch 0.0"


@contextlib.contextmanager
def no_torch(module, **arguments):
    raise ValueError("not here")
    yield


@pytest.mark.slow
def test_the_suite_on_a_tiny_model(monkeypatch):
    monkeypatch.setattr(suite, "torch_program", some_transformers)
    monkeypatch.setattr(suite, "matmul_peak_flops", lambda dtype: 1e9)
    figures = with_targets(suite.measure_generate(TINY), suite.TARGETS)
    assert set(figures) == {"greedy_1", "greedy_2", "beam_4", "scoring", "continuous", "prefill"}
    assert figures["greedy_1"]["transformers_tokens_per_second"] == pytest.approx(8 / 1000)
    assert figures["greedy_2"]["transformers_tokens_per_second"] == pytest.approx(2 * 8 / 2000)
    assert figures["greedy_1"]["over_transformers"]["met"]
    assert figures["beam_4"]["over_transformers"]["met"]
    assert figures["greedy_1"]["weight_bytes"] == 4 * (12 * 8 * 8 + 50 * 8)
    for name, part in (
        ("share_of_bandwidth", "greedy_1"),
        ("apart_over_shared", "scoring"),
        ("static_over_continuous", "continuous"),
        ("share_of_matmul_peak", "prefill"),
    ):
        assert figures[part][name]["target"].startswith("at least")
    json.dumps(figures)


def test_without_transformers_the_rest_is_measured(monkeypatch):
    monkeypatch.setattr(suite, "torch_program", no_torch)
    figures = suite._beside_transformers(TINY, lambda: 2.0, 2, 1)
    assert figures == {"transformers": "not here", "ours_tokens_per_second": 8}


def test_with_transformers_speeds_stand_side_by_side(monkeypatch):
    monkeypatch.setattr(suite, "torch_program", some_transformers)
    figures = suite._beside_transformers(TINY, lambda: 2.0, 2, 1)
    assert figures["ours_tokens_per_second"] == 8
    assert figures["transformers_tokens_per_second"] == pytest.approx(2 * 8 / 2000)
    assert figures["over_transformers"] == pytest.approx(2000 / 2)
