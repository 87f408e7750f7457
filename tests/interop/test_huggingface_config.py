import dataclasses

import pytest

from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.interop.huggingface_config import ACTIVATIONS, huggingface_config, model_config


def config(**fields) -> ModelConfig:
    sizes = {"vocab_size": 61, "context_length": 24, "num_layers": 3, "num_heads": 4, "d_model": 32}
    return resolve(ExperimentConfig(model=ModelConfig(**{**sizes, **fields}))).model


EVERY_SETTING = {
    "d_ff": 48,
    "layer_norm_epsilon": 0.1,
    "init_std": 0.5,
    "embedding_dropout": 0.2,
    "attention_dropout": 0.3,
    "residual_dropout": 0.4,
    "tied_embeddings": False,
}


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS["gpt2"].values())))
def test_gpt2_comes_back_as_it_was(activation):
    ours = config(**EVERY_SETTING, activation=activation)
    assert model_config(huggingface_config(ours, "float32")) == ours


@pytest.mark.parametrize("activation", ["gelu_tanh", "relu"])
def test_gpt1_comes_back_as_it_was(activation):
    fields = {**EVERY_SETTING, "d_ff": None, "norm": "post", "scaled_residual_init": False}
    ours = config(**fields, activation=activation)
    assert model_config(huggingface_config(ours, "float32")) == ours


@pytest.mark.parametrize(("norm", "name"), [("pre", "GPT2"), ("post", "OpenAIGPT")])
def test_transformers_reads_every_field_that_is_written(norm, name):
    transformers = pytest.importorskip("transformers")
    written = huggingface_config(config(norm=norm, layer_norm_epsilon=0.1), "bfloat16")
    theirs = getattr(transformers, name + "Config")
    known = theirs().to_dict().keys()
    assert written.keys() <= known, written.keys() - known
    read = theirs.from_dict(written).to_dict()
    assert written["model_type"] == theirs.model_type
    assert str(read.pop("dtype")).removeprefix("torch.") == written.pop("dtype") == "bfloat16"
    assert {field: read[field] for field in written} == written


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"attention": "dense,banded(window=8)"},
            r"got 'dense,banded\(window=8\)', expected dense: .* have no sparse patterns",
        ),
        ({"attention": "prefix(length=8)"}, "attention: got .* expected dense"),
        ({"positions": "rotary"}, "positions: got rotary, expected learned: .* learn a table"),
        ({"positions": "none"}, "positions: got none, expected learned"),
        ({"score": "alibi"}, "score: got alibi, expected none"),
        ({"num_kv_heads": 2}, "num_kv_heads: got 2, expected 4"),
        ({"d_head": 16}, "d_head: got 16, expected 8"),
        ({"d_value": 4}, "d_value: got 4, expected 8"),
        ({"norm": "post", "d_ff": 48}, "d_ff: got 48 with norm=post, expected 128"),
        (
            {"norm": "post", "activation": "gelu"},
            "activation: got gelu with norm=post, expected one of gelu_tanh, relu: .* no other",
        ),
    ],
)
def test_models_that_transformers_cannot_express_are_refused_with_the_reason(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        huggingface_config(config(**fields), "float32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model_type", ["gpt2"]),
        ("activation_function", ["relu"]),
        ("n_layer", "3"),
        ("n_embd", None),
        ("n_head", 0),
        ("layer_norm_epsilon", "small"),
        ("tie_word_embeddings", None),
    ],
)
def test_values_of_other_types_are_one_line(name, value):
    described = huggingface_config(config(), "float32") | {name: value}
    with pytest.raises(ValueError, match=r": got .*, expected ") as caught:
        model_config(described)
    assert "\n" not in str(caught.value)


def test_what_computes_attention_and_what_is_kept_is_no_matter():
    ours = config(attention_impl="reference", remat="dots", dtype="bfloat16", vocab_multiple=1)
    plain = dataclasses.replace(ours, attention_impl="auto", remat="none", dtype="float32")
    assert huggingface_config(ours, "float32") == huggingface_config(plain, "float32")
