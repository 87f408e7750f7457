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


def _outputs(config, params, tokens):
    """What each layer puts out, by one `Block.apply` a layer."""
    params = jax.device_get(params)
    x = params["token_embedding"][tokens] + params["position_embedding"][: tokens.shape[1]]
    blocks = [jax.jit(Block(config, pattern).apply) for pattern in attention_cycle(config)]
    for i in range(config.num_layers):
        layer = jax.tree.map(lambda leaf, i=i: leaf[i], params["trunk"]["layers"])
        x, _ = blocks[i % len(blocks)]({"params": layer}, x)
        yield x


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_layers", "devices"),
    [(1, 1), (3, 1), (1, 4), (3, 4)],
)
def test_sizes_are_those_of_each_layer_alone(
    make_model, random_params, make_batch, num_layers, devices
):
    """Cycles are scanned and a remainder is not, and the rows may be on several devices."""
    config = make_model(num_layers=num_layers, attention="dense,banded(window=3)")
    params, model, batch = random_params(config), GPT(config), make_batch()
    mesh = make_mesh(ParallelismConfig(strategy="mesh"), jax.devices()[:devices])
    loss = language_model(model)
    statistics = layer_statistics(gradient_sums(loss), model, mesh)
    sizes = statistics(TrainState(jnp.int32(5), params, None), put_batch(batch, mesh), 0)

    def mean_loss(params):
        total, weight, _ = loss(params, batch, None)
        return total / weight

    gradients = jax.device_get(jax.jit(jax.grad(mean_loss))(params)["trunk"]["layers"])
    sizes = jax.device_get(sizes)
    for i, x in enumerate(_outputs(config, params, batch["tokens"])):
        ours = np.concatenate([np.ravel(leaf[i]) for leaf in jax.tree.leaves(gradients)])
        assert sizes["gradient_norm"][i] == pytest.approx(np.linalg.norm(ours), rel=1e-4)
        assert sizes["gradient_rms"][i] == pytest.approx(_rms(ours), rel=1e-4)
        assert sizes["activation_rms"][i] == pytest.approx(_rms(x), rel=1e-4)
        assert sizes["activation_max"][i] == pytest.approx(np.abs(x).max(), rel=1e-4)
    assert {value.shape for value in sizes.values()} == {(num_layers,)}


def test_layers_are_told_in_their_order(make_model, random_params, make_batch):
    """Of two cycles and a remainder."""
    config = make_model(num_layers=5, attention="dense,banded(window=3)")
    params, tokens, model = random_params(config), make_batch()["tokens"], GPT(config)

    @jax.jit
    def sown(params):
        return model.apply({"params": params}, tokens, method=GPT.hidden, mutable=["statistics"])

    (sizes,) = jax.device_get(sown(params)[1]["statistics"]["trunk"]["layers"])
    for i, x in enumerate(_outputs(config, params, tokens)):
        assert sizes["rms"][i] == pytest.approx(_rms(x), rel=1e-4)


def test_a_model_sows_nothing_unless_asked(make_model):
    config = make_model()
    tokens = jnp.zeros((1, 4), jnp.int32)
    made = jax.eval_shape(GPT(config).init, jax.random.key(0), tokens)
    assert set(made) == {"params"}
