"""The recipes against sections 6 and 7 of arXiv 1904.10509."""

import pytest

from experiments.configs import EXPERIMENTS
from gptjax.config import resolve
from gptjax.models.costs import parameter_count
from gptjax.settings import differences


@pytest.mark.parametrize(
    ("name", "millions", "layers", "heads", "width", "context", "dropout", "epoch_bytes", "epochs"),
    [
        ("enwik8", 95, 30, 8, 512, 12_288, 0.40, 90_000_000, 80),
        ("cifar10", 59, 128, 2, 256, 3072, 0.25, 48_000 * 3072, 120),
    ],
)
def test_sparse_transformers_train_as_their_paper_says(
    name, millions, layers, heads, width, context, dropout, epoch_bytes, epochs
):
    """Parameters are counted without the table of positions, which the paper does not have."""
    config = resolve(EXPERIMENTS.get(f"sparse_transformer_{name}")())
    model, optimizer, training = config.model, config.optimizer, config.training
    assert (model.num_layers, model.num_heads, model.d_model) == (layers, heads, width)
    assert (model.context_length, model.vocab_size) == (context, 256)
    positions = context * width
    assert (parameter_count(model) - positions) / 1e6 == pytest.approx(millions, abs=0.5)
    assert (model.residual_dropout, model.attention_dropout) == (dropout, 0.0)
    seen = training.num_steps * training.batch_size * context
    assert 0 <= epochs * epoch_bytes - seen < training.batch_size * context
    assert (optimizer.warmup_steps, optimizer.clip_norm, optimizer.weight_decay) == (5000, 1, 0.01)
    assert (optimizer.schedule, optimizer.final_fraction) == ("cosine", 0.0)
    for cell in ("dense", "strided" if name == "enwik8" else "fixed"):
        other = resolve(EXPERIMENTS.get(f"sparse_transformer_{name}_{cell}")())
        assert differences(other, config, ("",)) == [
            f"model.attention: {other.model.attention!r}, not {model.attention!r}"
        ]


def test_half_size_queries_keep_whole_values():
    model = resolve(EXPERIMENTS.get("sparse_transformer_cifar10")()).model
    assert (2 * model.d_head, 2 * model.d_value, model.d_ff) == (256 // 2, 256, 2 * 256)
