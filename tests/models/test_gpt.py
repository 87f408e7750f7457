import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.models.gpt import GPT

SPECIFICATIONS = (
    "dense",
    "dense,banded(window=3)",
    "banded(window=2),banded(window=4),dense,dense",
)


def test_logits_have_the_true_vocabulary_in_float32(make_config, init, tokens):
    config = make_config()
    logits = GPT(config).apply({"params": init(config)}, tokens)
    assert logits.shape == (2, 12, 53) and logits.dtype == jnp.float32
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("tied", [True, False])
def test_padded_logits_take_no_probability(make_config, init, tokens, tied):
    config = make_config(tied_embeddings=tied)
    params = init(config)
    hidden = jax.random.normal(jax.random.key(2), (1, 2, 16))
    padded = GPT(config).apply({"params": params}, hidden, method=GPT.logits)
    assert padded.shape == (1, 2, 64)
    assert (np.asarray(padded[..., 53:]) == -np.inf).all()
    assert np.isfinite(padded[..., :53]).all()
    table = params["token_embedding"] if tied else params["head"]["kernel"]
    np.testing.assert_allclose(padded[..., :53], hidden @ table[:53].T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_earlier_logits_do_not_depend_on_later_tokens(make_config, init, tokens, norm):
    config = make_config(norm=norm, attention="dense,banded(window=3)")
    params = init(config)
    embeddings = params["token_embedding"][tokens[:1]]

    def logits(embeddings):
        return GPT(config).apply({"params": params}, embeddings)[0].sum(-1)

    # [query, key]: how the logits of a position change with the embedding at another.
    influence = np.abs(jax.jacobian(logits)(embeddings)[:, 0]).max(-1)
    assert (influence[np.triu_indices(12, 1)] == 0).all()
    assert (influence[np.tril_indices(12)] > 0).all()


def test_embeddings_may_be_given_for_tokens(make_config, init, tokens):
    for dtype in ("float32", "bfloat16"):
        config = make_config(dtype=dtype)
        params = init(config)
        embeddings = params["token_embedding"][tokens].astype(dtype)
        given = GPT(config).apply({"params": params}, embeddings)
        ours = GPT(config).apply({"params": params}, tokens)
        np.testing.assert_allclose(given, ours, atol=0.05 if dtype == "bfloat16" else 0)


def test_more_tokens_than_the_context_are_refused(make_config, init):
    config = make_config()
    with pytest.raises(ValueError, match="tokens: got 13 a row, expected at most 12"):
        GPT(config).apply({"params": init(config)}, jnp.zeros((1, 13), jnp.int32))


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_packed_documents_equal_separate_ones(make_config, init, tokens, specification):
    config = make_config(attention=specification)
    params = init(config)
    model = GPT(config)
    apart = [
        model.apply({"params": params}, document)
        for document in (tokens[:1, :5], tokens[:1, 5:11], tokens[1:, :12])
    ]
    positions = jnp.array([[*range(5), *range(6), 0], [*range(12)]])
    segments = jnp.array([[0] * 5 + [1] * 6 + [-1], [4] * 12])
    packed = model.apply({"params": params}, tokens, positions=positions, segment_ids=segments)
    together = [packed[:1, :5], packed[:1, 5:11], packed[1:]]
    for one, other in zip(together, apart, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_positions_pick_the_position_embedding(make_config, init, tokens):
    config = make_config()
    params = init(config)
    order = jnp.array([3, 0, 11, 7, 7, 2, 1, 5, 9, 10, 4, 6])
    shuffled = params | {"position_embedding": params["position_embedding"][order]}
    np.testing.assert_array_equal(
        GPT(config).apply({"params": params}, tokens, positions=jnp.stack([order] * 2)),
        GPT(config).apply({"params": shuffled}, tokens),
    )


def test_bfloat16_computes_close_to_float32(make_config, init, tokens):
    config, half = make_config(), make_config(dtype="bfloat16")
    params = init(config)
    hidden, _ = GPT(half).apply({"params": params}, tokens, method=GPT.hidden)
    assert hidden.dtype == jnp.bfloat16
    logits = GPT(half).apply({"params": params}, tokens)
    exact = GPT(config).apply({"params": params}, tokens)
    assert logits.dtype == jnp.float32
    assert 0 < np.abs(logits - exact).max() < 0.03 * np.abs(exact).max()
    gradients = jax.grad(lambda p: GPT(half).apply({"params": p}, tokens).sum())(params)
    assert all(g.dtype == jnp.float32 and np.isfinite(g).all() for g in jax.tree.leaves(gradients))
