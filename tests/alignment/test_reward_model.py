"""The reward model against one text at a time, and shared prompts against whole texts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.alignment.reward_model import (
    RewardModel,
    from_language_model,
    normalisation,
    rescaled,
)
from gptjax.models.gpt import GPT
from tests.support.once import once
from tests.support.params import random_params

VOCAB, PROMPT, ANSWER = 50, 9, 7
slow = pytest.mark.slow


@once
def _params(config):
    gpt = random_params(GPT(config), np.zeros((1, 1), np.int32))
    return gpt, from_language_model(RewardModel(config), gpt, jax.random.key(1))


def make_params(config):
    """Parameters of a `GPT`, and of the reward model that starts from it."""
    return jax.tree.map(lambda leaf: leaf, _params(config))


@once
def compiled(config, method):
    """A method of the reward model."""
    return jax.jit(functools.partial(RewardModel(config).apply, method=method))


def texts_of(seed=0, rows=3, count=4):
    """Prompts and answers of all lengths, whole texts of them, and what stands for padding."""
    rng = np.random.default_rng(seed)
    prompts = rng.integers(VOCAB, size=(rows, PROMPT), dtype=np.int32)
    answers = rng.integers(VOCAB, size=(rows, count, ANSWER), dtype=np.int32)
    prompt_lengths = np.array([PROMPT, 1, 5], np.int32)[:rows]
    answer_lengths = rng.integers(1, ANSWER + 1, size=(rows, count), dtype=np.int32)
    answer_lengths[0, 0], answer_lengths[1, 1], answer_lengths[2, 0] = ANSWER, 1, 0
    tokens = rng.integers(VOCAB, size=(rows, count, PROMPT + ANSWER), dtype=np.int32)
    lengths = prompt_lengths[:, None] + answer_lengths
    for b, k in np.ndindex(rows, count):
        text = [*prompts[b, : prompt_lengths[b]], *answers[b, k, : answer_lengths[b, k]]]
        tokens[b, k, : len(text)] = text
    return (prompts, prompt_lengths, answers, answer_lengths), tokens, lengths


def hidden_of(config, gpt, text):
    """The hidden state of the last token of one text, by `GPT` alone."""
    hidden = np.asarray(_hidden(config)({"params": gpt}, np.array([text]))[0], np.float64)
    return hidden[0, -1]


@once
def _hidden(config):
    return jax.jit(functools.partial(GPT(config).apply, method=GPT.hidden))


@pytest.mark.parametrize(
    "fields", [{}, pytest.param({"attention": "prefix(length=6)"}, marks=pytest.mark.slow)]
)
def test_a_reward_is_the_head_on_the_last_real_token(make_model, fields):
    config = make_model(**fields)
    gpt, params = make_params(config)
    params["scalar_head"]["bias"] = jnp.float32(0.25)
    _, tokens, lengths = texts_of()
    tokens, lengths = tokens.reshape(-1, tokens.shape[-1])[::5], lengths.ravel()[::5]
    rewards = compiled(config, None)({"params": params}, tokens, lengths)
    assert rewards.dtype == jnp.float32
    kernel = np.asarray(params["scalar_head"]["kernel"], np.float64)
    want = [
        hidden_of(config, gpt, text[:length]) @ kernel + 0.25
        for text, length in zip(tokens, lengths, strict=True)
    ]
    np.testing.assert_allclose(rewards, want, atol=1e-5)


def test_values_at_the_last_token_are_the_rewards_wherever_padding_stands(make_model):
    config = make_model()
    _, params = make_params(config)
    _, tokens, lengths = texts_of()
    tokens, lengths = tokens.reshape(-1, tokens.shape[-1]), lengths.ravel()
    rewards = compiled(config, None)({"params": params}, tokens, lengths)
    values_of = compiled(config, RewardModel.values)
    values = np.asarray(values_of({"params": params}, tokens))
    np.testing.assert_allclose(values[np.arange(len(tokens)), lengths - 1], rewards, atol=1e-6)

    size = tokens.shape[1]
    shifted = np.stack([np.roll(t, size - n) for t, n in zip(tokens, lengths, strict=True)])
    positions = np.arange(size)[None] - (size - lengths)[:, None]
    segment_ids = np.where(positions < 0, -1, 0)
    left = values_of({"params": params}, shifted, positions=positions, segment_ids=segment_ids)
    np.testing.assert_allclose(np.asarray(left)[:, -1], rewards, atol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {
            "attention": "banded(window=5)",
            "positions": "rotary",
            "num_kv_heads": 1,
            "norm": "post",
            "d_value": 4,
            "tied_embeddings": False,
            "remat": "block",
        },
        pytest.param({"attention": "dense,banded(window=5)", "num_layers": 3}, marks=slow),
        pytest.param(
            {"positions": "rotary", "num_kv_heads": 1, "norm": "post", "d_value": 4}, marks=slow
        ),
        pytest.param(
            {"attention": "banded(window=4)", "tied_embeddings": False, "remat": "block"},
            marks=slow,
        ),
    ],
)
def test_a_shared_prompt_gives_the_rewards_and_gradients_of_whole_texts(make_model, fields):
    config = make_model(**fields)
    _, params = make_params(config)
    model = RewardModel(config)
    parts, tokens, lengths = texts_of()
    rows, count, size = tokens.shape
    coefficients = np.random.default_rng(1).normal(size=(rows, count)).astype(np.float32)

    def shared(params):
        return model.apply({"params": params}, *parts, method=RewardModel.score_answers)

    def whole(params):
        flat = model.apply({"params": params}, tokens.reshape(-1, size), lengths.ravel())
        return flat.reshape(rows, count)

    def with_gradient(rewards_of):
        def weighted(params):
            rewards = rewards_of(params)
            return jnp.sum(rewards * coefficients), rewards

        (_, rewards), gradient = jax.jit(jax.value_and_grad(weighted, has_aux=True))(params)
        return rewards, gradient

    (rewards, gradient), (want, want_gradient) = with_gradient(shared), with_gradient(whole)
    np.testing.assert_allclose(rewards, want, atol=1e-5)
    assert np.ptp(want) > 0.1
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5),
        gradient,
        want_gradient,
    )


def test_a_shared_reward_depends_on_its_own_text_alone(make_model):
    config = make_model()
    _, params = make_params(config)
    score = functools.partial(compiled(config, RewardModel.score_answers), {"params": params})
    (prompts, prompt_lengths, answers, answer_lengths), _, _ = texts_of()
    rewards = score(prompts, prompt_lengths, answers, answer_lengths)
    other_prompts, other_answers = prompts.copy(), answers.copy()
    other_prompts[1:], other_prompts[0, prompt_lengths[0] :] = 3, 3
    other_answers[1:], other_answers[0, 1:] = 4, 4
    other = score(other_prompts, prompt_lengths, other_answers, answer_lengths)
    np.testing.assert_array_equal(other[0, 0], rewards[0, 0])
    assert (np.asarray(other)[1:] != np.asarray(rewards)[1:]).all()


def test_a_prompt_that_looks_at_its_answers_cannot_be_shared(make_model):
    config = make_model(attention="prefix(length=6)")
    parts, _, _ = texts_of()
    with pytest.raises(ValueError, match=r"^score_answers: got attention prefix"):
        RewardModel(config).apply(
            {"params": make_params(config)[1]}, *parts, method=RewardModel.score_answers
        )


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_models_parameters_load_and_the_head_is_new(make_model, tied):
    config = make_model(tied_embeddings=tied, d_model=32)
    gpt, params = make_params(config)
    model = RewardModel(config)
    text = (np.zeros((1, 2), np.int32), np.array([2]))
    fresh = jax.eval_shape(model.init, jax.random.key(0), *text)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, fresh)
    for name in ("token_embedding", "position_embedding", "trunk"):
        jax.tree.map(np.testing.assert_array_equal, params[name], gpt[name])
    kernel = np.asarray(params["scalar_head"]["kernel"])
    assert kernel.std() == pytest.approx(33**-0.5, rel=0.3)
    other = from_language_model(model, gpt, jax.random.key(9))["scalar_head"]["kernel"]
    assert (kernel != np.asarray(other)).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"d_model": 32}, r"got parameter position_embedding \[24, 32\], expected \[24, 16\]"),
        ({"positions": "none"}, r"got parameter position_embedding missing, expected \[24, 16\]"),
    ],
)
def test_parameters_of_another_configuration_are_named(make_model, fields, message):
    gpt, _ = make_params(make_model(**fields))
    with pytest.raises(ValueError, match=message):
        from_language_model(RewardModel(make_model()), gpt, jax.random.key(0))


@pytest.mark.parametrize("unit_variance", [False, True])
def test_normalised_rewards_average_zero(make_model, unit_variance):
    config = make_model()
    _, params = make_params(config)
    params["scalar_head"]["bias"] = jnp.float32(3.0)
    _, tokens, lengths = texts_of(rows=3)
    tokens, lengths = tokens.reshape(-1, tokens.shape[-1]), lengths.ravel()
    apply = compiled(config, None)
    before = np.asarray(apply({"params": params}, tokens, lengths))
    changed = rescaled(params, *normalisation(before, unit_variance=unit_variance))
    after = np.asarray(apply({"params": changed}, tokens, lengths))
    assert abs(before.mean()) > 1.0
    assert after.mean() == pytest.approx(0.0, abs=1e-6)
    spread = 1.0 if unit_variance else before.std()
    assert after.std() == pytest.approx(spread, rel=1e-5)
    np.testing.assert_allclose(
        after, (before - before.mean()) * spread / before.std(), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("rewards", "message"),
    [([], "got 0"), ([1.0, np.nan], "not all finite"), ([2.0, 2.0], "got 2 all equal")],
)
def test_rewards_that_cannot_be_normalised_are_refused(rewards, message):
    with pytest.raises(ValueError, match=message):
        normalisation(np.array(rewards), unit_variance=True)


def test_bfloat16_rewards_are_float32(make_model):
    config = make_model(dtype="bfloat16")
    _, params = make_params(config)
    parts, tokens, lengths = texts_of()
    rows, count, size = tokens.shape
    whole = compiled(config, None)({"params": params}, tokens.reshape(-1, size), lengths.ravel())
    shared = compiled(config, RewardModel.score_answers)({"params": params}, *parts)
    assert whole.dtype == shared.dtype == jnp.float32
    np.testing.assert_allclose(
        shared, np.reshape(whole, (rows, count)), atol=0.05
    )  # 8 bits of mantissa
