import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import ParallelismConfig
from gptjax.models.gpt import GPT
from gptjax.models.layers import Block
from gptjax.models.transformer import attention_cycle
from gptjax.training.gradients import gradient_sums
from gptjax.training.losses import language_model
from gptjax.training.partitioning import make_mesh, put_batch
from gptjax.training.reporting.statistics import layer_statistics
from gptjax.training.state import TrainState


def _rms(x):
    return np.sqrt(np.mean(np.square(np.float64(x))))


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize(
    ("num_layers", "attention"), [(3, "dense,banded(window=3)"), (1, "dense,banded(window=3)")]
)
def test_sizes_are_those_of_each_layer_alone(
    make_model, random_params, make_batch, num_layers, attention, devices
):
    """Cycles are scanned and a remainder is not, and the rows may be on several devices."""
    config = make_model(num_layers=num_layers, attention=attention)
    params, model, batch = random_params(config), GPT(config), make_batch()
    mesh = make_mesh(ParallelismConfig(strategy="mesh"), jax.devices()[:devices])
    loss = language_model(model)
    statistics = layer_statistics(gradient_sums(loss), model, 0, mesh)
    sizes = statistics(TrainState(jnp.int32(5), params, None), put_batch(batch, mesh))

    def mean_loss(params):
        total, weight, _ = loss(params, batch, None)
        return total / weight

    gradients = jax.grad(mean_loss)(params)["trunk"]["layers"]
    x = params["token_embedding"][batch["tokens"]] + params["position_embedding"][None, :8]
    cycle = attention_cycle(config)
    for i in range(num_layers):
        ours = np.concatenate([np.ravel(leaf[i]) for leaf in jax.tree.leaves(gradients)])
        assert sizes["gradient_norm"][i] == pytest.approx(np.linalg.norm(ours), rel=1e-4)
        assert sizes["gradient_rms"][i] == pytest.approx(_rms(ours), rel=1e-4)
        layer = jax.tree.map(lambda leaf, i=i: leaf[i], params["trunk"]["layers"])
        x, _ = Block(config, cycle[i % len(cycle)]).apply({"params": layer}, x)
        assert sizes["activation_rms"][i] == pytest.approx(_rms(x), rel=1e-4)
        assert sizes["activation_max"][i] == pytest.approx(np.abs(x).max(), rel=1e-4)
    assert {value.shape for value in sizes.values()} == {(num_layers,)}


def test_a_model_sows_nothing_unless_asked(make_model):
    config = make_model()
    tokens = jnp.zeros((1, 4), jnp.int32)
    made = jax.eval_shape(GPT(config).init, jax.random.key(0), tokens)
    assert set(made) == {"params"}
