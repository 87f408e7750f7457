"""Positions against complex numbers in NumPy, the papers' formulas, and transformers."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.models.gpt import GPT
from gptjax.models.positions import rotary_frequencies, rotate, rotation, sinusoidal

NTK = {"rotary_scaling": "ntk", "rotary_factor": 4.0}
YARN = {"rotary_scaling": "yarn", "rotary_factor": 4.0}


@pytest.fixture
def rotary(make_config):
    def rotary(**fields):
        return make_config(positions="rotary", **{"d_head": 16, "context_length": 64} | fields)

    return rotary


@functools.partial(jax.jit, static_argnums=0)
def _turned(rotation_of, x, positions):
    return rotate(x, rotation_of(positions))


def turned(config, x, positions):
    return _turned(functools.partial(rotation, config), x, positions)


waves = jax.jit(sinusoidal, static_argnums=1)


def test_sinusoids_are_the_papers():
    ours = np.asarray(waves(np.array([[0, 1, 7], [3, 300, 12]]), 6))
    assert (ours.shape, ours.dtype) == ((2, 3, 6), jnp.float32)
    for b, t in np.ndindex(2, 3):
        p = [[0, 1, 7], [3, 300, 12]][b][t]
        angles = [p / 10000 ** (2 * i / 6) for i in range(3)]
        expected = [f(angle) for angle in angles for f in (math.sin, math.cos)]
        np.testing.assert_allclose(ours[b, t], expected, atol=3e-5)


def test_rotation_is_a_product_of_complex_numbers(rotary):
    config = rotary(rotary_base=100.0)
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 16)).astype(np.float32)
    positions = np.array([[0, 1, 2, 40, 63], [9, 8, 7, 0, 5]])
    ours = np.asarray(turned(config, x, positions))
    pairs = x[..., :8].astype(np.float64) + 1j * x[..., 8:].astype(np.float64)
    angles = positions[:, :, None, None] * 100.0 ** (-np.arange(8) / 8)
    product = pairs * np.exp(1j * angles)
    np.testing.assert_allclose(ours[..., :8] + 1j * ours[..., 8:], product, atol=2e-5)


def test_rotated_products_depend_on_the_distance_alone(rotary):
    q, k = np.random.default_rng(0).normal(size=(2, 1, 1, 1, 16)).astype(np.float32)
    everywhere, heads = np.arange(64)[None], np.stack([q, k], axis=3)[:, :, 0]
    by_head = np.asarray(turned(rotary(), np.tile(heads, (1, 64, 1, 1)), everywhere))[0]
    products = by_head[:, 0] @ by_head[:, 1].T
    for distance in (0, 1, 13):
        at = np.diagonal(products, -distance)
        np.testing.assert_allclose(at, at[0], atol=1e-5)
    assert abs(products[13, 0] - products[0, 13]) > 1e-2


def test_bfloat16_heads_turn_in_float32(rotary):
    x = np.random.default_rng(0).normal(size=(1, 64, 2, 16)).astype(jnp.bfloat16)
    at = np.arange(64)[None]
    ours, exact = (turned(rotary(), given, at) for given in (x, x.astype(np.float32)))
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_array_equal(ours, np.asarray(exact).astype(jnp.bfloat16))


def rotated(config, positions):
    return jax.jit(functools.partial(rotation, config))(positions)


def test_interpolation_moves_positions_closer_together(rotary):
    config = rotary(rotary_scaling="interpolation", rotary_factor=4.0)
    interpolated = rotated(config, np.array([[0, 4, 40]]))
    plain = rotated(rotary(), np.array([[0, 1, 10]]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), interpolated, plain)


def test_yarn_keeps_fast_pairs_interpolates_slow_ones_and_sharpens(rotary):
    """Section 3.2: by how often a pair turns in the original context."""
    original = 4096
    config = rotary(d_head=128, context_length=4 * original, **YARN)
    assert config.rotary_original_context == original
    plain, _ = rotary_frequencies(rotary(d_head=128))
    ours, factor = rotary_frequencies(config)
    assert factor == pytest.approx(0.1 * math.log(4) + 1)
    turns = original * plain / (2 * np.pi)
    shares = ours / plain
    # The ramp ends within a pair of the bounds, where turns change by a seventh.
    np.testing.assert_array_equal(shares[turns > 32 * 1.16], 1)
    np.testing.assert_allclose(shares[turns < 1 / 1.16], 1 / 4, rtol=1e-6)
    assert (np.diff(shares) <= 0).all() and ((shares > 0.3) & (shares < 0.9)).sum() > 5
    cos, _ = rotated(config, np.zeros((1, 1), np.int32))
    np.testing.assert_allclose(cos, factor, rtol=1e-6)


FIELDS = [
    {},
    {"rotary_base": 500.0, "d_head": 6},
    {"rotary_scaling": "interpolation", "rotary_factor": 3.5},
    NTK,
    {**YARN, "context_length": 8192},
    {**YARN, "d_head": 128, "rotary_base": 5e5, "rotary_original_context": 1000},
    {**YARN, "rotary_factor": 32.0, "rotary_original_context": 40},
]


@pytest.mark.parametrize("fields", FIELDS)
def test_frequencies_are_those_of_the_papers(rotary, fields):
    """Pair by pair; the ramp of YaRN is that of its authors' code, in the index of the pair."""
    config = rotary(**fields)
    size, base, scale = config.d_head, config.rotary_base, config.rotary_factor
    expected = [base ** (-2 * i / size) for i in range(size // 2)]
    if config.rotary_scaling == "interpolation":
        expected = [frequency / scale for frequency in expected]
    if config.rotary_scaling == "ntk":  # the fastest pair as it was, the slowest interpolated
        last = size // 2 - 1
        expected = [frequency / scale ** (i / last) for i, frequency in enumerate(expected)]
    if config.rotary_scaling == "yarn":
        # Pair i turns L base^(-2i/D) / 2 pi times: 32 times at `first`, once at `last`.
        per_pair, turns = math.log(base) * 2 / size, config.rotary_original_context / (2 * math.pi)
        first = max(0, math.floor(math.log(turns / 32) / per_pair))
        last = min(size - 1, math.ceil(math.log(turns) / per_pair))
        for i, frequency in enumerate(expected):
            done = float(i > first) if first == last else (i - first) / (last - first)
            done = min(1.0, max(0.0, done))
            expected[i] = frequency * (1 - done) + frequency / scale * done
    ours, factor = rotary_frequencies(config)
    np.testing.assert_allclose(ours, expected, rtol=2e-6)
    sharpened = 0.1 * math.log(scale) + 1 if config.rotary_scaling == "yarn" else 1
    assert factor == pytest.approx(sharpened)


@pytest.mark.slow
@pytest.mark.parametrize("fields", [fields for fields in FIELDS if fields is not NTK])
def test_frequencies_are_those_of_transformers(rotary, fields):
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    ropes = pytest.importorskip("transformers.modeling_rope_utils")
    config = rotary(**fields)
    kind = {"none": "default", "interpolation": "linear"}.get(config.rotary_scaling, "yarn")
    parameters = {"rope_type": kind, "rope_theta": config.rotary_base}
    if kind != "default":
        parameters["factor"] = config.rotary_factor
    if kind == "yarn":
        parameters["original_max_position_embeddings"] = config.rotary_original_context
    theirs = transformers.LlamaConfig(
        hidden_size=2 * config.d_head,
        num_attention_heads=2,
        max_position_embeddings=config.context_length,
        rope_parameters=parameters,
    )
    if kind == "default":
        llama = pytest.importorskip("transformers.models.llama.modeling_llama")
        compute = llama.LlamaRotaryEmbedding.compute_default_rope_parameters
    else:
        compute = ropes.ROPE_INIT_FUNCTIONS[kind]
    expected, expected_factor = compute(theirs, device="cpu")
    ours, factor = rotary_frequencies(config)
    np.testing.assert_allclose(ours, expected.numpy(), rtol=2e-6)
    assert factor == pytest.approx(expected_factor)


@pytest.mark.slow
def test_pairs_are_those_of_llama(rotary):
    torch = pytest.importorskip("torch")
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 16)).astype(np.float32)
    cos, sin = rotation(rotary(), jnp.arange(5)[None])
    whole = [torch.tensor(np.tile(np.asarray(part)[:, :, 0], 2)) for part in (cos, sin)]
    theirs, _ = llama.apply_rotary_pos_emb(*[torch.tensor(x)] * 2, *whole, unsqueeze_dim=2)
    np.testing.assert_allclose(rotate(jax.device_put(x), (cos, sin)), theirs.numpy(), atol=1e-6)


