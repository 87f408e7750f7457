"""PPO's measurement, targets and update, against loops in NumPy and gradients of other code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gptjax.alignment import ppo
from gptjax.alignment.ppo_settings import PPOSettings, check
from gptjax.alignment.reward_model import RewardModel
from gptjax.alignment.token_rewards import ScoreMoments
from gptjax.models.gpt import GPT
from gptjax.training.gradients import gradient_sums
from gptjax.training.losses import language_model
from tests.support.once import once
from tests.support.params import random_params

ROWS, PROMPT, ANSWER, VOCAB = 4, 6, 5, 50
TEMPERATURE = 0.7


def some_rollouts(rng):
    """Prompts of 2 to 6 tokens, answers of 1 to 5, as `Rollouts.arrays` has them."""
    tokens = np.zeros((ROWS, PROMPT + ANSWER), np.int32)
    answers = np.zeros((ROWS, ANSWER), np.int32)
    prompt_lengths, answer_lengths = (
        np.array(lengths, np.int32) for lengths in ((6, 2, 4, 3), (5, 1, 3, 5))
    )
    for row in range(ROWS):
        text = rng.integers(1, VOCAB, prompt_lengths[row] + answer_lengths[row])
        tokens[row, : text.size] = text
        answers[row, : answer_lengths[row]] = text[prompt_lengths[row] :]
    return {
        "tokens": tokens,
        "prompt_lengths": prompt_lengths,
        "answers": answers,
        "answer_lengths": answer_lengths,
    }


def drawn(batch):
    return np.arange(ANSWER) < batch["answer_lengths"][:, None]


@pytest.fixture(scope="module")
def networks(make_model):
    config = make_model()
    policy, critic = GPT(config), RewardModel(config)
    token, length = np.zeros((1, 1), np.int32), np.ones(1, np.int32)
    return policy, critic, random_params(policy, token), random_params(critic, token, length)


@pytest.fixture(scope="module")
def measure(networks):
    return jax.jit(ppo.make_measure(*networks[:2], TEMPERATURE))


@pytest.fixture(scope="module")
def measured(networks, measure):
    _, _, params, critic_params = networks
    batch = some_rollouts(np.random.default_rng(0))
    other = jax.tree.map(lambda x: x * np.float32(1.1), params)
    return batch, jax.device_get(measure(params, other, critic_params, batch))


def test_what_is_measured_is_that_of_each_text_alone(networks, measured):
    policy, critic, params, critic_params = networks
    batch, got = measured
    apply = jax.jit(policy.apply)
    values_of = jax.jit(functools.partial(critic.apply, method=RewardModel.values))
    for row in range(ROWS):
        start, count = batch["prompt_lengths"][row], batch["answer_lengths"][row]
        text = batch["tokens"][None, row]
        logits = np.asarray(apply({"params": params}, text), np.float64)[0] / TEMPERATURE
        values = np.asarray(values_of({"params": critic_params}, text))[0]
        for place in range(count):
            before = logits[start + place - 1]
            log_probs = before - np.log(np.sum(np.exp(before)))
            token = text[0, start + place]
            np.testing.assert_allclose(got["log_probs"][row, place], log_probs[token], atol=2e-6)
            entropy = -np.sum(np.exp(log_probs) * log_probs)
            np.testing.assert_allclose(got["entropy"][row, place], entropy, atol=2e-5)
            np.testing.assert_allclose(
                got["values"][row, place], values[start + place - 1], atol=2e-6
            )


def test_neither_padding_nor_neighbours_change_what_is_measured(networks, measure, measured):
    _, _, params, critic_params = networks
    batch, _ = measured
    expected = jax.device_get(measure(params, params, critic_params, batch))
    lengths = batch["prompt_lengths"] + batch["answer_lengths"]
    padded = np.arange(PROMPT + ANSWER) >= lengths[:, None]
    changed = {**batch, "tokens": np.where(padded, 7, batch["tokens"]).astype(np.int32)}
    changed["tokens"][1:] = changed["tokens"][1:][::-1]  # other neighbours of row 0
    got = jax.device_get(measure(params, params, critic_params, changed))
    for name in got:
        kept = slice(0, batch["answer_lengths"][0])
        np.testing.assert_array_equal(got[name][0, kept], expected[name][0, kept])


def loop_targets(settings, measured, mask, scores, finished, beta):
    """The definitions, token by token."""
    rows, width = mask.shape
    rewards = np.zeros((rows, width))
    for row in range(rows):
        last = int(mask[row].sum()) - 1
        for place in range(last + 1):
            gap = measured["log_probs"][row, place] - measured["reference_log_probs"][row, place]
            rewards[row, place] = 0.0 if settings.advantages == "grpo" else -beta * gap
        penalised = settings.unfinished_score is not None and not finished[row]
        rewards[row, last] += settings.unfinished_score if penalised else scores[row]
    gained = np.zeros((rows, width))
    if settings.advantages == "gae":
        for row in range(rows):
            later, following = 0.0, 0.0
            for place in reversed(range(int(mask[row].sum()))):
                value = measured["values"][row, place]
                delta = rewards[row, place] + settings.discount * following - value
                later = delta + settings.discount * settings.gae_decay * later
                gained[row, place], following = later, value
        if settings.whiten:
            real = gained[mask]
            gained = np.where(mask, (gained - real.mean()) / np.sqrt(real.var() + 1e-8), 0.0)
        return gained
    size = settings.answers_per_prompt
    for first in range(0, rows, size):
        totals = [rewards[row].sum() for row in range(first, first + size)]
        for row in range(first, first + size):
            mine = totals[row - first]
            if settings.advantages == "rloo":
                advantage = mine - (sum(totals) - mine) / (size - 1)
            else:
                advantage = (mine - np.mean(totals)) / (np.std(totals) + 1e-6)
            gained[row] = np.where(mask[row], advantage, 0.0)
    return gained


@pytest.mark.parametrize(
    "settings",
    [
        PPOSettings(kl_coefficient=0.3, gae_decay=0.9),
        PPOSettings(kl_coefficient=0.3, whiten=False, unfinished_score=None, discount=0.8),
        PPOSettings(advantages="rloo", answers_per_prompt=2, kl_coefficient=0.3),
        PPOSettings(advantages="grpo", answers_per_prompt=4, kl_coefficient=0.3),
    ],
    ids=["gae", "gae_plain", "rloo", "grpo"],
)
def test_targets_are_those_of_loops(settings, measured):
    batch, figures = measured
    mask, finished = drawn(batch), np.array([True, True, False, True])
    scores = np.array([0.5, -1.0, 3.0, 2.0], np.float32)
    targets, _, _, _ = jax.jit(functools.partial(ppo.learning_targets, settings))(
        figures, mask, scores, finished, np.float32(0.3), ScoreMoments.none()
    )
    expected = loop_targets(settings, figures, mask, scores, finished, 0.3)
    np.testing.assert_allclose(targets["advantages"], expected, rtol=2e-5, atol=2e-6)
    per_answer = mask / (mask.sum(1, keepdims=True) if settings.advantages == "grpo" else 1)
    np.testing.assert_allclose(targets["weights"], per_answer, rtol=1e-6)


def test_beta_follows_its_target(measured):
    batch, figures = measured
    settings = PPOSettings(kl_target=0.01)
    mask, scores = drawn(batch), np.zeros(ROWS, np.float32)
    arguments = (mask, scores, np.ones(ROWS, bool), np.float32(0.02), ScoreMoments.none())
    prepare = jax.jit(functools.partial(ppo.learning_targets, settings))
    far = {**figures, "reference_log_probs": figures["log_probs"] - 1.0}
    np.testing.assert_allclose(prepare(far, *arguments)[2], 0.0204, rtol=1e-6)
    same = {**figures, "reference_log_probs": figures["log_probs"]}
    np.testing.assert_allclose(prepare(same, *arguments)[2], 0.0196, rtol=1e-6)


@pytest.fixture(scope="module")
def updated(networks):
    """Makes an update by gradient descent at rate 1; gives the state after it, and its figures."""
    policy, critic, params, critic_params = networks
    loss, descents = language_model(policy), (optax.sgd(1.0), optax.sgd(0.5))
    of_text = gradient_sums(lambda params, batch, _: loss(params, batch, None))

    @once
    def compiled(settings, with_critic, with_text):
        networks = policy, critic if with_critic else None
        sums = of_text if with_text else None
        return jax.jit(ppo.make_update(settings, *networks, *descents, sums, None))

    @jax.jit
    def started(params, critic, kl_coefficient):
        options = {"kl_coefficient": kl_coefficient, "with_ema": False}
        return ppo.initial_state(params, critic, *descents, **options)

    def make(settings, batch, targets, text=None):
        with_critic = settings.advantages == "gae"
        state = started(params, critic_params if with_critic else {}, settings.kl_coefficient)
        update = compiled(settings, with_critic, text is not None)
        return jax.device_get(update(state, {**batch, **targets}, text))

    return make


def prepared(settings, batch, figures):
    scores = np.array([0.5, -1.0, 3.0, 2.0], np.float32)
    of_answers = drawn(batch), scores, np.ones(ROWS, bool)
    beta, moments = np.float32(settings.kl_coefficient), ScoreMoments.none()
    prepare = jax.jit(functools.partial(ppo.learning_targets, settings))
    return jax.device_get(prepare(figures, *of_answers, beta, moments))[0]


def answers_alone(of_text, batch):
    """What `of_text` says before each token of each answer, from one text after another."""
    found = jax.lax.map(of_text, batch["tokens"])
    starts = batch["prompt_lengths"] - 1
    ends = starts + batch["answer_lengths"]
    return [row[start:end] for row, start, end in zip(found, starts, ends, strict=True)]


def log_probs_alone(policy, params, batch):
    """Of the tokens of each answer, from a pass over its text and nothing else."""

    def of_text(text):
        logits = policy.apply({"params": params}, text[None])[0] / TEMPERATURE
        return jax.nn.log_softmax(logits)[np.arange(text.size - 1), text[1:]]

    return answers_alone(of_text, batch)


def difference(after, before):
    return jax.tree.map(lambda x, y: np.asarray(x) - np.asarray(y), after, before)


def test_the_first_ratios_are_one_and_the_reference_is_where_it_starts(networks, measure, updated):
    _, _, params, critic_params = networks
    batch = some_rollouts(np.random.default_rng(1))
    settings = PPOSettings(temperature=TEMPERATURE)
    figures = jax.device_get(measure(params, params, critic_params, batch))
    gap = np.where(drawn(batch), figures["log_probs"] - figures["reference_log_probs"], 0.0)
    assert np.abs(gap).max() <= 1e-6
    _, made = updated(settings, batch, prepared(settings, batch, figures))
    assert abs(made["ratio_min"] - 1) <= 1e-6 and abs(made["ratio_max"] - 1) <= 1e-6
    assert abs(made["kl_k1"]) <= 1e-6 and made["clip_fraction"] == 0.0


def test_the_update_follows_the_clipped_objective_and_the_critic_its_own_rate(
    networks, measured, updated
):
    policy, critic, params, critic_params = networks
    batch, figures = measured
    settings = PPOSettings(temperature=TEMPERATURE)
    targets = prepared(settings, batch, figures)
    state, made = updated(settings, batch, targets)

    def objective(params):
        total = 0.0
        for row, log_probs in enumerate(log_probs_alone(policy, params, batch)):
            count = len(log_probs)
            ratio = jnp.exp(log_probs - targets["log_probs"][row, :count])
            gained = targets["advantages"][row, :count]
            total += jnp.sum(jnp.minimum(ratio * gained, jnp.clip(ratio, 0.8, 1.2) * gained))
        return -total / float(drawn(batch).sum())

    def squares(params):
        total = 0.0
        values_of = functools.partial(critic.apply, {"params": params}, method=RewardModel.values)
        for row, values in enumerate(answers_alone(lambda x: values_of(x[None])[0], batch)):
            error = values - targets["returns"][row, : len(values)]
            total += 0.5 * jnp.sum(jnp.square(error))
        return total / float(drawn(batch).sum())

    loss, gradient = jax.jit(jax.value_and_grad(objective))(params)
    np.testing.assert_allclose(made["policy_loss"], loss, rtol=1e-4, atol=1e-6)
    moved = difference(params, state.params)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), moved, gradient)
    loss, gradient = jax.device_get(jax.jit(jax.value_and_grad(squares))(critic_params))
    np.testing.assert_allclose(made["value_loss"], loss, rtol=1e-4)
    moved = difference(critic_params, state.opt_state.critic)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, 0.5 * y, atol=2e-5), moved, gradient)


def test_grpo_draws_the_policy_to_its_reference_and_ptx_to_the_text(networks, measured, updated):
    """With equal scores nothing is left but the gradients of beta k3 and of gamma times nats."""
    policy, _, params, _ = networks
    batch, figures = measured
    settings = PPOSettings(
        advantages="grpo",
        answers_per_prompt=2,
        kl_coefficient=0.5,
        temperature=TEMPERATURE,
        pretraining_coefficient=3.0,
    )
    targets = prepared(settings, batch, figures)
    targets["advantages"] = np.zeros((ROWS, ANSWER), np.float32)
    rng = np.random.default_rng(3)
    text = {
        "tokens": rng.integers(0, VOCAB, (8, 12)).astype(np.int32),
        "targets": rng.integers(0, VOCAB, (8, 12)).astype(np.int32),
        "loss_weights": rng.integers(0, 2, (8, 12)).astype(np.float32),
    }
    state, made = updated(settings, batch, targets, text)

    def penalty(params):
        total = 0.0
        for row, log_probs in enumerate(log_probs_alone(policy, params, batch)):
            count = len(log_probs)
            gap = figures["reference_log_probs"][row, :count] - log_probs
            total += jnp.sum(jnp.exp(gap) - gap - 1) / float(count)
        return 0.5 * total / ROWS

    def nats(params):
        log_probs = jax.nn.log_softmax(policy.apply({"params": params}, text["tokens"]))
        picked = jnp.take_along_axis(log_probs, text["targets"][:, :, None], axis=-1)[..., 0]
        return -jnp.sum(picked * text["loss_weights"]) / text["loss_weights"].sum()

    loss, of_text = jax.device_get(jax.jit(jax.value_and_grad(nats))(params))
    of_penalty = jax.device_get(jax.jit(jax.grad(penalty))(params))
    np.testing.assert_allclose(made["pretraining_loss"], loss, rtol=1e-5)
    moved = difference(params, state.params)
    gradient = jax.tree.map(lambda x, y: x + 3.0 * y, of_penalty, of_text)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=5e-5), moved, gradient)
    assert all(max(map(np.ptp, jax.tree.leaves(x))) > 0.1 for x in (of_penalty, of_text))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"advantages": "grpo"}, "config.ppo.answers_per_prompt: got 1 with advantages=grpo"),
        ({"answers_per_prompt": 3}, "config.ppo.answers_per_prompt: got 3, expected a divisor"),
        ({"minibatches": 5}, "config.ppo.minibatches: got 5, expected a divisor"),
    ],
)
def test_settings_that_contradict_the_batch_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        check(PPOSettings(**fields), 8)
