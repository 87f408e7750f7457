import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.attention import scores
from gptjax.attention.patterns import Dense
from gptjax.models.gpt import GPT
from gptjax.models.layers import Block
from gptjax.models.transformer import init_decoding

# A cycle of one layer; cycles and a remainder; a cycle longer than the stack.
FOUR = "banded(window=2),banded(window=4),dense,dense"


@pytest.mark.parametrize(
    "specification, num_layers, norm",
    [
        ("dense", 3, "post"),
        ("dense,banded(window=3)", 5, "pre"),
        (FOUR, 3, "pre"),
    ],
)
def test_the_scan_equals_a_plain_loop(
    make_config, init, tokens, logits, unrolled, specification, num_layers, norm
):
    config = make_config(
        attention=specification,
        num_layers=num_layers,
        norm=norm,
        tied_embeddings=norm == "pre",
    )
    params = init(config)
    expected = unrolled(config, params, tokens)
    np.testing.assert_allclose(logits(config, params, tokens), expected, rtol=1e-5, atol=1e-5)


def test_parameters_and_their_initial_values_do_not_depend_on_the_specification(make_config):
    def made(specification):
        model = GPT(make_config(attention=specification))
        return jax.jit(model.init)(jax.random.key(3), jnp.zeros((1, 1), jnp.int32))["params"]

    dense = made("dense")
    assert dense["trunk"]["layers"]["attention"]["query"]["kernel"].shape == (3, 16, 2, 8)
    jax.tree.map(np.testing.assert_array_equal, made(FOUR), dense)


def test_a_dense_checkpoint_loads_under_a_banded_specification(
    make_config, init, tokens, logits, unrolled
):
    dense, banded = make_config(), make_config(attention="dense,banded(window=3)")
    params = init(dense)
    under_banded = logits(banded, params, tokens)
    expected = unrolled(banded, params, tokens)
    np.testing.assert_allclose(under_banded, expected, rtol=1e-5, atol=1e-5)
    others = logits(dense, params, tokens)
    np.testing.assert_allclose(under_banded[:, :3], others[:, :3], rtol=1e-5, atol=1e-5)
    assert (np.abs(under_banded - others)[:, 3:].max(-1) > 1e-3).all()


RESIDUAL = {("attention", "out"), ("feed_forward", "down")}
KERNELS = {("attention", "query"), ("attention", "key"), ("attention", "value")}
KERNELS |= {("feed_forward", "up"), *RESIDUAL}


@pytest.mark.parametrize("scaled", [True, False])
def test_layers_start_apart_and_residual_projections_narrower(make_config, scaled):
    config = make_config(num_layers=8, d_model=64, init_std=0.05, scaled_residual_init=scaled)
    token = jnp.zeros((1, 1), jnp.int32)
    params = jax.jit(GPT(config).init)(jax.random.key(3), token)["params"]
    for part, name in KERNELS:
        leaf = params["trunk"]["layers"][part][name]
        kernel = np.asarray(leaf["kernel"])
        std = 0.05 / 4 if scaled and (part, name) in RESIDUAL else 0.05  # 4 = sqrt(2 layers)
        assert kernel.std() == pytest.approx(std, rel=0.03)
        assert np.abs(np.corrcoef(kernel.reshape(8, -1)) - np.eye(8)).max() < 0.1
        assert not leaf["bias"].any()
    for name in ("token_embedding", "position_embedding"):
        assert params[name].std() == pytest.approx(0.05, rel=0.1)


def test_remat_changes_neither_loss_nor_gradients(make_config, init, tokens):
    """Three layers: one cycle in the scan, one layer after it; dropout is drawn again alike."""
    fields = {"attention": "dense,banded(window=3)", "attention_dropout": 0.1}
    params = init(make_config())

    def loss_and_gradients(remat):
        config = make_config(remat=remat, residual_dropout=0.1, **fields)

        def loss(params):
            rngs = {"dropout": jax.random.key(5)}
            logits = GPT(config).apply({"params": params}, tokens, deterministic=False, rngs=rngs)
            return jnp.square(logits).mean()

        traced = jax.jit(jax.value_and_grad(loss)).trace(params)
        return traced.lower().compile()(params), str(traced.jaxpr)

    plain, plain_program = loss_and_gradients("none")
    assert "policy=" not in plain_program
    for policy in ("block", "dots"):
        remat, program = loss_and_gradients(policy)
        assert "policy=" in program
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain, remat
        )


def test_what_is_computed_again_takes_no_memory(make_config):
    """As XLA plans it, for layers that are scanned: a block keeps its input, of 1 + 9 arrays."""

    def temporaries(remat):
        config = make_config(num_layers=12, context_length=64, d_model=64, num_heads=4, remat=remat)
        tokens = jax.ShapeDtypeStruct((4, 64), jnp.int32)
        params = jax.eval_shape(GPT(config).init, jax.random.key(0), tokens)["params"]

        def loss(params, tokens):
            return jnp.square(GPT(config).apply({"params": params}, tokens)).mean()

        compiled = jax.jit(jax.grad(loss)).lower(params, tokens).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    none, dots, block = map(temporaries, ("none", "dots", "block"))
    activation = 12 * 4 * 64 * 64 * 4  # bytes of an array [B, T, E], over all layers
    assert none - dots > 2 * activation
    assert dots - block > 6 * activation


