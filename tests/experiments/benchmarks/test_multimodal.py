"""The suite as a whole on tiny models."""

import fnmatch

import pytest

from experiments.benchmarks import multimodal as suite
from experiments.benchmarks.figures import with_targets

TINY = suite.ImageSizes(
    stack={"num_layers": 1, "num_heads": 1, "d_model": 8},
    context_length=64,
    rows=2,
    image=8,
    patch=4,
    places=2,
    row_images=2,
    documents=24,
    batches=2,
    rounds=2,
)


@pytest.mark.slow
def test_the_suite_on_tiny_models():
    figures = suite.measure_multimodal(TINY)
    gpt, vit = figures["gpt"], figures["vit"]
    over = vit["flops_per_second"] / gpt["flops_per_second"]
    assert vit["utilisation_over_gpt"] == pytest.approx(over)
    assert 0 <= figures["loader"]["wait_share"] < 1
    paths = [f"{group}.{name}" for group in figures for name in figures[group]]
    assert all(fnmatch.filter(paths, target) for target in suite.TARGETS)
    assert "met" in with_targets(figures, suite.TARGETS)["image_text"]["utilisation_over_gpt"]
