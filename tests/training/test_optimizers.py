import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from experiments.configs import EXPERIMENTS
from gptjax.batch_schedule import BatchSchedule
from gptjax.config import ExperimentConfig, OptimizerConfig, batch_schedule, resolve
from gptjax.models.gpt import GPT
from gptjax.models.layers import ACTIVATIONS
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.settings import limits_of
from gptjax.training.optimizers import (
    OPTIMIZERS,
    decay_mask,
    learning_rate,
    make_optimizer,
    update,
)
from tests.support.tiers import tiered

DECODERS = [
    name
    for name in EXPERIMENTS.names()
    if not name.startswith("transformer_") and not name.endswith("_lstm")
]


@pytest.mark.parametrize(
    "name", tiered(zip(DECODERS, strict=True), [("gpt2_small",), ("bert_base",)])
)
def test_matrices_decay_and_biases_and_gains_do_not(name):
    """The count of each kind, by hand: four attention maps, two of the feed-forward, tables."""
    model = resolve(EXPERIMENTS.get(name)()).model
    params = parameter_shapes(GPT(model))
    mask = decay_mask(params)
    sizes = {True: 0, False: 0}
    for decays, leaf in zip(jax.tree.leaves(mask), jax.tree.leaves(params), strict=True):
        sizes[decays] += math.prod(leaf.shape)

    rows = -(-model.vocab_size // model.vocab_multiple) * model.vocab_multiple
    width, value_width = model.num_heads * model.d_head, model.num_heads * model.d_value
    matrices = model.num_layers * (2 * width + 2 * value_width + 2 * model.d_ff) * model.d_model
    positions = model.context_length if model.positions == "learned" else 0
    tables = (rows * (1 if model.tied_embeddings else 2) + positions) * model.d_model
    biases = model.num_layers * (2 * width + value_width + model.d_ff + 2 * model.d_model)
    norms = 2 * model.num_layers + (model.norm == "pre")
    assert sizes == {True: matrices + tables, False: biases + 2 * norms * model.d_model}


@pytest.mark.parametrize(
    ("path", "table"), [("optimizer.name", OPTIMIZERS), ("model.activation", ACTIVATIONS)]
)
def test_every_choice_of_the_configuration_has_a_function(path, table):
    assert limits_of(ExperimentConfig(), path)[1]["choices"] == tuple(table)


def test_a_parameter_without_a_rule_is_named():
    params = {"trunk": {"rotation": jnp.ones(2)}}
    with pytest.raises(ValueError, match=r"'trunk/rotation' of 1 axes, expected a row"):
        decay_mask(params)


def _rates(config, batches, steps):
    schedule = jax.jit(jax.vmap(learning_rate(config, batches)))
    return np.asarray(schedule(np.asarray(steps, np.int32)), np.float64)


def test_rsqrt_is_the_transformers_equation():
    config = resolve(EXPERIMENTS.get("transformer_base")())
    steps = np.array([1, 2, 3999, 4000, 4001, 16_000, 100_000], np.float64)  # the paper's step_num
    expected = 512**-0.5 * np.minimum(steps**-0.5, steps * 4000**-1.5)
    got = _rates(config.optimizer, batch_schedule(config), steps - 1)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    config.optimizer.warmup_steps, config.optimizer.warmup_tokens = None, 4000 * 96 * 256
    got = _rates(config.optimizer, batch_schedule(config), steps - 1)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_gpt1_warms_up_over_2000_updates_then_follows_a_cosine_to_zero():
    config = resolve(EXPERIMENTS.get("gpt1")())
    total = config.training.num_steps
    wanted = []
    for update_number in range(1, total + 1):
        if update_number <= 2000:
            wanted.append(2.5e-4 * update_number / 2000)
        else:
            progress = (update_number - 1 - 2000) / (total - 2000)
            wanted.append(2.5e-4 * (1 + math.cos(math.pi * progress)) / 2)
    rates = _rates(config.optimizer, batch_schedule(config), range(total))
    np.testing.assert_allclose(rates, wanted, rtol=1e-5, atol=2.5e-4 * 1e-6)
    assert rates.argmax() == 1999 and rates[0] == pytest.approx(2.5e-4 / 2000)
    assert rates[-1] == pytest.approx(0.0, abs=1e-12)


def test_gpt3_schedules_tokens_under_its_batch_ramp():
    config = resolve(EXPERIMENTS.get("gpt3_small")())
    batches = batch_schedule(config)
    tokens, wanted, sizes = 0, [], []
    for step in range(config.training.num_steps):
        sizes.append(batches.batch_size_at(step))
        tokens += sizes[-1] * 2048
        if tokens <= 375e6:
            wanted.append(6e-4 * tokens / 375e6)
        else:
            progress = min(1.0, (tokens - sizes[-1] * 2048 - 375e6) / (260e9 - 375e6))
            progress = max(0.0, progress)
            wanted.append(6e-4 * (0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2))
    assert sizes[0] == 16 and sizes[-1] == 256 and tokens >= 300e9
    steps = [*range(0, 12_000), *range(12_000, len(wanted), 97), len(wanted) - 1]
    rates = _rates(config.optimizer, batches, steps)
    np.testing.assert_allclose(rates, np.array(wanted)[steps], rtol=1e-5)
    # Past 260 billion tokens a tenth of the peak is left, to the end.
    assert rates[-1] == pytest.approx(6e-5, rel=1e-6)
    np.testing.assert_allclose(_rates(config.optimizer, batches, [10**6]), 6e-5, rtol=1e-6)


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_steps_and_tokens_say_the_same_of_constant_batches(kind):
    batches = BatchSchedule(4, 32)
    steps = OptimizerConfig(
        schedule=kind, warmup_steps=5, decay_steps=20, final_fraction=0.25, learning_rate=1.0
    )
    tokens = OptimizerConfig(
        schedule=kind,
        warmup_tokens=5 * 128,
        decay_tokens=20 * 128,
        final_fraction=0.25,
        learning_rate=1.0,
    )
    mixed = OptimizerConfig(
        schedule=kind,
        warmup_steps=5,
        decay_tokens=20 * 128,
        final_fraction=0.25,
        learning_rate=1.0,
    )
    rates = _rates(steps, batches, range(30))
    np.testing.assert_allclose(_rates(tokens, batches, range(30)), rates, rtol=1e-6)
    np.testing.assert_allclose(_rates(mixed, batches, range(30)), rates, rtol=1e-6)
    middle = {"cosine": 0.25 + 0.75 / 2 * (1 + math.cos(math.pi * 5 / 15)), "linear": 0.75}
    np.testing.assert_allclose(rates[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-6)
    assert rates[5] == 1.0 and rates[10] == pytest.approx(middle.get(kind, 1.0), rel=1e-6)
    assert rates[19] > 0.25
    np.testing.assert_allclose(rates[20:], 1.0 if kind == "constant" else 0.25, rtol=1e-6)


def test_the_only_step_of_a_run_trains_and_older_runs_keep_their_rates():
    config = OptimizerConfig(learning_rate=1.0, schedule="linear", warmup_steps=0, decay_steps=1)
    np.testing.assert_array_equal(_rates(config, BatchSchedule(1, 1), [0, 1]), [1.0, 0.0])
    np.testing.assert_array_equal(_rates(config, BatchSchedule(1, 1, revision=1), [0, 1]), 0.0)


def test_wsd_is_stable_until_its_last_share():
    config = OptimizerConfig(
        schedule="wsd",
        warmup_steps=4,
        decay_steps=20,
        decay_fraction=0.25,
        final_fraction=0.5,
        learning_rate=1.0,
    )
    decay = [0.9, 0.8, 0.7, 0.6, 0.5]
    expected = [0.25, 0.5, 0.75, *[1.0] * 13, *decay, 0.5]
    rates = _rates(config, BatchSchedule(4, 32), range(22))
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    config.warmup_steps, config.decay_steps, config.decay_tokens = 4, None, 20 * 128
    np.testing.assert_allclose(_rates(config, BatchSchedule(4, 32), range(22)), expected, rtol=1e-6)


def test_without_warm_up_the_first_update_has_the_peak_rate():
    config = OptimizerConfig(learning_rate=1.0, schedule="constant", warmup_steps=0, decay_steps=9)
    np.testing.assert_array_equal(_rates(config, BatchSchedule(1, 1), range(12)), 1.0)


CONFIG = OptimizerConfig(
    beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.1, clip_norm=0.7, learning_rate=0.01
)


DECAYING = ("position_embedding", "token_embedding")
OTHERS = ("trunk/final_norm/bias", "trunk/final_norm/scale")


def _problem(steps=6):
    """Parameters and gradients, of which some are longer than the clip and some are not."""
    rng = np.random.default_rng(0)
    shapes = dict.fromkeys(DECAYING, (4, 3)) | dict.fromkeys(OTHERS, (3,))
    params = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    gradients = [
        {name: size * rng.normal(size=shape) for name, shape in shapes.items()}
        for size in np.geomspace(0.02, 2.0, steps)
    ]
    return params, gradients


def _ours(params, gradients, config=CONFIG):
    tx = make_optimizer(config, lambda step: _rate(jnp.asarray(step).astype(jnp.float32)))
    to_float32 = jax.jit(lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32), tree))
    params = to_float32(jax.tree.map(jnp.asarray, params))
    state = tx.init(params)
    step = jax.jit(lambda grads, state, params: update(tx, grads, state, params, 0.0))
    for grads in gradients:
        params, state = step(jax.tree.map(np.float32, grads), state, params)
    return params


