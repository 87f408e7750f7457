import functools

import jax
import numpy as np
import pytest

from experiments.benchmarks.pytorch.program import torch_program
from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.models.costs import parameter_count
from gptjax.models.gpt import GPT
from gptjax.training.losses import language_model
from tests.support.params import random_params

SIZES = {"vocab_size": 128, "context_length": 16, "num_layers": 2, "num_heads": 2, "d_model": 32}


def _theirs(params):
    """Our parameters under PyTorch's names: kernels are transposed, heads are put together."""
    layers = params["trunk"]["layers"]
    yield "token_embedding.weight", params["token_embedding"]
    yield "position_embedding.weight", params["position_embedding"]
    yield "final_norm.weight", params["trunk"]["final_norm"]["scale"]
    yield "final_norm.bias", params["trunk"]["final_norm"]["bias"]
    for i in range(SIZES["num_layers"]):
        block = jax.tree.map(lambda leaf, i=i: leaf[i], layers)
        for norm in ("attention_norm", "feed_forward_norm"):
            yield f"blocks.{i}.{norm}.weight", block[norm]["scale"]
            yield f"blocks.{i}.{norm}.bias", block[norm]["bias"]
        qkv = [block["attention"][name] for name in ("query", "key", "value")]
        kernel = np.concatenate([part["kernel"].reshape(32, 32) for part in qkv], axis=1)
        yield f"blocks.{i}.query_key_value.weight", kernel.T
        yield f"blocks.{i}.query_key_value.bias", np.concatenate([p["bias"].ravel() for p in qkv])
        yield f"blocks.{i}.out.weight", block["attention"]["out"]["kernel"].reshape(32, 32).T
        yield f"blocks.{i}.out.bias", block["attention"]["out"]["bias"]
        for name in ("up", "down"):
            yield f"blocks.{i}.{name}.weight", block["feed_forward"][name]["kernel"].T
            yield f"blocks.{i}.{name}.bias", block["feed_forward"][name]["bias"]


def test_it_is_the_model_that_it_is_compared_with():
    """The same parameters, in number and by name, give the same loss."""
    torch = pytest.importorskip("torch")
    from experiments.benchmarks.pytorch import gpt

    model = resolve(ExperimentConfig(model=ModelConfig(**SIZES))).model
    tokens = np.random.default_rng(0).integers(128, size=(2, 16), dtype=np.int32)
    params = random_params(GPT(model), tokens)
    batch = {"tokens": tokens, "targets": tokens, "loss_weights": np.ones((2, 16), np.float32)}
    loss = jax.jit(functools.partial(language_model(GPT(model)), rng=None))
    total, weight, _ = loss(params, batch)

    theirs = gpt.GPT(**SIZES)
    assert sum(p.numel() for p in theirs.parameters()) == parameter_count(model)
    state = {name: torch.from_numpy(np.array(value)) for name, value in _theirs(params)}
    theirs.load_state_dict(state)
    rows = torch.from_numpy(tokens).long()
    with torch.no_grad():
        assert float(theirs(rows, rows)) == pytest.approx(float(total / weight), rel=1e-5)


@pytest.mark.slow
def test_a_step_is_timed_in_a_process_of_its_own():
    pytest.importorskip("torch")
    arguments = SIZES | {"batch_size": 2, "dtype": "float32", "compiled": False}
    with torch_program("gpt", **arguments) as (run, version):
        assert version.startswith("torch ")
        assert 0 < run() < 60
