"""Hugging Face's ViT and CLIP (`ViTForImageClassification`, `CLIPModel`): parameters as ours.

A table says where each of their tensors goes, both ways; torch and transformers are not needed.
Their kernels are [outputs, inputs], ours the transposed; those of patches are [outputs, channels,
rows, columns], ours [rows x columns x channels, outputs].

    params = deferred_params(VIT, state, config)
    state = dict(tensors_for_huggingface(CLIP, read, config))

A file of `ViTModel` has the names of `ViTForImageClassification` without "vit.", and no head: ours
then starts at zero, as in fine-tuning.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from gptjax.config import ModelConfig
from gptjax.models.parameter_shapes import parameter_shapes
from gptjax.models.vision import classifier, clip
from gptjax.training.checkpoints.parameter_files import Deferred
from gptjax.vision_config import ClipConfig, ImageClassifierConfig, VisionConfig

_HEAD = {"classifier.weight", "classifier.bias"}
_NOT_PARAMETERS = r"(text|vision)_model\.embeddings\.position_ids"


class Place(NamedTuple):
    """Place of one of their tensors in our parameters.

    Attributes:
      ours: path of our leaf.
      layer: its index in the first axis of the leaf; None: the leaf has no axis of layers.
      form: how theirs is laid out: as ours but for axes of size 1 or that are one there (same),
        transposed (turned), or as a convolution (patches).
    """

    ours: str
    layer: int | None = None
    form: str = "same"


class Design(NamedTuple):
    """One design of theirs.

    Attributes:
      table: (configuration) -> the place of each of their tensors, by name.
      shapes: (configuration) -> the shapes of our leaves, by path.
      prefix: what names of some files lack.
    """

    table: Callable[[Any], dict[str, Place]]
    shapes: Callable[[Any], dict[str, tuple[int, ...]]]
    prefix: str = ""


def _linear(theirs: str, ours: str, layer: int | None = None) -> dict[str, Place]:
    return {
        f"{theirs}.weight": Place(f"{ours}/kernel", layer, "turned"),
        f"{theirs}.bias": Place(f"{ours}/bias", layer),
    }


def _norm(theirs: str, ours: str, layer: int | None = None) -> dict[str, Place]:
    return {
        f"{theirs}.weight": Place(f"{ours}/scale", layer),
        f"{theirs}.bias": Place(f"{ours}/bias", layer),
    }


def _layers(
    count: int, theirs: str, ours: str, linear: Mapping[str, str], norms: Mapping[str, str]
) -> dict[str, Place]:
    table: dict[str, Place] = {}
    for layer in range(count):
        for name, path in linear.items():
            table |= _linear(f"{theirs}.{layer}.{name}", f"{ours}/{path}", layer)
        for name, path in norms.items():
            table |= _norm(f"{theirs}.{layer}.{name}", f"{ours}/{path}", layer)
    return table


def _vit_table(config: ImageClassifierConfig) -> dict[str, Place]:
    attention = "attention.attention"
    table = {
        "vit.embeddings.cls_token": Place("class_embedding"),
        "vit.embeddings.position_embeddings": Place("position_embedding"),
        "vit.embeddings.patch_embeddings.projection.weight": Place(
            "patch_embedding/kernel", form="patches"
        ),
        "vit.embeddings.patch_embeddings.projection.bias": Place("patch_embedding/bias"),
    }
    table |= _layers(
        config.num_layers,
        "vit.encoder.layer",
        "trunk/layers",
        {
            **{f"{attention}.{name}": f"attention/{name}" for name in ("query", "key", "value")},
            "attention.output.dense": "attention/out",
            "intermediate.dense": "feed_forward/up",
            "output.dense": "feed_forward/down",
        },
        {"layernorm_before": "attention_norm", "layernorm_after": "feed_forward_norm"},
    )
    table |= _norm("vit.layernorm", "trunk/final_norm")
    if config.pooler:
        table |= _linear("vit.pooler.dense", "pooler")
    return table | _linear("classifier", "task_head")


def _clip_table(config: ClipConfig) -> dict[str, Place]:
    linear = {
        **{f"self_attn.{name[0]}_proj": f"attention/{name}" for name in ("query", "key", "value")},
        "self_attn.out_proj": "attention/out",
        "mlp.fc1": "feed_forward/up",
        "mlp.fc2": "feed_forward/down",
    }
    norms = {"layer_norm1": "attention_norm", "layer_norm2": "feed_forward_norm"}
    table = {
        "logit_scale": Place("logit_scale"),
        "text_projection.weight": Place("text_projection", form="turned"),
        "visual_projection.weight": Place("image_projection", form="turned"),
        "text_model.embeddings.token_embedding.weight": Place("token_embedding"),
        "text_model.embeddings.position_embedding.weight": Place("position_embedding"),
        "vision_model.embeddings.class_embedding": Place("vision/class_embedding"),
        "vision_model.embeddings.position_embedding.weight": Place("vision/position_embedding"),
        "vision_model.embeddings.patch_embedding.weight": Place(
            "vision/patch_embedding/kernel", form="patches"
        ),
    }
    for count, theirs, ours in (
        (config.num_layers, "text_model", "trunk"),
        (config.vision.num_layers, "vision_model", "vision/trunk"),
    ):
        table |= _layers(count, f"{theirs}.encoder.layers", f"{ours}/layers", linear, norms)
    table |= _norm("text_model.final_layer_norm", "trunk/final_norm")
    table |= _norm("vision_model.pre_layrnorm", "vision/entry_norm")  # their spelling
    return table | _norm("vision_model.post_layernorm", "vision/trunk/final_norm")


def _image(config: VisionConfig) -> jax.ShapeDtypeStruct:
    size = (1, config.image_size, config.image_size, config.num_channels)
    return jax.ShapeDtypeStruct(size, jnp.float32)


def _flat(shapes: Any) -> dict[str, tuple[int, ...]]:
    leaves: dict[str, Any] = traverse_util.flatten_dict(shapes, sep="/")
    return {path: leaf.shape for path, leaf in leaves.items()}


def _vit_shapes(config: ImageClassifierConfig) -> dict[str, tuple[int, ...]]:
    return _flat(parameter_shapes(classifier.ImageClassifier(config), _image(config)))


def _clip_shapes(config: ClipConfig) -> dict[str, tuple[int, ...]]:
    token = jax.ShapeDtypeStruct((1, 1), jnp.int32), jax.ShapeDtypeStruct((1,), jnp.int32)
    return _flat(parameter_shapes(clip.CLIP(config), *token, _image(config.vision)))


VIT = Design(_vit_table, _vit_shapes, "vit.")
CLIP = Design(_clip_table, _clip_shapes)


def deferred_params(
    design: Design, state: Mapping[str, np.ndarray], config: Any, table_rows: int | None = None
) -> dict[str, Any]:
    """Our parameter tree of `Deferred` arrays, each made when it is read.

    Args:
      design: VIT or CLIP.
      state: tensors by name.
      config: resolved.
      table_rows: of their table of tokens, whose rows past the vocabulary are left out; None: as
        many as the vocabulary.

    Raises:
      ValueError: tensors that are missing, that stand for nothing here, of another shape, or not of
        floats.
    """
    named = {
        _full_name(design, name): name for name in state if not re.fullmatch(_NOT_PARAMETERS, name)
    }
    table, shapes = design.table(config), design.shapes(config)
    if not _HEAD & named.keys():
        table = {name: place for name, place in table.items() if name not in _HEAD}
    for got, wanted, said in (
        (named, table, "which this model does not have"),
        (table, named, f"expected {len(table)} tensors"),
    ):
        others = [name for name in got if name not in wanted]
        if others:
            what = _some(others) if got is named else f"no {_some(others)}"
            raise ValueError(f"checkpoint: got {what}, {said}")
    for name, place in table.items():
        shape = _their_shape(place, shapes, config)
        if place.ours == "token_embedding":
            shape = (table_rows or shape[0], shape[1])
        theirs = state[named[name]]
        if tuple(theirs.shape) != shape:
            raise ValueError(f"{named[name]}: got shape {theirs.shape}, expected {shape}")
        if not jnp.issubdtype(theirs.dtype, jnp.floating):
            raise ValueError(f"{named[name]}: got dtype {theirs.dtype}, expected floats")

    def read(path: str) -> np.ndarray:
        leaf = np.zeros(shapes[path], np.float32)
        for name, place in table.items():
            if place.ours != path:
                continue
            ours, theirs = leaf if place.layer is None else leaf[place.layer], state[named[name]]
            if path == "token_embedding":
                theirs, ours = theirs[: config.vocab_size], ours[: config.vocab_size]
            if place.form == "patches":
                theirs = theirs.transpose(2, 3, 1, 0)
            ours[...] = (theirs.T if place.form == "turned" else theirs).reshape(ours.shape)
        return leaf

    leaves = {path: Deferred(shapes[path], lambda path=path: read(path)) for path in shapes}
    return traverse_util.unflatten_dict(leaves, sep="/")


def tensor_shapes(design: Design, config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of `tensors_for_huggingface`."""
    shapes = design.shapes(config)
    table = _exported(design, config).items()
    return {
        _export_name(design, config, name): _their_shape(place, shapes, config)
        for name, place in table
    }


