"""Hugging Face's config.json of GPT-2 and GPT-1 as our `ModelConfig`, and back.

The fields are those of `GPT2Config` and `OpenAIGPTConfig` in `transformers`.

    config = model_config({"model_type": "gpt2", "n_layer": 12, ...})
    fields = huggingface_config(config, "float32")
"""

import types
from collections.abc import Mapping
from typing import Any

from gptjax.attention.patterns import Dense
from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.models.transformer import attention_cycle

KINDS = {"pre": "gpt2", "post": "openai-gpt"}  # by ModelConfig.norm
ARCHITECTURES = {"gpt2": "GPT2LMHeadModel", "openai-gpt": "OpenAIGPTLMHeadModel"}
THEIRS = "transformers' GPT-2 and GPT-1"

REQUIRED = {
    "vocab_size": "vocab_size",
    "n_positions": "context_length",
    "n_layer": "num_layers",
    "n_head": "num_heads",
    "n_embd": "d_model",
}
OPTIONAL = {
    "layer_norm_epsilon": ("layer_norm_epsilon", 1e-5),
    "initializer_range": ("init_std", 0.02),
    "embd_pdrop": ("embedding_dropout", 0.1),
    "attn_pdrop": ("attention_dropout", 0.1),
    "resid_pdrop": ("residual_dropout", 0.1),
    "tie_word_embeddings": ("tied_embeddings", True),
}
ACTIVATION = {"gpt2": ("activation_function", "gelu_new"), "openai-gpt": ("afn", "gelu")}
ACTIVATIONS = {  # GPT-1's `afn` calls the tanh form "gelu"; the first that fits is exported
    "gpt2": {
        "gelu_new": "gelu_tanh",
        "gelu_pytorch_tanh": "gelu_tanh",
        "gelu": "gelu",
        "quick_gelu": "gelu_sigmoid",
        "relu": "relu",
    },
    "openai-gpt": {"gelu": "gelu_tanh", "relu": "relu"},
}
UNSUPPORTED = {  # field: the one value that our model computes
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}
COMPUTED = (  # of `ModelConfig`: what weights are made for
    *REQUIRED.values(),
    "d_ff",
    "norm",
    "activation",
    "layer_norm_epsilon",
    "tied_embeddings",
)


def model_config(hf_config: Mapping[str, Any]) -> ModelConfig:
    """The resolved `ModelConfig` of a Hugging Face config.json.

    Absent fields take the defaults that `transformers` gives them.

    Raises:
      ValueError: another kind of model, or a setting that our model does not have.
    """
    kind = hf_config.get("model_type")
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise ValueError(f"model_type: got {kind!r}, expected one of {', '.join(ARCHITECTURES)}")
    fields = read_fields(kind, hf_config, REQUIRED, OPTIONAL, UNSUPPORTED)
    model = ModelConfig(
        **fields,
        d_ff=hf_config.get("n_inner") if kind == "gpt2" else None,
        activation=read_activation(kind, hf_config, *ACTIVATION[kind], ACTIVATIONS[kind]),
        norm="pre" if kind == "gpt2" else "post",
        scaled_residual_init=kind == "gpt2",
    )
    return resolve(ExperimentConfig(model=model)).model


def read_fields(
    kind: str,
    hf_config: Mapping[str, Any],
    required: Mapping[str, str],
    optional: Mapping[str, tuple[str, Any]],
    unsupported: Mapping[str, Any],
) -> dict[str, Any]:
    """Our fields of a config.json, by our names.

    Args:
      kind: of the model, for messages.
      hf_config: the config.json.
      required: our name of each field that must be there.
      optional: our name and the default of each field that may be absent.
      unsupported: the one value that our model computes, of each field that it does not have.

    Raises:
      ValueError: a field that is missing, or a setting that our model does not have.
    """
    missing = [name for name in required if name not in hf_config]
    if missing:
        raise ValueError(f"{kind} config: got no {', '.join(missing)}, expected an integer each")
    for name, value in unsupported.items():
        if hf_config.get(name, value) != value:
            raise ValueError(f"{kind} config {name}: got {hf_config[name]!r}, expected {value!r}")
    fields = {ours: hf_config[theirs] for theirs, ours in required.items()}
    return fields | {ours: hf_config.get(name, value) for name, (ours, value) in optional.items()}


