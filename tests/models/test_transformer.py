import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.attention import scores
from gptjax.attention.patterns import Dense
from gptjax.models.gpt import GPT
from gptjax.models.layers import Block
from gptjax.models.transformer import Transformer

# A cycle of one layer; cycles and a remainder; a cycle longer than the stack.
LONG = "banded(window=2),banded(window=3),dense"


@pytest.mark.parametrize(
    "specification, num_layers, norm",
    [
        ("dense", 2, "post"),
        ("dense,banded(window=3)", 5, "pre"),
        pytest.param(LONG, 2, "pre", marks=pytest.mark.slow),
    ],
)
def test_the_scan_equals_a_plain_loop(
    make_config, init, tokens, logits, unrolled, monkeypatch, specification, num_layers, norm
):
    """The two cycles of five layers are a loop; of fewer layers XLA is given no loop."""
    if num_layers == 5:
        monkeypatch.setattr("gptjax.models.transformer.UNROLLED_LAYERS", 4)
    config = make_config(
        attention=specification,
        num_layers=num_layers,
        norm=norm,
        tied_embeddings=norm == "pre",
    )
    params = init(config)
    expected = unrolled(config, params, tokens)
    np.testing.assert_allclose(logits(config, params, tokens), expected, rtol=1e-5, atol=1e-5)


def starting(config):
    """Parameters that a model starts with."""
    token = jnp.zeros((1, 1), jnp.int32)
    return jax.device_get(jax.jit(GPT(config).init)(jax.random.key(3), token)["params"])


@pytest.mark.slow
def test_only_learned_tables_are_parameters_and_the_rest_starts_the_same(make_config):
    """Whatever the attention, the positions and what is done to scores."""
    plain = starting(make_config())
    assert plain["trunk"]["layers"]["attention"]["query"]["kernel"].shape == (2, 16, 2, 8)
    assert plain.pop("position_embedding").shape == (12, 16)
    sinusoids = starting(make_config(positions="sinusoidal", attention=LONG))
    jax.tree.map(np.testing.assert_array_equal, sinusoids, plain)
    score = "relative_bias(buckets=512,max_distance=1000)"
    rotary = starting(make_config(positions="rotary", score=score))
    table = rotary["trunk"].pop("relative_bias")
    assert (table.dtype, table.std()) == (jnp.float32, pytest.approx(0.02, rel=0.1))
    jax.tree.map(np.testing.assert_array_equal, rotary, plain)
    unordered = GPT(make_config(positions="none"))
    shapes = jax.eval_shape(unordered.init, jax.random.key(3), jnp.zeros((1, 1), jnp.int32))
    assert jax.tree.map(jnp.shape, shapes["params"]) == jax.tree.map(np.shape, plain)


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


@pytest.fixture
def wide(make_config):
    fields = {"num_layers": 8, "d_model": 64, "init_std": 0.05}
    return lambda scaled: make_config(scaled_residual_init=scaled, **fields)


def test_layers_start_apart_and_residual_projections_narrower(wide):
    params = starting(wide(True))
    for part, name in KERNELS:
        leaf = params["trunk"]["layers"][part][name]
        kernel = leaf["kernel"]
        std = 0.05 / 4 if (part, name) in RESIDUAL else 0.05  # 4 = sqrt(2 layers)
        assert kernel.std() == pytest.approx(std, rel=0.03)
        assert np.abs(np.corrcoef(kernel.reshape(8, -1)) - np.eye(8)).max() < 0.1
        assert not leaf["bias"].any()
    for name in ("token_embedding", "position_embedding"):
        assert params[name].std() == pytest.approx(0.05, rel=0.1)


def test_residual_projections_start_like_others_unless_scaled(wide):
    block, x = Block(wide(False), Dense()), jnp.zeros((1, 1, 64))
    params = jax.device_get(jax.jit(block.init)(jax.random.key(3), x)["params"])
    for part, name in KERNELS:
        assert params[part][name]["kernel"].std() == pytest.approx(0.05, rel=0.03)


def with_remat(config):
    """A sum of squared hidden states, with dropout, and its gradient."""
    trunk = Transformer(config)

    def loss(params, x):
        rngs = {"dropout": jax.random.key(5)}
        hidden, _ = trunk.apply({"params": params}, x, deterministic=False, rngs=rngs)
        return jnp.square(hidden).sum()

    return jax.jit(jax.value_and_grad(loss))


def assert_remat_changes_nothing(make_config, init, policy, **fields):
    plain, remat = (make_config(remat=kind, **fields) for kind in ("none", policy))
    params = init(plain)["trunk"]
    x = np.random.default_rng(0).normal(size=(2, 12, 16)).astype(np.float32)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        with_remat(remat)(params, x),
        with_remat(plain)(params, x),
    )


@pytest.mark.parametrize("policy", ["block", pytest.param("dots", marks=pytest.mark.slow)])
def test_remat_changes_neither_loss_nor_gradients(make_config, init, policy):
    """Dropout is drawn again alike."""
    assert_remat_changes_nothing(make_config, init, policy, residual_dropout=0.1, num_layers=1)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["block", "dots"])