VARIANTS = {
    "sinusoidal": {"positions": "sinusoidal"},
    "rotary, grouped, value heads": {"positions": "rotary", "num_kv_heads": 1, "d_value": 5},
    "yarn": {"positions": "rotary", "rotary_scaling": "yarn", "rotary_factor": 2.0},
    "no positions, alibi": {"positions": "none", "score": "alibi"},
    "relative bias": {"score": "relative_bias(buckets=6,max_distance=8)"},
    "soft cap, relative bias": {"score": "soft_cap(cap=1.0),relative_bias(buckets=4)"},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_decoding_in_chunks_equals_the_full_forward_pass(
    make_config, init, tokens, logits, variant
):
    """Three layers: a cycle and a remainder; a prompt, a chunk, then tokens."""
    config = make_config(attention="dense,banded(window=3)", **VARIANTS[variant])
    params = init(config)

    @jax.jit
    def step(tokens, positions, cache):
        variables = {"params": params}
        return GPT(config).apply(
            variables, tokens, positions=positions, cache=cache, method=GPT.decode
        )

    cache, parts = init_decoding(config, 2, 12, jnp.float32), []
    for start, stop in ((0, 5), (5, 10), (10, 11), (11, 12)):
        positions = jnp.tile(jnp.arange(start, stop), (2, 1))
        part, cache = step(tokens[:, start:stop], positions, cache)
        parts.append(part)
    full = logits(config, params, tokens)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=1e-4, atol=1e-5)


def test_all_layers_share_the_relative_bias(make_config, init, tokens, monkeypatch):
    """Its gradient through the scan, with remat, is the sum of those of tables of each layer."""
    monkeypatch.setattr("gptjax.models.transformer.UNROLLED_LAYERS", 0)
    spec = "relative_bias(buckets=6,max_distance=8)"
    config = make_config(score=spec, norm="post", remat="block")
    params = init(config)
    shared = params["trunk"]["relative_bias"]
    assert shared.shape == (6, 2)
    x = params["token_embedding"][tokens] + params["position_embedding"][None]

    def scanned(table):
        trunk = params["trunk"] | {"relative_bias": table}
        return jnp.square(GPT(config).apply({"params": params | {"trunk": trunk}}, tokens)).mean()

    def looped(tables):
        hidden = x
        for i in range(3):
            layer = jax.tree.map(lambda leaf, i=i: leaf[i], params["trunk"]["layers"])
            score = scores.bind(scores.parse(spec), 2, {"relative_bias": tables[i]})
            hidden, _ = Block(config, Dense()).apply({"params": layer}, hidden, score=score)
        return jnp.square(hidden @ params["token_embedding"][:53].T).mean()

    tables = jnp.tile(shared, (3, 1, 1))
    of_each = jax.jit(jax.grad(looped))(tables)
    assert (np.abs(of_each).max((1, 2)) > 0).all()
    np.testing.assert_allclose(
        jax.jit(jax.grad(scanned))(shared), of_each.sum(0), rtol=1e-4, atol=1e-6
    )


def test_the_relative_bias_starts_beside_layers_that_start_as_without_it(make_config):
    def made(score):
        model = GPT(make_config(score=score))
        return jax.jit(model.init)(jax.random.key(3), jnp.zeros((1, 1), jnp.int32))["params"]

    params = made("relative_bias(buckets=512,max_distance=1000)")
    table = params["trunk"].pop("relative_bias")
    assert (table.dtype, table.std()) == (jnp.float32, pytest.approx(0.02, rel=0.1))
    jax.tree.map(np.testing.assert_array_equal, made("none"), params)


@pytest.mark.parametrize(
    "fields, message",
    [
        (
            {"attention": "dense,strided(stride=13)"},
            "got stride=13, expected at most the length, 12",
        ),
        ({"attention": "bandit"}, "unknown attention pattern 'bandit'"),
        ({"score": "alibis"}, "unknown score change 'alibis' .did you mean 'alibi'"),
    ],
)
def test_a_specification_that_does_not_fit_stops_when_the_model_is_built(
    make_config, fields, message
):
    with pytest.raises(ValueError, match=message):
        GPT(make_config(**fields)).init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))


def lowered(config):
    """StableHLO of the gradient of a sum of logits, dropout on."""
    model = GPT(config)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]

    def loss(params, tokens):
        rngs = {"dropout": jax.random.key(0)}
        return model.apply({"params": params}, tokens, deterministic=False, rngs=rngs).sum()

    tokens = jax.ShapeDtypeStruct((2, 12), jnp.int32)
    return jax.jit(jax.grad(loss)).lower(params, tokens).as_text()


@pytest.mark.parametrize("remat", ["none", "block"])
def test_the_program_does_not_grow_with_depth(make_config, remat):
    fields = {"attention": "dense,banded(window=3)", "remat": remat, "residual_dropout": 0.1}
    unrolled, scanned, deep = (
        lowered(make_config(num_layers=layers, **fields)) for layers in (4, 12, 48)
    )
    assert len(deep) < 1.5 * len(unrolled)
    assert len(deep) < 1.01 * len(scanned)
    assert deep.count("dot_general") == scanned.count("dot_general") > 20
