import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from gptjax.config import ModelConfig
from gptjax.interop import huggingface as huggingface_module
from gptjax.interop.huggingface import (
    model_config,
    params_from_huggingface,
    tensor_shapes,
    tensors_for_huggingface,
)
from gptjax.models.gpt import GPT
from tests.interop.theirs import KINDS, SIZES, huggingface, tensors, their_logits


def our_logits(config: ModelConfig, params, tokens: np.ndarray) -> np.ndarray:
    forward = jax.jit(GPT(config).apply)
    return np.asarray(forward({"params": params}, tokens.astype(np.int32)))


def checkpoint(kind: str, **fields) -> tuple[dict[str, np.ndarray], ModelConfig]:
    """Random tensors under their names, written out here by hand, and our config."""
    config = model_config({"model_type": kind, **SIZES, **fields})
    width = SIZES["n_embd"]
    shapes: dict[str, tuple[int, ...]] = {}
    tokens, positions = ("wte", "wpe") if kind == "gpt2" else ("tokens_embed", "positions_embed")
    shapes[f"{tokens}.weight"] = (61, width)
    shapes[f"{positions}.weight"] = (24, width)
    for layer in range(3):
        for name, inputs, outputs in (
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width),
            ("mlp.c_proj", 4 * width, width),
        ):
            shapes[f"h.{layer}.{name}.weight"] = (inputs, outputs)
            shapes[f"h.{layer}.{name}.bias"] = (outputs,)
        for name in ("ln_1.weight", "ln_1.bias", "ln_2.weight", "ln_2.bias"):
            shapes[f"h.{layer}.{name}"] = (width,)
    if kind == "gpt2":
        shapes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    rng = np.random.default_rng(0)
    state = {
        f"transformer.{name}": rng.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    return state, config


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_theirs(kind):
    model = huggingface(kind)
    config = model_config(json.loads(model.config.to_json_string()))
    tokens = np.random.default_rng(1).integers(0, 61, (2, 24))
    params = params_from_huggingface(tensors(model), config)
    np.testing.assert_allclose(
        our_logits(config, params, tokens), their_logits(model, tokens), rtol=1e-4, atol=1e-4
    )


def test_logits_equal_theirs_with_every_setting_changed():
    model = huggingface(
        "gpt2",
        n_inner=48,
        activation_function="gelu",
        layer_norm_epsilon=0.1,
        tie_word_embeddings=False,
    )
    config = model_config(model.config.to_dict())
    assert (config.d_ff, config.activation, config.tied_embeddings) == (48, "gelu", False)
    tokens = np.random.default_rng(1).integers(0, 61, (2, 24))
    params = params_from_huggingface(tensors(model), config)
    np.testing.assert_allclose(
        our_logits(config, params, tokens), their_logits(model, tokens), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_is_the_one_that_init_makes(kind):
    state, config = checkpoint(kind)
    params = params_from_huggingface(state, config)
    made = jax.eval_shape(GPT(config).init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, made["params"])
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    assert not params["token_embedding"][61:].any()
    query = params["trunk"]["layers"]["attention"]["query"]["kernel"]
    fused = state["transformer.h.2.attn.c_attn.weight"]
    np.testing.assert_array_equal(query[2, :, 1], fused[:, 8:16])


def test_model_config_reads_the_published_gpt2():
    published = {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "attn_pdrop": 0.1,
        "embd_pdrop": 0.1,
        "resid_pdrop": 0.1,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "n_embd": 768,
        "n_head": 12,
        "n_layer": 12,
        "n_positions": 1024,
        "vocab_size": 50257,
    }
    assert model_config(published) == ModelConfig(
        vocab_size=50257,
        context_length=1024,
        num_layers=12,
        num_heads=12,
        num_kv_heads=12,
        d_model=768,
        d_head=64,
        d_value=64,
        d_ff=3072,
        embedding_dropout=0.1,
        attention_dropout=0.1,
        residual_dropout=0.1,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_old_names_masks_and_the_tied_head_are_understood(kind):
    state, config = checkpoint(kind)
    plain = params_from_huggingface(state, config)
    old = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    old["h.0.attn.bias"] = np.tril(np.ones((1, 1, 24, 24), np.uint8))
    old["h.2.attn.masked_bias"] = np.array(-1e4, np.float32)
    table = "wte.weight" if kind == "gpt2" else "tokens_embed.weight"
    old["lm_head.weight"] = old[table]
    for _ in range(2):
        jax.tree.map(np.testing.assert_array_equal, params_from_huggingface(old, config), plain)
        old.pop(table, None)  # some keep the tied table under the name of the output layer alone


def test_sixteen_bit_tensors_are_widened():
    state, config = checkpoint("gpt2")
    for dtype in (np.float16, jnp.bfloat16):
        half = {name: tensor.astype(dtype) for name, tensor in state.items()}
        params = params_from_huggingface(half, config)
        wpe = half["transformer.wpe.weight"].astype(np.float32)
        np.testing.assert_array_equal(params["position_embedding"], wpe)


def refusal(state, config) -> str:
    with pytest.raises(ValueError) as caught:
        params_from_huggingface(state, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_tensors_that_do_not_fit_are_refused_by_name():
    state, config = checkpoint("gpt2")
    name = "transformer.h.1.mlp.c_fc.weight"
    extra = np.zeros(3, np.float32)
    missing = {n: tensor for n, tensor in state.items() if n != name}
    assert refusal(missing, config) == f"checkpoint: got no {name}, expected 40 tensors"
    for unknown in ("transformer.h.3.ln_1.weight", "wpe.weight", "score.weight"):
        text = refusal({**state, unknown: extra}, config)
        assert text == f"checkpoint: got {unknown}, which this model does not have"
    text = refusal({**state, name: state[name].T}, config)
    assert text == f"{name}: got shape (128, 32), expected (32, 128)"
    text = refusal({**state, name: state[name].astype(np.int8)}, config)
    assert text == f"{name}: got dtype int8, expected floats"
    text = refusal({**state, "lm_head.weight": state["transformer.wte.weight"] + 1}, config)
    assert text.startswith("lm_head.weight: got other values than the embedding")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"positions": "rotary"}, "positions: got rotary, expected learned: T learn a table"),
        ({"score": "alibi"}, "score: got alibi, expected none: T leave attention scores as"),
        ({"d_head": 6}, "d_head: got 6, expected 8: T divide d_model among the heads"),
        ({"d_value": 4}, "d_value: got 4, expected 8: T have value heads as wide as key heads"),
        ({"num_kv_heads": 2}, "num_kv_heads: got 2, expected 4: T have a key head for every"),
    ],
)
def test_models_that_theirs_cannot_be_are_refused_by_the_fields_name(change, message):
    state, config = checkpoint("gpt2")
    message = "config.model." + message.replace(": T ", ": transformers' GPT-2 and GPT-1 ")
    assert refusal(state, dataclasses.replace(config, **change)).startswith(message)