def _rate(step):
    return 0.01 / (1.0 + step)


@pytest.mark.parametrize("clip_norm", [0.7, None])
def test_updates_equal_adamw_written_out(clip_norm):
    """Adam (1412.6980, algorithm 1), decoupled decay (1711.05101, algorithm 2), in float64."""
    params, gradients = _problem()
    ours = _ours(params, gradients, dataclasses.replace(CONFIG, clip_norm=clip_norm))
    mean = {name: np.zeros_like(value) for name, value in params.items()}
    square = {name: np.zeros_like(value) for name, value in params.items()}
    lengths = []
    for step, grads in enumerate(gradients):
        lengths.append(math.sqrt(sum(float(np.square(grad).sum()) for grad in grads.values())))
        for name, grad in grads.items():
            if clip_norm is not None:
                grad = grad * min(1.0, clip_norm / lengths[-1])
            mean[name] = 0.8 * mean[name] + 0.2 * grad
            square[name] = 0.95 * square[name] + 0.05 * grad**2
            corrected = mean[name] / (1 - 0.8 ** (step + 1))
            spread = np.sqrt(square[name] / (1 - 0.95 ** (step + 1))) + 1e-6
            decay = 0.1 if name in DECAYING else 0.0
            params[name] = params[name] - _rate(step) * (corrected / spread + decay * params[name])
    assert min(lengths) < 0.7 < max(lengths)
    for name, value in params.items():
        np.testing.assert_allclose(ours[name], value, rtol=2e-6, atol=1e-7, err_msg=name)


