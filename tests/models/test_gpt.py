import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.models.gpt import GPT
from gptjax.models.transformer import init_decoding


def test_logits_have_the_true_vocabulary_in_float32(make_config, init, tokens):
    config = make_config()
    made = jax.eval_shape(GPT(config).apply, {"params": init(config)}, tokens)
    assert (made.shape, made.dtype) == ((2, 12, 53), jnp.float32)


@pytest.mark.parametrize("tied", [True, False])
def test_padded_logits_take_no_probability(make_config, init, tied):
    config = make_config(tied_embeddings=tied)
    params = init(config)
    hidden = jax.random.normal(jax.random.key(2), (1, 2, 16))
    padded = GPT(config).apply({"params": params}, hidden, method=GPT.logits)
    assert padded.shape == (1, 2, 64)
    assert (np.asarray(padded[..., 53:]) == -np.inf).all()
    table = np.asarray(params["token_embedding"] if tied else params["head"]["kernel"])
    expected = np.asarray(hidden) @ table[:53].T
    np.testing.assert_allclose(padded[..., :53], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_earlier_logits_do_not_depend_on_later_tokens(make_config, init, tokens, norm):
    config = make_config(norm=norm, attention="dense,banded(window=3)")
    params = init(config)

    @jax.jit
    def jacobian(embeddings):
        def projected(embeddings):
            logits = GPT(config).apply({"params": params}, embeddings)[0]
            return logits @ jax.random.normal(jax.random.key(0), (53,))

        return jax.jacobian(projected)(embeddings)[:, 0]

    # [query, key]: how the logits of a position change with the embedding at another.
    influence = np.abs(jacobian(params["token_embedding"][tokens[:1]])).max(-1)
    assert (influence[np.triu_indices(12, 1)] == 0).all()
    assert (influence[np.tril_indices(12)] > 0).all()


@pytest.mark.parametrize("dtype, tolerance", [("float32", 0), ("bfloat16", 0.1)])
def test_embeddings_may_be_given_for_tokens(make_config, init, tokens, logits, dtype, tolerance):
    config = make_config(dtype=dtype)
    params = init(config)
    embeddings = params["token_embedding"][tokens].astype(dtype)
    given, ours = (logits(config, params, inputs) for inputs in (embeddings, tokens))
    np.testing.assert_allclose(given, ours, atol=tolerance)


def test_more_tokens_than_the_context_are_refused(make_config, init):
    config = make_config()
    with pytest.raises(ValueError, match="tokens: got 13 a row, expected at most 12"):
        GPT(config).apply({"params": init(config)}, jnp.zeros((1, 13), jnp.int32))


@pytest.mark.parametrize(
    "positions, score",
    [
        ("learned", "none"),
        ("sinusoidal", "soft_cap(cap=2.0)"),
        ("rotary", "none"),
        ("none", "relative_bias(buckets=6,max_distance=8),alibi"),
    ],
)
def test_packed_documents_equal_separate_ones(make_config, init, tokens, logits, positions, score):
    fields = {"positions": positions, "score": score, "num_layers": 2}
    config = make_config(attention="dense,banded(window=3)", **fields)
    params = init(config)
    positions = jnp.array([[*range(5), *range(6), 0], [*range(12)]])
    segments = jnp.array([[0] * 5 + [1] * 6 + [-1], [4] * 12])
    packed = logits(config, params, tokens, positions=positions, segment_ids=segments)
    first, second = tokens[0, :5], tokens[0, 5:11]
    apart = jnp.zeros((3, 12), jnp.int32)  # each at the start of a row of its own
    apart = apart.at[0, :5].set(first).at[1, :6].set(second).at[2].set(tokens[1])
    alone = logits(config, params, apart)
    for together, separate in (
        (packed[0, :5], alone[0, :5]),
        (packed[0, 5:11], alone[1, :6]),
        (packed[1], alone[2]),
    ):
        np.testing.assert_allclose(together, separate, rtol=1e-5, atol=1e-5)


def test_positions_pick_the_position_embedding(make_config, init, tokens, logits):
    config = make_config()
    params = init(config)
    order = jnp.array([3, 0, 11, 7, 7, 2, 1, 5, 9, 10, 4, 6])
    shuffled = params | {"position_embedding": params["position_embedding"][order]}
    given = logits(config, params, tokens, positions=jnp.stack([order] * 2))
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
    config = make_config(attention="dense,prefix(length=5)")
    cache = init_decoding(config, 2, 12, jnp.float32)

    def decode(cache, part, **context):
        at = jnp.broadcast_to(jnp.arange(12)[part], tokens[:, part].shape)
        options = {"positions": at, "cache": cache, "method": GPT.decode, **context}
        return GPT(config).apply({"params": init(config)}, tokens[:, part], **options)

    with pytest.raises(ValueError, match="cache: got one with segment_ids"):
        decode(cache, np.s_[:3], segment_ids=jnp.zeros((2, 3), jnp.int32))
    _, begun = decode(cache, np.s_[:3])
    with pytest.raises(
        ValueError, match=r"from 3 on in a chunk of their own, but prefix\(length=5\)"
    ):
        decode(begun, np.s_[3:6])
