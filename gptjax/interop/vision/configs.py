"""Hugging Face's config.json of ViT and of CLIP as our configurations, and back.

The fields are those of `ViTConfig` and `CLIPConfig` in `transformers`.

    config = vit_config({"model_type": "vit", "num_hidden_layers": 12, ...})
    fields = huggingface_vit_config(config, "float32")
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from gptjax.attention.patterns import Dense
from gptjax.config import ModelConfig
from gptjax.interop.huggingface_bert_config import ACTIVATIONS
from gptjax.interop.huggingface_config import read_activation, read_fields, refuse_other_layers
from gptjax.models.transformer import attention_cycle
from gptjax.vision_config import ClipConfig, ImageClassifierConfig, VisionConfig

STACK = {
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "hidden_size": "d_model",
    "intermediate_size": "d_ff",
}
IMAGES = {"image_size": "image_size", "patch_size": "patch_size"}
OF_VIT = {
    "num_channels": ("num_channels", 3),
    "layer_norm_eps": ("layer_norm_epsilon", 1e-12),
    "initializer_range": ("init_std", 0.02),
    "attention_probs_dropout_prob": ("attention_dropout", 0.0),
    "hidden_dropout_prob": ("residual_dropout", 0.0),
}
OF_CLIP = {
    "layer_norm_eps": ("layer_norm_epsilon", 1e-5),
    "initializer_range": ("init_std", 0.02),
    "attention_dropout": ("attention_dropout", 0.0),
}
TEXTS = {"vocab_size": "vocab_size", "max_position_embeddings": "context_length"}
# `transformers` writes no field of a part that has its default.
CLIP_TEXTS = {
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "vocab_size": 49408,
    "max_position_embeddings": 77,
}
CLIP_IMAGES = {
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "image_size": 224,
    "patch_size": 32,
}
# What CLIP's encoder of images is, besides its sizes.
CLIP_ENCODER = {
    "pooling": "class",
    "entry_norm": True,
    "patch_bias": False,
    "pooler": False,
    "positions": "learned",
}


def vit_config(hf_config: Mapping[str, Any]) -> ImageClassifierConfig:
    """The resolved configuration of a config.json of ViT.

    Raises:
      ValueError: a setting that our model does not have.
    """
    unsupported = {"qkv_bias": True, "pooler_act": "tanh"}
    fields = read_fields("vit", hf_config, STACK | IMAGES, OF_VIT, unsupported)
    names = hf_config.get("id2label")
    classes = len(names) if isinstance(names, Mapping) else hf_config.get("num_labels", 2)
    return ImageClassifierConfig(
        **fields,
        embedding_dropout=fields["residual_dropout"],
        activation=read_activation("vit", hf_config, "hidden_act", "gelu", ACTIVATIONS),
        scaled_residual_init=False,
        num_classes=max(2, classes),
    ).resolved()


def with_pooler(config: ImageClassifierConfig, names: Collection[str]) -> ImageClassifierConfig:
    """`config` with the pooler that tensors of these names make."""
    has = any(name.endswith("pooler.dense.weight") for name in names)
    return dataclasses.replace(config, pooler=has)


def huggingface_vit_config(config: ImageClassifierConfig, dtype: str) -> dict[str, Any]:
    """The config.json of a resolved configuration; `dtype` is that of the weights, by name.

    Raises:
      ValueError: a model that theirs cannot be, with the reason.
    """
    theirs = "transformers' ViT models"
    more = {
        "norm": ("pre", "normalise before each branch"),
        "pooling": ("class", "have a class token"),
        "entry_norm": (False, "have no LayerNorm before the layers"),
        "patch_bias": (True, "have a bias in the embedding of patches"),
    }
    _refuse(config, theirs, more)
    fields = {name: getattr(config, ours) for name, ours in (STACK | IMAGES).items()}
    fields |= {name: getattr(config, ours) for name, (ours, _) in OF_VIT.items()}
    classes = {str(number): f"LABEL_{number}" for number in range(config.num_classes)}
    return fields | {
        "architectures": ["ViTModel" if config.pooler else "ViTForImageClassification"],
        "model_type": "vit",
        "hidden_act": _activation(config),
        "qkv_bias": True,
        "id2label": classes,
        "label2id": {name: int(number) for number, name in classes.items()},
        "dtype": dtype,
    }


def clip_config(hf_config: Mapping[str, Any]) -> ClipConfig:
    """The resolved configuration of a config.json of CLIP.

    Raises:
      ValueError: a setting that our model does not have.
    """
    parts = {}
    for name, defaults in (("text_config", CLIP_TEXTS), ("vision_config", CLIP_IMAGES)):
        part = hf_config.get(name)
        if not isinstance(part, Mapping):
            raise ValueError(f"clip config: got no {name}, expected an object")
        parts[name] = defaults | dict(part)
    images, texts = parts["vision_config"], parts["text_config"]
    options = OF_CLIP | {"num_channels": ("num_channels", 3)}
    of_images = read_fields("clip", images, STACK | IMAGES, options, {})
    of_texts = read_fields("clip", texts, STACK | TEXTS, OF_CLIP, {})
    scale = hf_config.get("logit_scale_init_value", math.log(1 / 0.07))
    return ClipConfig(
        **of_texts,
        activation=read_activation("clip", texts, "hidden_act", "quick_gelu", ACTIVATIONS),
        projection=hf_config.get("projection_dim", 512),
        initial_scale=min(math.exp(scale), 100.0),
        vision=VisionConfig(
            **of_images,
            **CLIP_ENCODER,
            pixel_range="clip",
            activation=read_activation("clip", images, "hidden_act", "quick_gelu", ACTIVATIONS),
        ),
    ).resolved()


def huggingface_clip_config(config: ClipConfig, dtype: str) -> dict[str, Any]:
    """The config.json of a resolved configuration; `dtype` is that of the weights, by name.

    Raises:
      ValueError: a model that theirs cannot be, with the reason.
    """
    theirs, reason = "transformers' CLIP models", "have no other encoder of images"
    norm = {"norm": ("pre", "normalise before each branch")}
    _refuse(config, theirs, norm)
    try:
        _refuse(config.vision, theirs, norm | {k: (v, reason) for k, v in CLIP_ENCODER.items()})
    except ValueError as error:
        raise ValueError(str(error).replace("config.model.", "config.model.vision.")) from None

    def part(of: ModelConfig, names: Mapping[str, str], kind: str) -> dict[str, Any]:
        fields = {name: getattr(of, ours) for name, ours in (STACK | dict(names)).items()}
        fields |= {name: getattr(of, ours) for name, (ours, _) in OF_CLIP.items()}
        more = {"hidden_act": _activation(of), "projection_dim": config.projection}
        return fields | more | {"model_type": kind}

    images = part(config.vision, IMAGES, "clip_vision_model")
    last = config.vocab_size - 1  # the end of text, which is CLIP's last token
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.projection,
        "logit_scale_init_value": math.log(config.initial_scale),
        "text_config": part(config, TEXTS, "clip_text_model")
        | {
            "bos_token_id": last - 1,
            "eos_token_id": last,
            "pad_token_id": last,
        },
        "vision_config": images | {"num_channels": config.vision.num_channels},
        "dtype": dtype,
    }


def _refuse(config: ModelConfig, theirs: str, more: Mapping[str, tuple[Any, str]]) -> None:
    refuse_other_layers(config, theirs, more)
    if any(not isinstance(pattern, Dense) for pattern in attention_cycle(config)):
        raise ValueError(
            f"config.model.attention: got {config.attention!r}, expected dense: {theirs} have no "
            "sparse patterns"
        )


def _activation(config: ModelConfig) -> str:
    return {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}[config.activation]