@pytest.mark.slow
def test_updates_equal_torch():
    torch = pytest.importorskip("torch")
    params, gradients = _problem()
    ours = _ours(params, gradients)
    theirs = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in params.items()}
    groups = [
        {"params": [theirs[name] for name in names], "weight_decay": decay}
        for names, decay in ((DECAYING, 0.1), (OTHERS, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-6)
    for step, grads in enumerate(gradients):
        for name, grad in grads.items():
            theirs[name].grad = torch.tensor(grad)
        torch.nn.utils.clip_grad_norm_(theirs.values(), 0.7)
        for group in optimizer.param_groups:
            group["lr"] = _rate(step)
        optimizer.step()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value.detach(), rtol=2e-5, atol=1e-7, err_msg=name)


def test_muon_makes_matrices_orthogonal_and_leaves_the_rest_to_adamw():
    """Against the singular value decomposition: singular values go to about 1, vectors stay."""
    shapes = {
        "trunk/layers/attention/query/kernel": (2, 16, 2, 8),
        "trunk/layers/attention/query/bias": (2, 2, 8),
        "trunk/layers/feed_forward_norm/scale": (2, 16),
        "token_embedding": (64, 16),
    }
    rng = np.random.default_rng(0)

    def normal():
        return traverse_util.unflatten_dict(
            {
                tuple(path.split("/")): rng.normal(size=shape).astype(np.float32)
                for path, shape in shapes.items()
            }
        )

    params, grads = normal(), normal()
    changes = {}
    for name in ("muon", "adamw"):
        config = OptimizerConfig(name=name, weight_decay=0.0, clip_norm=None)
        tx = make_optimizer(config, lambda step: jnp.float32(1e-2))
        step = jax.jit(lambda grads, params, tx=tx: update(tx, grads, tx.init(params), params, 0.0))
        changes[name] = jax.tree.map(
            lambda a, b: a - b, params, jax.device_get(step(grads, params)[0])
        )
    grad = grads["trunk"]["layers"]["attention"]["query"]["kernel"]
    changed = changes["muon"]["trunk"]["layers"]["attention"]["query"].pop("kernel")
    changes["adamw"]["trunk"]["layers"]["attention"]["query"].pop("kernel")
    for layer in range(2):
        u, _, vt = np.linalg.svd(grad[layer].reshape(16, 16))
        in_its_frame = u.T @ (changed[layer].reshape(16, 16) / (1e-2 * 0.2 * 4.0)) @ vt.T
        off_diagonal = in_its_frame - np.diag(np.diag(in_its_frame))
        assert np.abs(off_diagonal).max() < 0.05
        assert 0.6 < np.diag(in_its_frame)[:-2].min() <= np.diag(in_its_frame).max() < 1.3
    assert len(jax.tree.leaves(changes["muon"])) == 3
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), changes["muon"], changes["adamw"]
    )
