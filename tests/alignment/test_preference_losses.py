"""DPO, IPO and group advantages against loops and closed forms."""

import functools
import math
import statistics

import jax
import numpy as np
import pytest

from gptjax.alignment.preference_losses import (
    answer_log_probs,
    dpo,
    dpo_loss,
    grpo_advantages,
    ipo,
    ipo_loss,
    rloo_advantages,
)
from gptjax.models.gpt import GPT
from tests.support.params import random_params


def test_losses_of_margins_equal_their_formulas():
    margins = np.array([-30.0, -1.5, 0.0, 2.0, 40.0], np.float32)
    for smoothing in (0.0, 0.1):
        got = np.asarray(jax.jit(dpo_loss)(margins, 0.3, smoothing))
        for one, h in zip(got, margins.tolist(), strict=True):
            right = math.log1p(math.exp(-0.3 * h))
            wrong = math.log1p(math.exp(0.3 * h))
            assert one == pytest.approx((1 - smoothing) * right + smoothing * wrong, rel=1e-5)
    want = [(h - 1 / (2 * 0.25)) ** 2 for h in margins.tolist()]
    got = np.asarray(jax.jit(ipo_loss)(margins, 0.25))
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert got[3] == 0.0


SIZE = 10


def rankings(seed=0, rows=3):
    """Prompts of three tokens; three, three and two answers of other lengths; ties among them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, SIZE + 1, size=(rows, 3), dtype=np.int32)
    preferred = np.zeros((rows, 3, 3), np.float32)
    preferred[:, 0, 1], preferred[:, 1, 0], preferred[0, 2, 0] = 2 / 3, 1 / 3, 1.0
    lengths[-1, 2] = 0
    return {
        "tokens": rng.integers(50, size=(rows, 3, SIZE), dtype=np.int32),
        "lengths": lengths,
        "prompt_lengths": np.full(rows, 3, np.int32),
        "num_answers": np.array([3] * (rows - 1) + [2], np.int32),
        "preferred": preferred,
        "reference_log_probs": (-10 * rng.random((rows, 3))).astype(np.float32),
    }


def init(model):
    return random_params(model, np.zeros((1, SIZE), np.int32))


def log_prob(logits, tokens, start, end):
    """Of tokens[start:end] after those before, token by token in float64."""
    logits = np.asarray(logits, np.float64)
    return sum(
        logits[at - 1, tokens[at]] - math.log(np.exp(logits[at - 1]).sum())
        for at in range(start, end)
    )


@pytest.mark.parametrize(
    ("name", "chunk"),
    [
        ("dpo", 4),
        ("ipo", None),
        pytest.param("dpo", None, marks=pytest.mark.slow),
        pytest.param("ipo", 4, marks=pytest.mark.slow),
    ],
)
def test_the_training_losses_equal_a_loop_over_pairs(make_model, name, chunk):
    model = GPT(make_model())
    batch, params = rankings(), init(model)
    loss = {
        "dpo": dpo(model, beta=0.3, label_smoothing=0.1, chunk=chunk),
        "ipo": ipo(model, tau=0.3, chunk=chunk),
    }[name]
    total, weight, metrics = jax.jit(loss)(params, batch, None)
    want = {"loss": 0.0, "accuracy": 0, "chosen_reward": 0.0, "rejected_reward": 0.0, "margin": 0.0}
    counted, apply = 0.0, jax.jit(model.apply)
    for b, count in enumerate((3, 3, 2)):
        gained = [
            log_prob(apply({"params": params}, text[None])[0], text, 3, batch["lengths"][b, i])
            - float(batch["reference_log_probs"][b, i])
            for i, text in enumerate(batch["tokens"][b, :count])
        ]
        for i in range(count):
            for j in range(count):
                share = float(batch["preferred"][b, i, j]) / math.comb(count, 2)
                h = gained[i] - gained[j]
                right, wrong = math.log1p(math.exp(-0.3 * h)), math.log1p(math.exp(0.3 * h))
                one = 0.9 * right + 0.1 * wrong if name == "dpo" else (h - 1 / 0.6) ** 2
                want["loss"] += share * one
                want["accuracy"] += share * (h > 0)
                want["chosen_reward"] += share * 0.3 * gained[i]
                want["rejected_reward"] += share * 0.3 * gained[j]
                want["margin"] += share * 0.3 * h
                counted += share
    assert total == pytest.approx(want.pop("loss"), rel=1e-4)
    assert weight == pytest.approx(counted) == pytest.approx((1 + 1) / 3 + 1 / 3 + 1)
    assert metrics == pytest.approx(want, rel=1e-4, abs=1e-4)


@pytest.mark.slow
def test_the_reference_itself_is_at_ln_2_with_the_papers_gradient(make_model):
    """There grad = -beta / 2 (grad log pi(chosen) - grad log pi(rejected)), section 4."""
    model = GPT(make_model())
    batch, params = rankings(), init(model)
    batch["preferred"] = np.zeros((3, 3, 3), np.float32)
    batch["preferred"][:, 0, 1] = 1.0
    batch["num_answers"] = np.full(3, 2, np.int32)

    def gap(p):
        given = answer_log_probs(model)(p, batch)
        return -0.25 * (given[:, 0] - given[:, 1]).sum(), given

    desired, batch["reference_log_probs"] = jax.jit(jax.grad(gap, has_aux=True))(params)
    loss = dpo(model, beta=0.5)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: loss(p, batch, None)[0]))(params)
    assert value == pytest.approx(3 * math.log(2), rel=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, gradient, desired)


def test_what_follows_an_answer_and_other_rows_change_nothing(make_model):
    """Nor does padding, where what precedes it could see it."""
    model = GPT(make_model(attention="prefix(length=4),block_causal(block=3)", num_layers=2))
    batch, params = rankings(), init(model)
    score = jax.jit(answer_log_probs(model))
    before = np.asarray(score(params, batch))
    tokens, end = batch["tokens"].copy(), batch["lengths"][0, 2]
    tokens[0, 2, end:], tokens[1:] = 7, 8
    changed = np.asarray(score(params, batch | {"tokens": tokens}))
    assert end < SIZE and changed[0, 2] == before[0, 2]
    assert before[2, 2] == 0.0
    longer = {"tokens": np.pad(batch["tokens"], ((0, 0), (0, 0), (0, 2)), constant_values=9)}
    padded = jax.jit(answer_log_probs(model))(params, batch | longer)
    np.testing.assert_allclose(padded, before, rtol=1e-5)  # another program, which rounds otherwise


@pytest.mark.slow
def test_tokens_of_an_answer_that_earlier_ones_see_have_no_nats(make_model):
    model = GPT(make_model(attention="prefix(length=5)"))
    batch, params = rankings(), init(model)
    found = jax.jit(answer_log_probs(model))(params, batch)
    for row, k in np.ndindex(*found.shape):
        tokens, end = batch["tokens"][row, k], batch["lengths"][row, k]
        logits = model.apply({"params": params}, tokens[None, : max(end, 1)])[0]
        assert found[row, k] == pytest.approx(log_prob(logits, tokens, 5, end), abs=1e-4)


def test_dropout_is_off(make_model):
    batch = rankings()
    model = GPT(make_model(residual_dropout=0.5))
    params, loss = init(model), jax.jit(dpo(model))
    assert loss(params, batch, jax.random.key(0))[0] == loss(params, batch, None)[0]


def test_group_advantages_equal_loops():
    scores = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    scores[3] = 2.0
    compiled = jax.jit(grpo_advantages, static_argnames="scale"), jax.jit(rloo_advantages)
    grpo, rloo = (np.asarray(advantages(scores)) for advantages in compiled)
    plain = np.asarray(compiled[0](scores, scale=False))
    for b, i in np.ndindex(4, 5):
        group = scores[b].astype(float).tolist()
        centred = group[i] - statistics.fmean(group)
        assert grpo[b, i] == pytest.approx(centred / (statistics.pstdev(group) + 1e-6), abs=1e-5)
        assert plain[b, i] == pytest.approx(centred, abs=1e-6)
        others = statistics.fmean(group[:i] + group[i + 1 :])
        assert rloo[b, i] == pytest.approx(group[i] - others, abs=1e-5)
    np.testing.assert_array_equal(grpo[3], 0.0)
    for advantages in compiled:
        for value, size in ((3.3, 8), (17.3, 8), (0.1, 6), (-1e6, 7)):
            equal = np.full((2, size), value, np.float32)
            np.testing.assert_array_equal(advantages(equal), 0.0)


def test_one_answer_has_no_others():
    with pytest.raises(ValueError, match="rloo_advantages: got 1 answer a prompt"):
        rloo_advantages(np.zeros((3, 1), np.float32))
