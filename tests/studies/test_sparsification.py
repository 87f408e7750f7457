"""Kept attention, losses and divergence of a tiny model, against its formulas in NumPy."""

import jax
import numpy as np
import pytest

from gptjax import attention
from gptjax.attention.patterns import in_order
from gptjax.config import ExperimentConfig, ModelConfig, ParallelismConfig, resolve
from gptjax.models.gpt import GPT
from gptjax.studies.sparsification import kept_attention_table, plot, sparsify
from gptjax.training.partitioning import make_mesh

LENGTH, VOCABULARY = 7, 11


def make_config(**model):
    small = {"num_layers": 3, "num_heads": 2, "num_kv_heads": 1, "d_model": 8}
    config = ModelConfig(vocab_size=VOCABULARY, context_length=LENGTH, **small | model)
    return resolve(ExperimentConfig(model=config))


def make_params(config):
    """Random everywhere, and large enough for attention to be uneven."""
    shapes = jax.eval_shape(
        GPT(config.model).init, jax.random.key(0), jax.ShapeDtypeStruct((1, 1), "int32")
    )["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(0.0, 0.7, leaf.shape).astype(np.float32), shapes)


def make_batches():
    """Two batches; the last targets of the second are padding."""
    rng = np.random.default_rng(2)
    batches = []
    for end in (LENGTH, 4):
        rows = rng.integers(0, VOCABULARY, (2, LENGTH + 1)).astype(np.int32)
        weights = np.ones((2, LENGTH), np.float32)
        weights[1, end:] = 0.0
        batches.append({"tokens": rows[:, :-1], "targets": rows[:, 1:], "loss_weights": weights})
    return batches


def normed(x, p):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def may_attend(specification, layer, head, i, j):
    patterns = attention.parse(specification)
    cycle = patterns[layer % len(patterns)].per_head()
    return bool(in_order(cycle[head % len(cycle)])(np.array(i), np.array(j)))


def forward(config, specification, params, tokens):
    """Log-probabilities [T, V] of one row, and attention weights [L, H, T, T]; float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    c = config.model
    x = params["token_embedding"][tokens] + params["position_embedding"][: len(tokens)]
    weights = np.zeros((c.num_layers, c.num_heads, len(tokens), len(tokens)))
    for layer in range(c.num_layers):
        p = jax.tree.map(lambda leaf, layer=layer: leaf[layer], params["trunk"]["layers"])
        y, parts = normed(x, p["attention_norm"]), p["attention"]
        q, k, v = (
            np.einsum("te,ehd->thd", y, parts[name]["kernel"]) + parts[name]["bias"]
            for name in ("query", "key", "value")
        )
        mixed = np.zeros((len(tokens), c.num_heads, c.d_head))
        for head in range(c.num_heads):
            for i in range(len(tokens)):
                keys = [
                    j for j in range(len(tokens)) if may_attend(specification, layer, head, i, j)
                ]
                if keys:
                    scores = np.array([q[i, head] @ k[j, 0] for j in keys]) / np.sqrt(c.d_head)
                    share = np.exp(scores - scores.max())
                    weights[layer, head, i, keys] = share / share.sum()
                    mixed[i, head] = weights[layer, head, i] @ v[:, 0]
        out = parts["out"]
        x = x + np.einsum("thd,hde->te", mixed, out["kernel"]) + out["bias"]
        p_up, p_down = p["feed_forward"]["up"], p["feed_forward"]["down"]
        h = normed(x, p["feed_forward_norm"]) @ p_up["kernel"] + p_up["bias"]
        h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        x = x + h @ p_down["kernel"] + p_down["bias"]
    logits = normed(x, params["trunk"]["final_norm"]) @ params["token_embedding"][:VOCABULARY].T
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True)), weights


@pytest.mark.parametrize(
    ("own", "new", "layers"),
    [
        pytest.param("dense", "banded(window=3)", 3, marks=pytest.mark.slow),
        pytest.param(
            *(
                "dense,banded(window=4)",
                "strided(stride=3),banded(window=2),sinks(window=1,sinks=2)",
            ),
            9,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("fixed(stride=3,summary=1,part=2)", "heads(dense,banded(window=5))", 3),
            marks=pytest.mark.slow,
        ),
        ("prefix(length=4)", "banded(window=1)|prefix(length=2)", 3),
    ],
)
def test_the_report_is_that_of_the_formulas(own, new, layers):
    config = make_config(num_layers=layers, attention=own)
    params, mesh = make_params(config), make_mesh(ParallelismConfig())
    report = sparsify(config, params, new, make_batches, 0.5, mesh)

    kept, queries = np.zeros((layers, 2)), np.zeros((layers, 2))
    nats, new_nats, kl, count = 0.0, 0.0, 0.0, 0.0
    for batch in make_batches():
        for tokens, targets, weights in zip(*batch.values(), strict=True):
            p, attended = forward(config, own, params, tokens)
            q, _ = forward(config, new, params, tokens)
            for t in np.flatnonzero(weights):
                if "prefix" not in own or t + 1 >= 4:  # else an earlier token sees the target
                    nats -= p[t, targets[t]]
                    new_nats -= q[t, targets[t]]
                    kl += (np.exp(p[t]) * (p[t] - q[t])).sum()
                    count += 1
                for layer, head in np.ndindex(layers, 2):
                    row = attended[layer, head, t]
                    queries[layer, head] += row.any()
                    kept[layer, head] += sum(
                        row[j] for j in range(LENGTH) if may_attend(new, layer, head, t, j)
                    )
    np.testing.assert_allclose(report["kept"], kept / queries, rtol=2e-5, atol=1e-6)
    assert report["loss"]["own"] == pytest.approx(nats / count, rel=1e-5)
    assert report["loss"]["new"] == pytest.approx(new_nats / count, rel=1e-5)
    assert kl / count > 5e-4 and report["kl"] == pytest.approx(kl / count, rel=1e-4)
    for name, loss in report["loss"].items():
        assert report["bits_per_byte"][name] == pytest.approx(loss / np.log(2) / 0.5)
    assert report["attention"] == {"own": own, "new": new}


@pytest.mark.slow
def test_the_same_attention_keeps_all_and_changes_nothing():
    config = make_config(attention="dense,banded(window=2)")
    mesh = make_mesh(ParallelismConfig())
    report = sparsify(config, make_params(config), config.model.attention, make_batches, 1.0, mesh)
    np.testing.assert_allclose(report["kept"], 1.0, rtol=1e-6)
    assert report["loss"]["own"] == report["loss"]["new"]
    assert report["kl"] == 0.0


def test_the_table_and_the_picture_show_each_head(tmp_path):
    report = {
        "attention": {"own": "dense", "new": "banded(window=2)"},
        "kept": [[0.25, 0.75], [0.5, 1.0], [0.125, 0.0]],
    }
    made = kept_attention_table(report)
    cells = [list(column.cells) for column in made.columns]
    assert cells[0] == ["0", "1", "2"]
    assert cells[1] == ["0.500", "0.750", "0.062"]
    assert cells[3] == ["0.750", "1.000", "0.000"]
    plot(report, tmp_path / "sparsify.png")
    assert (tmp_path / "sparsify.png").read_bytes().startswith(b"\x89PNG")
