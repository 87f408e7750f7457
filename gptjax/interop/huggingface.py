"""Hugging Face's GPT-2 (`GPT2LMHeadModel`) and GPT-1 (`OpenAIGPTLMHeadModel`) as our parameters.

A table says where each of their tensors goes; torch and transformers are not needed. Their linear
layers keep kernels as [inputs, outputs], as ours do; query, key and value lie side by side in one.

    config = model_config(json.loads(Path("config.json").read_text()))
    params = params_from_huggingface(state, config)
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.models.gpt import GPT


class Target(NamedTuple):
    """Where one of their tensors goes.

    Attributes:
      ours: paths of our leaves, in the order in which theirs has them along its last axis.
      inputs: how many leading axes of our leaf are the rows of their matrix; 0 is a vector.
    """

    ours: tuple[str, ...]
    inputs: int


def _normalisation(theirs: str, ours: str) -> dict[str, Target]:
    return {
        f"{theirs}.weight": Target((f"{ours}/scale",), 0),
        f"{theirs}.bias": Target((f"{ours}/bias",), 0),
    }


def _linear(theirs: str, *ours: str, inputs: int = 1) -> dict[str, Target]:
    return {
        f"{theirs}.weight": Target(tuple(f"{path}/kernel" for path in ours), inputs),
        f"{theirs}.bias": Target(tuple(f"{path}/bias" for path in ours), 0),
    }


LAYER = {
    **_linear("attn.c_attn", "attention/query", "attention/key", "attention/value"),
    **_linear("attn.c_proj", "attention/out", inputs=2),
    **_linear("mlp.c_fc", "feed_forward/up"),
    **_linear("mlp.c_proj", "feed_forward/down"),
    **_normalisation("ln_1", "attention_norm"),
    **_normalisation("ln_2", "feed_forward_norm"),
}
GPT2 = {
    "wte.weight": Target(("token_embedding",), 1),
    "wpe.weight": Target(("position_embedding",), 1),
    **_normalisation("ln_f", "trunk/final_norm"),
}
GPT1 = {
    "tokens_embed.weight": Target(("token_embedding",), 1),
    "positions_embed.weight": Target(("position_embedding",), 1),
}
OUTSIDE_LAYERS = {"pre": GPT2, "post": GPT1}  # by ModelConfig.norm
HEAD = "lm_head.weight"
PREFIX = "transformer."  # of all but the head; OpenAI's first uploads lack it
NOT_PARAMETERS = r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)"  # causal masks

REQUIRED = {
    "vocab_size": "vocab_size",
    "n_positions": "context_length",
    "n_layer": "num_layers",
    "n_head": "num_heads",
    "n_embd": "d_model",
}
OPTIONAL = {
    "n_inner": ("d_ff", None),
    "layer_norm_epsilon": ("layer_norm_epsilon", 1e-5),
    "initializer_range": ("init_std", 0.02),
    "embd_pdrop": ("embedding_dropout", 0.1),
    "attn_pdrop": ("attention_dropout", 0.1),
    "resid_pdrop": ("residual_dropout", 0.1),
    "tie_word_embeddings": ("tied_embeddings", True),
}
ACTIVATIONS = {  # of `activation_function` in GPT-2; GPT-1's `afn` calls the tanh form "gelu"
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
ONLY = {"positions": "learned", "score": "none"}  # of `ModelConfig`: what their models compute


def model_config(hf_config: Mapping[str, Any]) -> ModelConfig:
    """The resolved `ModelConfig` of a Hugging Face config.json.

    Absent fields take the defaults that `transformers` gives them.

    Raises:
      ValueError: another kind of model, or a setting that our model does not have.
    """
    kind = hf_config.get("model_type")
    if kind not in ACTIVATIONS:
        raise ValueError(f"model_type: got {kind!r}, expected one of {', '.join(ACTIVATIONS)}")
    missing = [name for name in REQUIRED if name not in hf_config]
    if missing:
        raise ValueError(f"{kind} config: got no {', '.join(missing)}, expected an integer each")
    for name, value in UNSUPPORTED.items():
        if hf_config.get(name, value) != value:
            raise ValueError(f"{kind} config {name}: got {hf_config[name]}, expected {value}")
    name, default = ("activation_function", "gelu_new") if kind == "gpt2" else ("afn", "gelu")
    activation = hf_config.get(name, default)
    if activation not in ACTIVATIONS[kind]:
        choices = ", ".join(ACTIVATIONS[kind])
        raise ValueError(f"{kind} config {name}: got {activation!r}, expected one of {choices}")
    fields = {ours: hf_config[theirs] for theirs, ours in REQUIRED.items()}
    fields |= {ours: hf_config.get(theirs, value) for theirs, (ours, value) in OPTIONAL.items()}
    model = ModelConfig(
        **fields,
        activation=ACTIVATIONS[kind][activation],
        norm="pre" if kind == "gpt2" else "post",
        scaled_residual_init=kind == "gpt2",
    )
    return resolve(ExperimentConfig(model=model)).model


def params_from_huggingface(state: Mapping[str, np.ndarray], config: ModelConfig) -> dict[str, Any]:
    """Our parameter tree, from the tensors of a Hugging Face checkpoint.

    Args:
      state: tensors by name, all with the leading "transformer." or none; each is read once.
      config: a resolved `ModelConfig`; `norm` says whether they are GPT-2's ("pre") or GPT-1's.

    Returns:
      What `GPT(config).init` makes, as float32 NumPy arrays; the embedding rows that pad the
      vocabulary are zero.

    Raises:
      ValueError: a config that their models do not compute; tensors that are missing, that stand
        for nothing here, of another shape, not of floats, or an output layer that differs from the
        embedding it is tied to.
    """
    only = ONLY | {"num_kv_heads": config.num_heads, "d_value": config.d_head}
    for name, value in only.items():
        if getattr(config, name) != value:
            raise ValueError(f"config.model.{name}: got {getattr(config, name)}, expected {value}")
    tokens = jax.ShapeDtypeStruct((1, 1), np.int32)
    abstract = jax.eval_shape(GPT(config).init, jax.random.key(0), tokens)["params"]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), abstract)
    prefix = PREFIX if any(name.startswith(PREFIX) for name in state) else ""
    destinations = _destinations(params, config, prefix)
    _check_names(state, destinations)
    for name, (parts, inputs) in destinations.items():
        _copy(name, state[name], parts, inputs)
    if config.tied_embeddings and HEAD in state:
        table = params["token_embedding"][: config.vocab_size]
        if not np.array_equal(np.asarray(state[HEAD], np.float32), table):
            raise ValueError(f"{HEAD}: got other values than the embedding, expected tied ones")
    return params


def _destinations(
    params: dict[str, Any], config: ModelConfig, prefix: str
) -> dict[str, tuple[list[np.ndarray], int]]:
    """Their names to (views of our leaves, `Target.inputs`)."""
    leaves: dict[str, Any] = traverse_util.flatten_dict(params, sep="/")
    for padded in {"token_embedding", "head/kernel"} & leaves.keys():
        leaves[padded] = leaves[padded][: config.vocab_size]
    found = {
        prefix + name: ([leaves[path] for path in paths], inputs)
        for name, (paths, inputs) in OUTSIDE_LAYERS[config.norm].items()
    }
    if not config.tied_embeddings:
        found[HEAD] = ([leaves["head/kernel"]], 1)
    for layer in range(config.num_layers):
        for name, (paths, inputs) in LAYER.items():
            parts = [leaves[f"trunk/layers/{path}"][layer] for path in paths]
            found[f"{prefix}h.{layer}.{name}"] = (parts, inputs)
    return found


def _check_names(state: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> None:
    def some(names: list[str]) -> str:
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    known = {*expected, HEAD}
    unknown = [n for n in state if n not in known and not re.fullmatch(NOT_PARAMETERS, n)]
    if unknown:
        raise ValueError(f"checkpoint: got {some(unknown)}, which this model does not have")
    missing = [name for name in expected if name not in state]
    if missing:
        raise ValueError(f"checkpoint: got no {some(missing)}, expected {len(expected)} tensors")


def _copy(name: str, theirs: np.ndarray, ours: list[np.ndarray], inputs: int) -> None:
    """Writes their matrix or vector into our arrays, which divide its last axis in order."""
    widths = [math.prod(part.shape[inputs:]) for part in ours]
    rows = (math.prod(ours[0].shape[:inputs]),) if inputs else ()
    if theirs.shape != (*rows, sum(widths)):
        raise ValueError(f"{name}: got shape {theirs.shape}, expected {(*rows, sum(widths))}")
    if not jnp.issubdtype(theirs.dtype, jnp.floating):
        raise ValueError(f"{name}: got dtype {theirs.dtype}, expected floats")
    for part, values in zip(ours, np.split(theirs, np.cumsum(widths)[:-1], axis=-1), strict=True):
        part[...] = values.reshape(part.shape)
