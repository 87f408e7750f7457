"""DPO, IPO and group advantages against loops and closed forms."""

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


def test_losses_of_margins_equal_their_formulas():
    margins = np.array([-30.0, -1.5, 0.0, 2.0, 40.0], np.float32)
    for smoothing in (0.0, 0.1):
        got = jax.jit(dpo_loss)(margins, 0.3, smoothing)
        for one, h in zip(got, margins.tolist(), strict=True):
            right = math.log1p(math.exp(-0.3 * h))
            wrong = math.log1p(math.exp(0.3 * h))
            assert one == pytest.approx((1 - smoothing) * right + smoothing * wrong, rel=1e-5)
    want = [(h - 1 / (2 * 0.25)) ** 2 for h in margins.tolist()]
    np.testing.assert_allclose(jax.jit(ipo_loss)(margins, 0.25), want, rtol=1e-6)
    np.testing.assert_array_equal(ipo_loss(np.float32([2.0]), 0.25), [0.0])


def pairs(seed=0, rows=3, size=10):
    """Pairs whose answers differ in length; what follows an answer has no weight."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(50, size=(rows, 2, size + 1), dtype=np.int32)
    at = np.arange(size)
    ends = rng.integers(5, size + 1, size=(rows, 2, 1))
    return {
        "tokens": tokens[..., :-1],
        "targets": tokens[..., 1:],
        "loss_weights": ((at >= 3) & (at < ends)).astype(np.float32),
        "reference_log_probs": (-10 * rng.random((rows, 2))).astype(np.float32),
    }


def log_prob(model, params, tokens, targets, weights):
    """Of one answer, token by token in float64."""
    logits = jax.jit(model.apply)({"params": params}, tokens[None])[0]
    total = 0.0
    for row, target, weight in zip(np.asarray(logits, np.float64), targets, weights, strict=True):
        if weight:
            total += row[target] - math.log(np.exp(row).sum())
    return total


@pytest.mark.parametrize("name", ["dpo", "ipo"])
def test_the_training_losses_equal_a_loop_over_pairs(make_model, name):
    model = GPT(make_model())
    batch = pairs()
    params = jax.jit(model.init)(jax.random.key(0), batch["tokens"][0])["params"]
    loss = {"dpo": dpo(model, beta=0.3, label_smoothing=0.1), "ipo": ipo(model, tau=0.3)}[name]
    total, weight, metrics = jax.jit(loss)(params, batch, None)
    want = {"loss": 0.0, "accuracy": 0, "chosen_reward": 0.0, "rejected_reward": 0.0, "margin": 0.0}
    for b in range(3):
        gained = []
        for i in range(2):
            text = (batch[key][b, i] for key in ("tokens", "targets", "loss_weights"))
            gained.append(
                log_prob(model, params, *text) - float(batch["reference_log_probs"][b, i])
            )
        h = gained[0] - gained[1]
        right, wrong = math.log1p(math.exp(-0.3 * h)), math.log1p(math.exp(0.3 * h))
        want["loss"] += 0.9 * right + 0.1 * wrong if name == "dpo" else (h - 1 / 0.6) ** 2
        want["accuracy"] += h > 0
        want["chosen_reward"] += 0.3 * gained[0]
        want["rejected_reward"] += 0.3 * gained[1]
        want["margin"] += 0.3 * h
    assert total == pytest.approx(want.pop("loss"), rel=1e-4)
    assert weight == 3
    assert metrics == pytest.approx(want, rel=1e-4, abs=1e-4)


def test_the_reference_itself_is_at_ln_2_with_the_papers_gradient(make_model):
    """There grad = -beta / 2 (grad log pi(chosen) - grad log pi(rejected)), section 4."""
    model = GPT(make_model(num_layers=1))
    batch = pairs()
    params = jax.jit(model.init)(jax.random.key(1), batch["tokens"][0])["params"]

    def log_probs(params):
        texts = (batch[key].reshape(6, 10) for key in ("tokens", "targets", "loss_weights"))
        return answer_log_probs(model, params, *texts).reshape(3, 2)

    batch["reference_log_probs"] = jax.jit(log_probs)(params)
    loss = dpo(model, beta=0.5)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: loss(p, batch, None)[0]))(params)
    assert value == pytest.approx(3 * math.log(2), rel=1e-5)
    want = jax.jit(jax.grad(lambda p: -0.25 * (log_probs(p)[:, 0] - log_probs(p)[:, 1]).sum()))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), gradient, want(params)
    )


def test_what_follows_an_answer_and_other_rows_change_nothing(make_model):
    model = GPT(make_model(num_layers=1))
    batch = pairs()
    texts = [batch[key].reshape(6, 10) for key in ("tokens", "targets", "loss_weights")]
    params = jax.jit(model.init)(jax.random.key(1), texts[0])["params"]
    score = jax.jit(lambda *texts: answer_log_probs(model, params, *texts))
    before = score(*texts)
    row, end = 2, int(np.nonzero(texts[2][2])[0][-1]) + 1
    tokens, targets = texts[0].copy(), texts[1].copy()
    tokens[row, end:], targets[row, end:] = 7, 7
    tokens[3:], targets[3:] = 8, 8
    assert score(tokens, targets, texts[2])[row] == before[row]


def test_group_advantages_equal_loops():
    scores = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    scores[3] = 2.0
    grpo, plain = jax.jit(grpo_advantages)(scores), grpo_advantages(scores, scale=False)
    rloo = jax.jit(rloo_advantages)(scores)
    for b, i in np.ndindex(4, 5):
        group = scores[b].astype(float).tolist()
        centred = group[i] - statistics.fmean(group)
        assert grpo[b, i] == pytest.approx(centred / (statistics.pstdev(group) + 1e-6), abs=1e-5)
        assert plain[b, i] == pytest.approx(centred, abs=1e-6)
        others = statistics.fmean(group[:i] + group[i + 1 :])
        assert rloo[b, i] == pytest.approx(group[i] - others, abs=1e-5)
    np.testing.assert_array_equal(grpo[3], 0.0)


def test_one_answer_has_no_others():
    with pytest.raises(ValueError, match="rloo_advantages: got 1 answer a prompt"):
        rloo_advantages(np.zeros((3, 1), np.float32))
