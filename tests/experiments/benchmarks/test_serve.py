"""The suite `serve` at toy size: every part runs, and its targets name its figures."""

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
from experiments.benchmarks.figures import with_targets
from experiments.benchmarks.serve import TARGETS, ServeSizes, measure_serve
from gptjax.config import ModelConfig


@pytest.mark.slow
def test_every_part_has_figures_and_every_target_a_figure():
    model = ModelConfig(num_layers=1, num_heads=1, d_model=16, context_length=128, vocab_size=4200)
    sizes = ServeSizes(
        *(model, model),
        clients=(1, 8),
        prompt=8,
        new=4,
        turns=3,
        history=60,
        row=20,
        settled=10,
        rounds=1,
    )
    judged = with_targets(measure_serve(sizes), TARGETS)
    named = {
        f"{part}.{name}"
        for part, figures in judged.items()
        for name, figure in figures.items()
        if isinstance(figure, dict)
    }
    optional = {"clients_32.over_generator", "beside_transformers.over_transformers"}
    assert named >= TARGETS.keys() - optional
