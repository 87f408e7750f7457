"""Hugging Face's config.json of BERT as our `BertConfig`, and back.

The fields are those of `BertConfig` in `transformers`.

    config = model_config({"model_type": "bert", "num_hidden_layers": 12, ...})
    fields = huggingface_config(config, "float32")
"""

from collections.abc import Mapping
from typing import Any

from gptjax.attention.patterns import Dense
from gptjax.interop.huggingface_config import (
    read_activation,
    read_fields,
    refuse_other_layers,
)
from gptjax.model_config import BertConfig
from gptjax.models.bert import TOKEN_TYPES
from gptjax.models.transformer import attention_cycle

ARCHITECTURES = {  # by BertConfig.heads
    "pretraining": "BertForPreTraining",
    "masked_lm": "BertForMaskedLM",
    "encoder": "BertModel",
}
REQUIRED = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context_length",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "hidden_size": "d_model",
    "intermediate_size": "d_ff",
}
OPTIONAL = {
    "layer_norm_eps": ("layer_norm_epsilon", 1e-12),
    "initializer_range": ("init_std", 0.02),
    "attention_probs_dropout_prob": ("attention_dropout", 0.1),
    "hidden_dropout_prob": ("residual_dropout", 0.1),
}
ACTIVATIONS = {  # of "gelu" theirs is the exact one; the first that fits is exported
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "gelu_sigmoid",
    "relu": "relu",
}
UNSUPPORTED = {  # field: the one value that our model computes
    "type_vocab_size": TOKEN_TYPES,
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
THEIRS = "transformers' BERT models"


def model_config(hf_config: Mapping[str, Any]) -> BertConfig:
    """The resolved `BertConfig` of a config.json, with all heads.

    Absent fields take the defaults that `transformers` gives them.

    Raises:
      ValueError: a setting that our model does not have.
    """
    fields = read_fields("bert", hf_config, REQUIRED, OPTIONAL, UNSUPPORTED)
    config = BertConfig(
        **fields,
        embedding_dropout=fields["residual_dropout"],
        activation=read_activation("bert", hf_config, "hidden_act", "gelu", ACTIVATIONS),
        norm="post",
        scaled_residual_init=False,
    ).resolved()
    assert isinstance(config, BertConfig)
    return config


def huggingface_config(config: BertConfig, dtype: str) -> dict[str, Any]:
    """The config.json of a resolved `BertConfig`; `dtype` is that of the weights, by name.

    Raises:
      ValueError: a model that theirs cannot be, with the reason.
    """
    more = {
        "norm": ("post", "normalise after each residual addition"),
        "tied_embeddings": (True, "use the embedding's weights for the logits"),
    }
    refuse_other_layers(config, THEIRS, more)
    if any(not isinstance(pattern, Dense) for pattern in attention_cycle(config)):
        raise ValueError(
            f"config.model.attention: got {config.attention!r}, expected dense: {THEIRS} "
            "attend to all positions in every layer"
        )
    names = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    fields: dict[str, Any] = {
        "architectures": [ARCHITECTURES[config.heads]],
        "model_type": "bert",
        "hidden_act": names[config.activation],
        "pad_token_id": 0,
    }
    fields |= {theirs: getattr(config, ours) for theirs, ours in REQUIRED.items()}
    fields |= {theirs: getattr(config, ours) for theirs, (ours, _) in OPTIONAL.items()}
    return fields | UNSUPPORTED | {"dtype": dtype}
