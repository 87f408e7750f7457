"""Parameters that are traced for their shapes alone, against those that are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import errors

from gptjax.config import ExperimentConfig, resolve
from gptjax.model_config import BertConfig, EncoderDecoderConfig
from gptjax.models.bert import Bert
from gptjax.models.encoder_decoder import EncoderDecoder
from gptjax.models.gpt import GPT
from gptjax.models.parameter_shapes import parameter_shapes

TOKEN = jax.ShapeDtypeStruct((1, 1), jnp.int32)
SMALL = {"vocab_size": 53, "context_length": 12, "num_layers": 3, "num_heads": 2, "d_model": 16}


def bert():
    return Bert(resolve(ExperimentConfig(model=BertConfig(**SMALL))).model), (TOKEN,)


def encoder_decoder():
    config = resolve(ExperimentConfig(model=EncoderDecoderConfig(**SMALL))).model
    return EncoderDecoder(config), (TOKEN, TOKEN)


def gpt():
    fields = {"tied_embeddings": False, "num_kv_heads": 1, "d_value": 5}
    score = "relative_bias(buckets=8,max_distance=16)"
    config = ExperimentConfig()
    for name, value in {**SMALL, **fields, "score": score}.items():
        setattr(config.model, name, value)
    return GPT(resolve(config).model), (TOKEN,)


@pytest.mark.parametrize("make", [gpt, bert, encoder_decoder])
def test_they_are_the_shapes_and_dtypes_of_what_init_draws(make):
    model, inputs = make()
    shapes = parameter_shapes(model, *inputs)
    drawn = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    assert shapes == drawn
    assert len(jax.tree.leaves(drawn)) > 10


def test_a_model_draws_its_parameters_after_their_shapes_were_asked_for():
    model, inputs = gpt()
    kernel = parameter_shapes(model)["trunk"]["layers"]["feed_forward"]["up"]["kernel"]
    tokens = [jnp.zeros(x.shape, x.dtype) for x in inputs]
    drawn = jax.jit(model.init)(jax.random.key(0), *tokens)["params"]
    drawn = np.asarray(drawn["trunk"]["layers"]["feed_forward"]["up"]["kernel"])
    assert drawn.shape == kernel.shape
    assert float(drawn.std()) == pytest.approx(0.02, rel=0.1)
    assert not np.array_equal(drawn[0], drawn[1])


@pytest.mark.parametrize(
    "path", [("token_embedding",), ("trunk", "final_norm", "scale"), ("head", "kernel")]
)
def test_parameters_of_another_shape_are_refused(path):
    model, inputs = gpt()
    params = jax.tree.map(lambda leaf: leaf, parameter_shapes(model))
    *parts, name = path
    held = params
    for part in parts:
        held = held[part]
    shape = held[name].shape
    held[name] = jax.ShapeDtypeStruct((shape[0] + 1, *shape[1:]), jnp.float32)
    where = "".join(f"/{part}" for part in parts)
    with pytest.raises(errors.ScopeParamShapeError, match=rf'"{name}" in "{where}"'):
        jax.eval_shape(lambda params, x: model.apply({"params": params}, x), params, *inputs)
