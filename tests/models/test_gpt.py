import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.alignment.reward_model import RewardModel
from gptjax.config import ModelConfig
from gptjax.models.gpt import GPT
from gptjax.models.transformer import Transformer, init_decoding


def test_logits_have_the_true_vocabulary_in_float32(make_config, init, tokens):
    config = make_config()
    made = jax.eval_shape(GPT(config).apply, {"params": init(config)}, tokens)
    assert (made.shape, made.dtype) == ((2, 12, 53), jnp.float32)


def test_a_configuration_is_resolved_in_a_copy():
    config = ModelConfig(num_heads=2, d_model=16)
    for module in (GPT, Transformer, RewardModel):
        assert dataclasses.asdict(module(config).config) == dataclasses.asdict(config) | {
            **{"d_head": 8, "d_value": 8, "num_kv_heads": 2, "d_ff": 64}
        }
    assert config == ModelConfig(num_heads=2, d_model=16)
    with pytest.raises(ValueError, match=r"^config.model.d_model: got 15 with 2 heads, expected a"):
        GPT(ModelConfig(num_heads=2, d_model=15))
    with pytest.raises(ValueError, match=r"^config.model.norm: got 'prae', expected one of pre"):
        GPT(ModelConfig(norm="prae"))


def test_64_bits_are_refused_where_a_model_is_made_and_where_it_is_used(make_config, init, tokens):
    config = make_config()
    before, params = GPT(config), init(config)
    used = jax.jit(before.apply).eval_shape({"params": params}, tokens)
    message = r"^JAX_ENABLE_X64: got true, .* expected it unset"
    with jax.enable_x64(True):
        for use in (
            *(lambda made=made: made(config) for made in (GPT, Transformer, RewardModel)),
            lambda: before.init(jax.random.key(0), tokens),
            lambda: jax.jit(before.apply).eval_shape({"params": params}, tokens),
        ):
            with pytest.raises(ValueError, match=message):
                use()
    assert jax.jit(before.apply).eval_shape({"params": params}, tokens) == used


@pytest.mark.parametrize("tied", [True, False])
def test_padded_logits_take_no_probability(make_config, init, tied):
    config = make_config(tied_embeddings=tied)
    params = init(config)
    hidden = jax.random.normal(jax.random.key(2), (1, 2, 16))
    apply = jax.jit(GPT(config).apply, static_argnames="method")
    padded = apply({"params": params}, hidden, method=GPT.logits)
    assert padded.shape == (1, 2, 64)
    assert (np.asarray(padded[..., 53:]) == -np.inf).all()
    table = np.asarray(params["token_embedding"] if tied else params["head"]["kernel"])
    expected = np.asarray(hidden) @ table[:53].T
    np.testing.assert_allclose(padded[..., :53], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_earlier_logits_do_not_depend_on_later_tokens(make_config, init, tokens, logits, norm):
    """Of thirteen rows the first is as given; the others have another embedding at one place."""
    config = make_config(norm=norm, attention="dense,banded(window=3)")
    params = init(config)
    table = np.asarray(params["token_embedding"])
    embeddings = np.tile(table[np.asarray(tokens[:1])], (13, 1, 1))
    embeddings[np.arange(1, 13), np.arange(12)] += table[50]
    given, *others = logits(config, params, embeddings)
    # [query, key]: how the logits of a position change with the embedding at another.
    influence = np.abs(np.stack(others, 1) - given[:, None]).max(-1)
    assert (influence[np.triu_indices(12, 1)] == 0).all()
    assert (influence[np.tril_indices(12)] > 0).all()


@pytest.mark.parametrize(
    "dtype, tolerance", [("float32", 0), pytest.param("bfloat16", 0.1, marks=pytest.mark.slow)]
)
def test_embeddings_may_be_given_for_tokens(make_config, init, tokens, logits, dtype, tolerance):
    config = make_config(dtype=dtype)
    params = init(config)
    embeddings = np.asarray(params["token_embedding"])[np.asarray(tokens)].astype(dtype)
    given, ours = (logits(config, params, inputs) for inputs in (embeddings, tokens))
    np.testing.assert_allclose(given, ours, atol=tolerance)


def test_more_tokens_than_the_context_are_refused(make_config, init):
    config = make_config()
    with pytest.raises(ValueError, match="tokens: got 13 a row, expected at most 12"):
        GPT(config).apply({"params": init(config)}, np.zeros((1, 13), np.int32))


def test_positions_pick_the_position_embedding(make_config, init, tokens, logits):
    config = make_config()
    params = init(config)
    order = np.array([3, 0, 11, 7, 7, 2, 1, 5, 9, 10, 4, 6])
    shuffled = params | {"position_embedding": np.asarray(params["position_embedding"])[order]}
    given = logits(config, params, tokens, positions=np.stack([order] * 2))
    np.testing.assert_allclose(given, logits(config, shuffled, tokens), rtol=1e-6, atol=1e-6)


def test_bfloat16_computes_close_to_float32(make_config, init, tokens, logits):
    config, half = make_config(), make_config(dtype="bfloat16")
    params = init(config)
    exact, rounded = logits(config, params, tokens), logits(half, params, tokens)
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(rounded - exact).max() < 0.03 * np.abs(exact).max()


def test_bfloat16_is_the_dtype_of_activations_and_not_of_gradients(make_config, init, tokens):
    config = make_config(dtype="bfloat16", remat="block", residual_dropout=0.1)
    params = init(config)

    def loss(params):
        rngs = {"dropout": jax.random.key(0)}
        hidden, _ = GPT(config).apply(
            {"params": params}, tokens, deterministic=False, rngs=rngs, method=GPT.hidden
        )
        assert hidden.dtype == jnp.bfloat16
        return GPT(config).apply({"params": params}, hidden, method=GPT.logits).sum()

    gradients = jax.eval_shape(jax.grad(loss), params)
    assert {g.dtype for g in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}


def test_a_cache_refuses_segments_and_a_prefix_in_pieces(make_config, init, tokens):
    config = make_config(attention="prefix(length=5)", num_layers=1, positions="none")
    cache = init_decoding(config, 2, 12, jnp.float32)
    segments = np.zeros((2, 12), np.int32)

    def decode(cache, part, **context):
        at = np.broadcast_to(np.arange(12, dtype=np.int32)[part], tokens[:, part].shape)
        options = {"positions": at, "cache": cache, "method": GPT.decode, **context}
        return GPT(config).apply({"params": init(config)}, tokens[:, part], **options)

    with pytest.raises(ValueError, match="cache: got one with segment_ids"):
        jax.eval_shape(lambda: decode(cache, np.s_[:], segment_ids=segments))
    filled = np.where(np.arange(12) < 3, np.arange(12), np.asarray(cache[0].positions))
    begun = dataclasses.replace(cache[0], positions=filled.astype(np.int32))
    with pytest.raises(
        ValueError, match=r"from 3 on in a chunk of their own, but prefix\(length=5\)"
    ):
        decode((begun,), np.s_[3:6])