ORDERED = ["learned", "sinusoidal", "rotary"]


@pytest.mark.parametrize("kind", ORDERED)
def test_given_positions_are_what_a_model_uses(make_config, init, tokens, logits, kind):
    config = make_config(positions=kind, context_length=100, num_layers=1)
    params = init(config)
    plain = logits(config, params, tokens)
    given = np.tile(np.arange(12), (2, 1))
    np.testing.assert_allclose(logits(config, params, tokens, positions=given), plain, atol=1e-6)
    other = logits(config, params, tokens, positions=np.minimum(given, 3))
    np.testing.assert_allclose(other[:, :4], plain[:, :4], atol=1e-5)
    assert (np.abs(other - plain)[:, 5:].max(-1) > 1e-4).all()


def test_rotations_see_distances_and_the_others_places(make_config, init, tokens, logits):
    for kind in ORDERED:
        config = make_config(positions=kind, context_length=100, num_layers=1)
        params = init(config)
        near, far = (
            logits(config, params, tokens, positions=np.tile(np.arange(12) + start, (2, 1)))
            for start in (0, 70)
        )
        if kind == "rotary":
            np.testing.assert_allclose(far, near, atol=1e-4)
        else:
            assert np.abs(far - near).max() > 1e-2


def test_without_positions_a_set_of_earlier_tokens_is_all_that_is_seen(
    make_config, init, tokens, logits
):
    config = make_config(positions="none", num_layers=1)
    params = init(config)
    shuffled = np.asarray(tokens)[:, [4, 2, 0, 1, 3, *range(5, 12)]]
    last = logits(config, params, tokens)[:, 5:]
    np.testing.assert_allclose(logits(config, params, shuffled)[:, 5:], last, atol=1e-5)
    rotary = make_config(positions="rotary", num_layers=1)
    turned = [logits(rotary, params, x)[:, 5:] for x in (tokens, shuffled)]
    assert np.abs(turned[0] - turned[1]).max() > 1e-3


def test_sinusoids_are_added_to_embeddings(make_config, init, tokens, logits):
    learned = make_config(num_layers=1)
    sinusoids = make_config(num_layers=1, positions="sinusoidal")
    params = init(sinusoids)
    table = {"position_embedding": np.asarray(waves(np.arange(12)[None], 16))[0]}
    expected = logits(learned, params | table, tokens)
    np.testing.assert_allclose(logits(sinusoids, params, tokens), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [*ORDERED, "none"])
def test_a_position_past_the_context_is_refused_where_it_is_known(make_config, init, tokens, kind):
    config = make_config(positions=kind)
    params = init(config)
    past = np.arange(1, 13)[None]
    apply = GPT(config).apply
    for call in (apply, jax.jit(lambda *x, positions: apply(*x, positions=past))):
        with pytest.raises(ValueError, match="positions: got 12, expected less than 12"):
            call({"params": params}, tokens, positions=past)


def test_a_position_past_a_learned_table_gives_no_number_under_jit(
    make_config, init, tokens, logits
):
    config = make_config()
    past = jnp.tile(jnp.arange(1, 13), (2, 1))
    made = logits(config, init(config), tokens, positions=past)
    assert np.isnan(made[:, -1]).all()