def test_another_architecture_is_refused_by_its_names():
    state, _ = checkpoint("gpt2")
    _, config = checkpoint("openai-gpt")
    text = refusal(state, config)
    assert "transformer.wte.weight, transformer.wpe.weight, transformer.ln_f.weight and 1" in text


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model_type": "llama"}, "model_type: got 'llama', expected one of gpt2, openai-gpt"),
        ({"activation_function": "silu"}, "activation_function: got 'silu', expected one of"),
        ({"scale_attn_by_inverse_layer_idx": True}, "idx: got True, expected False"),
        ({"scale_attn_weights": False}, "scale_attn_weights: got False, expected True"),
        ({"add_cross_attention": True}, "add_cross_attention: got True, expected False"),
        ({"n_embd": "32"}, "config.model.d_model: got '32', expected int >= 1"),
        ({"n_head": 5}, "config.model.d_model: got 32 with 5 heads"),
    ],
)
def test_configs_that_our_model_cannot_express_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        model_config({"model_type": "gpt2", **SIZES, **change})


def test_a_config_without_sizes_is_refused():
    with pytest.raises(ValueError, match="gpt2 config: got no n_layer, n_head"):
        model_config({"model_type": "gpt2", "vocab_size": 61, "n_positions": 24, "n_embd": 32})


def leaves(params) -> dict[str, np.ndarray]:
    return traverse_util.flatten_dict(params, sep="/")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_export_is_the_inverse_of_import(kind, tied):
    state, config = checkpoint(kind, tie_word_embeddings=tied)
    if not tied:
        state["lm_head.weight"] = np.random.default_rng(2).normal(size=(61, 32)).astype(np.float32)
    params = leaves(params_from_huggingface(state, config))
    reads: list[str] = []

    def read(path: str) -> np.ndarray:
        reads.append(path)
        return params[path]

    exported = dict(tensors_for_huggingface(read, config))
    assert sorted(reads) == sorted(params)
    shapes = tensor_shapes(config)
    assert exported.keys() == state.keys() == shapes.keys()
    for name, tensor in exported.items():
        np.testing.assert_array_equal(tensor, state[name], err_msg=name)
        assert tensor.shape == shapes[name]


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_are_named_as_theirs_are(kind):
    model = huggingface(kind, **SIZES)
    config = model_config(model.config.to_dict())
    theirs = {name: tensor.shape for name, tensor in tensors(model).items()}
    del theirs["lm_head.weight"]  # which is the embedding
    assert tensor_shapes(config) == theirs


def test_tensors_larger_than_a_piece_are_copied_whole(monkeypatch):
    state, config = checkpoint("gpt2")
    whole = params_from_huggingface(state, config)
    monkeypatch.setattr(huggingface_module, "_PIECE", 1000)
    state["lm_head.weight"] = state["transformer.wte.weight"].copy()
    jax.tree.map(np.testing.assert_array_equal, params_from_huggingface(state, config), whole)
    padded = {name: np.pad(state[name], [(0, 3), (0, 0)]) for name in state if "wte" in name}
    padded = {**state, **padded, "lm_head.weight": padded["transformer.wte.weight"]}
    read = params_from_huggingface(padded, config, table_rows=64)
    jax.tree.map(np.testing.assert_array_equal, read, whole)
    assert "got shape (64, 32), expected (61, 32)" in refusal(padded, config)
    state["lm_head.weight"][60, 31] += 1
    assert "lm_head.weight: got other values" in refusal(state, config)
