"""Families of Hugging Face's models: what reads and writes each.

family = family_of("bert")
params = family.deferred_params(state, family.completed(family.model_config(described), state))
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gptjax.interop import (
    huggingface,
    huggingface_bert,
    huggingface_bert_config,
    huggingface_config,
    huggingface_wordpiece,
)
from gptjax.interop.huggingface_special_tokens import model_ids
from gptjax.interop.huggingface_tokenizer import (
    merges_tokenizer,
    read_tokenizer,
    tokenizer_files,
)
from gptjax.interop.vision import configs as vision_configs
from gptjax.interop.vision import tensors as vision_tensors
from gptjax.interop.vision import tokenizers as vision_tokenizers
from gptjax.tokenization import RawBytes, Tokenizer


class Family(NamedTuple):
    """Models of one design.

    Attributes:
      makes: what they are, in words for messages, as `Kind.makes`.
      generates: whether they write text.
      model_config: (config.json) -> our configuration, resolved.
      completed: (configuration, names of the tensors) -> it, with what the tensors tell.
      huggingface_config: (configuration, dtype) -> config.json, without the ids of tokens.
      model_ids: (tokenizer, name of a file) -> the ids of tokens that the file names.
      deferred_params: (tensors, configuration, rows of their tables of tokens) -> our parameters,
        `Deferred`.
      tensor_shapes: (configuration) -> names and shapes of their tensors.
      tensors_for_huggingface: (reads one of our leaves, configuration) -> their tensors.
      read_tokenizer: (directory, model_type) -> our tokenizer.
      tokenizer_files: (tokenizer, context length) -> files by name.
    """

    makes: str
    generates: bool
    model_config: Callable[[Mapping[str, Any]], Any]
    completed: Callable[[Any, Collection[str]], Any]
    huggingface_config: Callable[[Any, str], dict[str, Any]]
    model_ids: Callable[[Tokenizer, str], Mapping[str, Any]]
    deferred_params: Callable[[Mapping[str, np.ndarray], Any, int], dict[str, Any]]
    tensor_shapes: Callable[[Any], dict[str, tuple[int, ...]]]
    tensors_for_huggingface: Callable[..., Iterator[tuple[str, np.ndarray]]]
    read_tokenizer: Callable[[Path, str], Tokenizer]
    tokenizer_files: Callable[[Tokenizer, int], dict[str, bytes]]


GPT = Family(
    "language model",
    True,
    huggingface_config.model_config,
    lambda config, _: config,
    huggingface_config.huggingface_config,
    lambda tokenizer, file: model_ids(merges_tokenizer(tokenizer), file),
    huggingface.deferred_params,
    huggingface.tensor_shapes,
    huggingface.tensors_for_huggingface,
    read_tokenizer,
    lambda tokenizer, length: tokenizer_files(merges_tokenizer(tokenizer), length),
)
BERT = Family(
    "masked language model",
    False,
    huggingface_bert_config.model_config,
    huggingface_bert.with_heads,
    huggingface_bert_config.huggingface_config,
    lambda *_: {},
    huggingface_bert.deferred_params,
    huggingface_bert.tensor_shapes,
    huggingface_bert.tensors_for_huggingface,
    lambda directory, _: huggingface_wordpiece.read_wordpiece(directory),
    huggingface_wordpiece.wordpiece_files,
)
VIT = Family(
    "classifier of images",
    False,
    vision_configs.vit_config,
    vision_configs.with_pooler,
    vision_configs.huggingface_vit_config,
    lambda *_: {},
    functools.partial(vision_tensors.deferred_params, vision_tensors.VIT),
    functools.partial(vision_tensors.tensor_shapes, vision_tensors.VIT),
    functools.partial(vision_tensors.tensors_for_huggingface, vision_tensors.VIT),
    lambda *_: RawBytes(),  # it reads no text
    lambda *_: {},
)
CLIP = Family(
    "pair of encoders of images and texts",
    False,
    vision_configs.clip_config,
    lambda config, _: config,
    vision_configs.huggingface_clip_config,
    lambda *_: {},
    functools.partial(vision_tensors.deferred_params, vision_tensors.CLIP),
    functools.partial(vision_tensors.tensor_shapes, vision_tensors.CLIP),
    functools.partial(vision_tensors.tensors_for_huggingface, vision_tensors.CLIP),
    lambda directory, _: vision_tokenizers.read_clip_tokenizer(directory),
    vision_tokenizers.clip_tokenizer_files,
)
FAMILIES = {family.makes: family for family in (GPT, BERT, VIT, CLIP)}
BY_MODEL_TYPE = {
    **dict.fromkeys(huggingface_config.ARCHITECTURES, GPT),
    "bert": BERT,
    "vit": VIT,
    "clip": CLIP,
}


def family_of(model_type: Any) -> Family:
    """The family of a `model_type`; ValueError if there is none."""
    if not isinstance(model_type, str) or model_type not in BY_MODEL_TYPE:
        choices = ", ".join(BY_MODEL_TYPE)
        raise ValueError(f"model_type: got {model_type!r}, expected one of {choices}")
    return BY_MODEL_TYPE[model_type]