def tensors_for_huggingface(
    design: Design, read: Callable[[str], np.ndarray], config: Any
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the tensors of a Hugging Face checkpoint; `read` gives each of our leaves once.

    Raises:
      ValueError: a head behind a pooler that has learned something: theirs has no such model.
    """
    shapes, table = design.shapes(config), _exported(design, config)
    for path in shapes:
        leaf = read(path)
        if path.startswith("task_head/") and getattr(config, "pooler", False) and leaf.any():
            raise ValueError(
                "config.model.pooler: got True with a head that has learned, expected False: "
                "transformers' ViT has a pooler or a head of classes, not both"
            )
        for name, place in table.items():
            if place.ours != path:
                continue
            shape = _their_shape(place, shapes, config)
            ours = leaf if place.layer is None else leaf[place.layer]
            if path == "token_embedding":
                ours = ours[: shape[0]]
            if place.form == "patches":
                outputs, channels, rows, columns = shape
                theirs = ours.reshape(rows, columns, channels, outputs).transpose(3, 2, 0, 1)
            else:
                turned = place.form == "turned"
                theirs = ours.reshape(shape[::-1]).T if turned else ours.reshape(shape)
            contiguous = np.ascontiguousarray(theirs).reshape(shape)  # 0-d arrays become 1-d
            yield _export_name(design, config, name), contiguous


def _exported(design: Design, config: Any) -> dict[str, Place]:
    table = design.table(config)
    left_out = _HEAD if getattr(config, "pooler", False) else set()
    return {name: place for name, place in table.items() if name not in left_out}


def _export_name(design: Design, config: Any, name: str) -> str:
    """A file of `ViTModel`, which has a pooler, has no prefix."""
    return name.removeprefix(design.prefix) if getattr(config, "pooler", False) else name


def _full_name(design: Design, name: str) -> str:
    return name if name.startswith(design.prefix) or name in _HEAD else design.prefix + name


def _their_shape(
    place: Place, shapes: Mapping[str, tuple[int, ...]], config: ModelConfig
) -> tuple[int, ...]:
    shape = shapes[place.ours][0 if place.layer is None else 1 :]
    if place.ours == "token_embedding":
        return config.vocab_size, config.d_model
    if place.form == "patches":
        vision = config if isinstance(config, VisionConfig) else _vision_of(config)
        return shape[-1], vision.num_channels, vision.patch_size, vision.patch_size
    if place.form == "turned":
        if len(shape) == 2:
            return shape[::-1]
        of_bias = shapes[place.ours.removesuffix("kernel") + "bias"]
        outputs = int(np.prod(of_bias[0 if place.layer is None else 1 :]))
        return outputs, int(np.prod(shape)) // outputs
    if isinstance(config, VisionConfig) and place.ours.endswith(
        ("class_embedding", "position_embedding")
    ):
        return (1, *((1,) if len(shape) == 1 else ()), *shape)
    return shape if place.ours.endswith("embedding") or not shape else (int(np.prod(shape)),)


def _vision_of(config: Any) -> VisionConfig:
    return config.vision


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