def read_activation(
    kind: str, hf_config: Mapping[str, Any], name: str, default: str, ours: Mapping[str, str]
) -> str:
    """Our name of the activation in the field `name`; `ours` has it by theirs.

    Raises:
      ValueError: an activation that our model does not have.
    """
    theirs = hf_config.get(name, default)
    if not isinstance(theirs, str) or theirs not in ours:
        choices = ", ".join(ours)
        raise ValueError(f"{kind} config {name}: got {theirs!r}, expected one of {choices}")
    return ours[theirs]


def huggingface_config(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """The config.json of a resolved `ModelConfig`, less the ids of special tokens.

    Args:
      config: resolved.
      dtype: of the weights, by name.

    Raises:
      ValueError: a model that theirs cannot be, with the reason.
    """
    refuse_other_layers(config)
    kind = KINDS[config.norm]
    if any(not isinstance(pattern, Dense) for pattern in attention_cycle(config)):
        raise ValueError(
            f"config.model.attention: got {config.attention!r}, expected dense: {THEIRS} attend "
            "to all earlier positions in every layer and have no sparse patterns"
        )
    if kind == "openai-gpt" and config.d_ff != 4 * config.d_model:
        raise ValueError(
            f"config.model.d_ff: got {config.d_ff} with norm=post, expected {4 * config.d_model}: "
            "transformers' GPT-1 has feed-forward layers of 4 d_model"
        )
    names = [theirs for theirs, ours in ACTIVATIONS[kind].items() if ours == config.activation]
    if not names:
        choices = ", ".join(sorted(set(ACTIVATIONS[kind].values())))
        raise ValueError(
            f"config.model.activation: got {config.activation} with norm={config.norm}, expected "
            f"one of {choices}: transformers' {kind} has no other"
        )
    fields: dict[str, Any] = {"architectures": [ARCHITECTURES[kind]], "model_type": kind}
    fields |= {theirs: getattr(config, ours) for theirs, ours in REQUIRED.items()}
    fields |= {theirs: getattr(config, ours) for theirs, (ours, _) in OPTIONAL.items()}
    if kind == "gpt2":
        fields |= {"n_inner": config.d_ff, **UNSUPPORTED}
    fields[ACTIVATION[kind][0]] = names[0]
    return fields | {"dtype": dtype}


def refuse_other_layers(
    config: ModelConfig,
    theirs: str = THEIRS,
    more: Mapping[str, tuple[Any, str]] = types.MappingProxyType({}),
) -> None:
    """Raises ValueError, with the reason, where their layers cannot hold our parameters.

    Args:
      config: resolved.
      theirs: their models, for messages.
      more: the value that theirs must have, and the reason, of other fields than those of all.
    """
    checks: dict[str, tuple[Any, str]] = {
        **more,
        "trunk": ("transformer", "have layers of attention"),
        "positions": ("learned", "learn a table of positions"),
        "score": ("none", "leave attention scores as they are"),
        "parametrization": ("standard", "have no multipliers of muP"),
        "num_kv_heads": (config.num_heads, "have a key head for every query head"),
        "d_head": (config.d_model / config.num_heads, "divide d_model among the heads"),
        "d_value": (config.d_head, "have value heads as wide as key heads"),
    }
    for name, (value, reason) in checks.items():
        if getattr(config, name) != value:
            expected = f"{value:g}" if isinstance(value, float) else value
            raise ValueError(
                f"config.model.{name}: got {getattr(config, name)}, expected {expected}: "
                f"{theirs} {reason}"
            )
