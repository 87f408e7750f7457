"""Kernels that have adapters, by name, and where a mesh puts them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gptjax.config import ExperimentConfig, LoRAConfig, ModelConfig, resolve
from gptjax.models.adapters import joined
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.training.lora import adapter_shapes, base_of, targeted_kernels, trained_params
from gptjax.training.optimizers import update
from gptjax.training.parameters import path_of, rule_of

ATTENTION = {f"attention/{name}" for name in ("query", "key", "value", "out")}
FEED_FORWARD = {f"feed_forward/{name}" for name in ("up", "down")}


@pytest.fixture(scope="module")
def shapes():
    model = ModelConfig(vocab_size=53, context_length=8, num_layers=2, num_heads=4, d_model=16)
    return parameter_shapes(GPT(resolve(ExperimentConfig(model=model)).model))


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        ("attention", ATTENTION),
        ("attention, feed_forward", ATTENTION | FEED_FORWARD),
        ("feed_forward/up,attention/query", {"feed_forward/up", "attention/query"}),
    ],
)
def test_a_target_is_a_group_or_a_kernel(shapes, targets, names):
    found = targeted_kernels(LoRAConfig(rank=2, targets=targets), shapes)
    assert set(found) == {f"trunk/layers/{name}/kernel" for name in names}


@pytest.mark.parametrize(
    "target", ["mlp", "", "attention/query/kernel", "token_embedding", "atten"]
)
def test_an_unknown_target_is_refused(shapes, target):
    config = LoRAConfig(rank=2, targets=f"attention,{target}")
    with pytest.raises(ValueError, match="expected a list of attention, feed_forward, ") as error:
        targeted_kernels(config, shapes)
    assert repr(target) in str(error.value) and "\n" not in str(error.value)


def test_adapters_are_divided_as_their_kernels_are(shapes):
    """A along the inputs, B along the outputs; every adapter has a rule, and decays."""
    config = LoRAConfig(rank=3, targets="attention,feed_forward")
    trained = jax.eval_shape(lambda: trained_params(config, shapes, jax.random.key(0)))
    rules = {
        path_of(keys).removeprefix("trunk/layers/"): (leaf.shape, rule_of(path_of(keys), leaf.ndim))
        for keys, leaf in jax.tree_util.tree_leaves_with_path(trained)
    }
    assert len(rules) == 12 and all(rule.decays for _, rule in rules.values())
    of = {path: (shape, rule.axes) for path, (shape, rule) in rules.items()}
    assert of["attention/query/lora_a"] == ((2, 16, 3), (None, "fsdp", None))
    assert of["attention/query/lora_b"] == ((2, 3, 4, 4), (None, None, "tensor", None))
    assert of["attention/out/lora_a"] == ((2, 4, 4, 3), (None, "tensor", None, None))
    assert of["attention/out/lora_b"] == ((2, 3, 16), (None, None, "fsdp"))
    assert of["feed_forward/up/lora_b"] == ((2, 3, 64), (None, None, "tensor"))
    assert adapter_shapes("trunk/layers/attention/out/kernel", (2, 4, 4, 16), 3) == (
        of["attention/out/lora_a"][0],
        of["attention/out/lora_b"][0],
    )


def _learned(params, lora, teacher, model):
    """What is left of KL(teacher || student), nats a token, after 400 steps of Adam."""
    tokens = np.random.default_rng(2).integers(0, 53, (16, 8)).astype(np.int32)
    wanted = jax.nn.log_softmax(model.apply({"params": teacher}, tokens))
    base, tx = base_of(lora, params), optax.adam(0.01)

    def loss(trained):
        found = jax.nn.log_softmax(model.apply({"params": joined(trained, base)}, tokens))
        return jnp.mean(jnp.sum(jnp.exp(wanted) * (wanted - found), axis=-1))

    def step(state, _):
        trained, opt_state = state
        left, grads = jax.value_and_grad(loss)(trained)
        return update(tx, grads, opt_state, trained, left), left

    trained = trained_params(lora, params, jax.random.key(1))
    return np.asarray(
        jax.jit(lambda x: jax.lax.scan(step, x, None, 400)[1])((trained, tx.init(trained)))
    )


@pytest.mark.slow
def test_adapters_of_the_full_rank_learn_what_full_fine_tuning_learns():
    """A teacher whose kernels all differ from the student's; a rank of one is not enough."""
    config = ModelConfig(
        vocab_size=53, context_length=8, num_layers=2, num_heads=4, d_model=16, init_std=0.2
    )
    model = GPT(resolve(ExperimentConfig(model=config)).model)
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 1), np.int32))["params"]
    rng = np.random.default_rng(0)

    def moved(keys, leaf):
        by = rng.normal(0, 0.2, leaf.shape).astype("float32")
        return leaf + by if keys[-1].key == "kernel" else leaf

    teacher = jax.tree_util.tree_map_with_path(moved, params)
    full, one, sixteen = (
        _learned(params, LoRAConfig(rank=rank, targets="attention,feed_forward"), teacher, model)
        for rank in (None, 1, 16)
    )
    assert full[0] == pytest.approx(one[0], rel=1e-6) == pytest.approx(sixteen[0], rel=1e-6)
    assert full[0] > 0.4 and one[-1] > 0.02
    assert sixteen[-1] < full[-1] + 0.002  # 0.0004 and 0.0011 when this was written