def test_remat_changes_no_gradient_of_a_cycle_and_a_remainder(make_config, init, policy):
    fields = {"num_layers": 3, "attention": "dense,banded(window=3)", "attention_dropout": 0.1}
    assert_remat_changes_nothing(make_config, init, policy, residual_dropout=0.1, **fields)


def deep(make_config, remat):
    """A sum of squared logits of twelve layers, which are scanned, and shapes to call it with."""
    config = make_config(num_layers=12, context_length=64, d_model=64, num_heads=4, remat=remat)
    tokens = jax.ShapeDtypeStruct((4, 64), jnp.int32)
    params = jax.eval_shape(GPT(config).init, jax.random.key(0), tokens)["params"]

    def loss(params, tokens):
        return jnp.square(GPT(config).apply({"params": params}, tokens)).mean()

    return loss, params, tokens


ACTIVATION = 12 * 4 * 64 * 64 * 4  # bytes of an array [B, T, E], over all layers


def test_what_is_computed_again_is_not_kept(make_config):
    """What the backward pass is given, as JAX traces it: a block keeps its input, of 1 + 9."""

    def kept(remat):
        loss, params, tokens = deep(make_config, remat)
        pullback = jax.eval_shape(
            lambda params, tokens: jax.vjp(loss, params, tokens)[1], params, tokens
        )
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pullback))

    none, dots, block = map(kept, ("none", "dots", "block"))
    assert none - dots > 2 * ACTIVATION
    assert dots - block > 6 * ACTIVATION


@pytest.mark.parametrize("remat", ["none", "block"])
def test_scanned_layers_keep_no_copies_of_their_parameters(make_config, remat):
    """What the gradient reads of a layer it reads in the stack; only activations are put aside."""
    loss, params, tokens = deep(make_config, remat)
    program = jax.make_jaxpr(jax.grad(loss))(params, tokens)
    forward = next(each for each in program.eqns if each.primitive.name == "scan")
    kept = {each.aval.shape for each in forward.outvars}
    assert (12, 4, 64, 64) in kept
    assert not kept & {leaf.shape for leaf in jax.tree.leaves(params["trunk"]["layers"])}


@pytest.mark.slow
def test_what_is_computed_again_takes_no_memory(make_config):
    """As XLA plans it, for layers that are scanned: a block keeps its input, of 1 + 9 arrays."""

    def temporaries(remat):
        loss, params, tokens = deep(make_config, remat)
        compiled = jax.jit(jax.grad(loss)).lower(params, tokens).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    none, dots, block = map(temporaries, ("none", "dots", "block"))
    assert none - dots > 2 * ACTIVATION
    assert dots - block > 6 * ACTIVATION


def test_all_layers_share_the_relative_bias(make_config, init, monkeypatch):
    """Its gradient through the scan, with remat, is the sum of those of tables of each layer."""
    monkeypatch.setattr("gptjax.models.transformer.UNROLLED_LAYERS", 0)
    spec = "relative_bias(buckets=6,max_distance=8)"
    config = make_config(score=spec, norm="post", remat="block")
    params = init(config)["trunk"]
    shared = params["relative_bias"]
    assert shared.shape == (6, 2)
    x = np.random.default_rng(0).normal(size=(2, 12, 16)).astype(np.float32)

    def scanned(table):
        hidden, _ = Transformer(config).apply({"params": params | {"relative_bias": table}}, x)
        return jnp.square(hidden - x).mean()

    def looped(tables):
        hidden = x
        for i in range(2):
            layer = jax.tree.map(lambda leaf, i=i: leaf[i], params["layers"])
            score = scores.bind(scores.parse(spec), 2, {"relative_bias": tables[i]})
            hidden, _ = Block(config, Dense()).apply({"params": layer}, hidden, score=score)
        return jnp.square(hidden - x).mean()

    of_each = jax.jit(jax.grad(looped))(jnp.tile(shared, (2, 1, 1)))
    assert (np.abs(of_each).max((1, 2)) > 0).all()
    np.testing.assert_allclose(
        jax.jit(jax.grad(scanned))(shared), of_each.sum(0), rtol=1e-4, atol=1e-6
    )


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
        jax.eval_shape(
            GPT(make_config(**fields)).init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32)
        )


def lowered(config):
    """StableHLO of the gradient of a sum of hidden states, dropout on."""
    trunk, x = Transformer(config), jax.ShapeDtypeStruct((2, 12, 16), jnp.float32)
    params = jax.eval_shape(trunk.init, jax.random.key(0), x)["params"]

    def loss(params, x):
        rngs = {"dropout": jax.random.key(0)}
        return trunk.apply({"params": params}, x, deterministic=False, rngs=rngs)[0].sum()

    return jax.jit(jax.grad(loss)).lower(params, x).as_text()


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["none", pytest.param("block", marks=pytest.mark.slow)])
def test_the_program_does_not_grow_with_depth(make_config, remat):
    fields = {"attention": "dense,banded(window=3)", "remat": remat, "residual_dropout": 0.1}
    unrolled, scanned, deep = (
        lowered(make_config(num_layers=layers, **fields)) for layers in (4, 12, 48)
    )
    assert len(deep) < 1.5 * len(unrolled)
    assert len(deep) < 1.01 * len(scanned)
    assert deep.count("dot_general") == scanned.count("dot_general") > 20
