"""Adapters in the format of Hugging Face's `peft`, read and written without it.

A directory holds adapter_config.json (`peft.LoraConfig`) and adapter_model.safetensors, with
`base_model.model.MODULE.lora_A.weight` [r, in] and `.lora_B.weight` [out, r] for each MODULE of
`transformers`. There query, key and value are one module, `attn.c_attn`. Three adapters of rank r
are one of rank 3 r there, whose B is zero outside three blocks; one of theirs is three with the
same A, each without the ranks that do nothing to it.

    adapter = read_peft(Path("adapter"), model)
    write_peft(Path("out"), adapters, model, lora, base="gpt2")
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.config import LoRAConfig, ModelConfig
from gptjax.interop.huggingface import TensorRow, layer_kernels
from gptjax.interop.new_directory import new_directory
from gptjax.interop.safetensors_files import SINGLE, SafeTensors, write_safetensors
from gptjax.models.adapters import A, B

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PEFT_PREFIX = "base_model.model."
ONLY: dict[str, tuple[Any, ...]] = {  # field: the values that our adapters have
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "modules_to_save": (None, []),
}


@dataclasses.dataclass(frozen=True)
class PeftAdapter:
    """Adapters of a directory, as ours.

    Attributes:
      lora: our configuration of them.
      leaves: float32 arrays by path, "trunk/layers/attention/query/lora_a".
    """

    lora: LoRAConfig
    leaves: dict[str, np.ndarray]


def write_peft(
    path: Path,
    leaves: Mapping[str, np.ndarray],
    model: ModelConfig,
    lora: LoRAConfig,
    base: str | None,
) -> None:
    """Writes a directory that `peft.PeftModel.from_pretrained` loads.

    Args:
      path: new or empty; it is there once all is in it.
      leaves: adapters by path, A [layers, *in, r] and B [layers, r, *out].
      model: resolved.
      lora: of the run.
      base: name of the model that they are of.

    Raises:
      ValueError: a model that `transformers` has not, or `path` cannot be written.
    """
    assert lora.rank is not None
    modules: dict[str, int] = {}  # its adapters of ours
    tensors: dict[str, np.ndarray] = {}
    for row in layer_kernels(model):
        parts = [part for part in row.parts if _beside(part, A) in leaves]
        if not parts:
            continue
        modules[_module(row.names[0]).split(".", 3)[-1]] = len(parts)
        for layer, name in enumerate(row.names):
            a, b = _joined(row, parts, leaves, layer)
            tensors |= {_key(name, "A"): a, _key(name, "B"): b}
    several = {module: count for module, count in modules.items() if count > 1}
    alpha = lora.scale * lora.rank
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": alpha,
        "rank_pattern": {module: count * lora.rank for module, count in several.items()},
        "alpha_pattern": {module: count * alpha for module, count in several.items()},
        "target_modules": list(modules),
        "fan_in_fan_out": True,  # theirs are Conv1D, [in, out]
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
    }
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    with new_directory(path) as unfinished:
        (unfinished / CONFIG).write_text(json.dumps(described, indent=2) + "\n")
        size = sum(tensor.nbytes for tensor in tensors.values())
        write_safetensors(unfinished, shapes, "float32", size, tensors.items())
        (unfinished / SINGLE).rename(unfinished / WEIGHTS)


def read_peft(path: Path, model: ModelConfig) -> PeftAdapter:
    """Reads a directory of `peft`'s, whose adapters are of a model of this configuration.

    Raises:
      ValueError: files are missing or damaged; adapters of another kind, of other modules than
        ours, or of another model's shapes.
    """
    described = peft_settings(path)
    if not (path / WEIGHTS).is_file():
        raise ValueError(f"{path}: got no {WEIGHTS}, expected the adapters")
    tensors = dict(SafeTensors(path / WEIGHTS))
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for row in layer_kernels(model):
        pairs = [
            _pair(path, name, row, tensors, _scale(described, _module(name))) for name in row.names
        ]
        if any(pair is not None for pair in pairs):
            found |= _divided(row, pairs)
    if tensors:
        raise ValueError(
            f"{path}: got {next(iter(tensors))}, expected adapters of attn.c_attn, attn.c_proj, "
            f"mlp.c_fc and mlp.c_proj in {model.num_layers} layers alone"
        )
    if not found:
        raise ValueError(f"{path}: got no adapter, expected one or more")
    rank = max(a.shape[-1] for a, _ in found.values())
    leaves: dict[str, np.ndarray] = {}
    for kernel, (a, b) in found.items():
        missing = rank - a.shape[-1]
        leaves[_beside(kernel, A)] = np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, missing)])
        leaves[_beside(kernel, B)] = np.pad(b, [(0, 0), (0, missing)] + [(0, 0)] * (b.ndim - 2))
    names = [kernel.removeprefix("trunk/layers/").removesuffix("/kernel") for kernel in found]
    lora = LoRAConfig(rank=rank, targets=",".join(names))
    return PeftAdapter(lora, leaves)


def peft_settings(path: Path) -> dict[str, Any]:
    """The adapter_config.json of a directory; ValueError where it is none of our adapters'."""
    try:
        described = json.loads((path / CONFIG).read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot read {CONFIG} ({error.strerror}), expected it") from error
    except ValueError as error:
        raise ValueError(f"{path / CONFIG}: {error}; expected a JSON object") from error
    if not isinstance(described, dict):
        raise ValueError(f"{path / CONFIG}: got no JSON object, expected adapters' settings")
    for name, values in ONLY.items():
        if described.get(name, values[0]) not in values:
            raise ValueError(
                f"{path / CONFIG}: got {name} = {described[name]!r}, expected {values[0]!r}"
            )
    return described


def _scale(described: Mapping[str, Any], module: str) -> float:
    """Factor of the product of a module's adapter: its alpha over its rank."""

    def of_module(patterns: str, default: str) -> Any:
        for name, value in (described.get(patterns) or {}).items():
            if re.fullmatch(rf"(.*\.)?({name})", module):  # as peft has it
                return value
        return described.get(default)

    alpha, rank = of_module("alpha_pattern", "lora_alpha"), of_module("rank_pattern", "r")
    if not all(isinstance(value, int | float) and value > 0 for value in (alpha, rank)):
        raise ValueError(
            f"{CONFIG}: got r = {rank!r} and lora_alpha = {alpha!r}, expected numbers above 0"
        )
    return alpha / rank


def _joined(
    row: TensorRow, parts: list[str], leaves: Mapping[str, np.ndarray], layer: int
) -> tuple[np.ndarray, np.ndarray]:
    """The adapters of `parts` as one of their module: A [n r, in] and B [out, n r]."""
    height, width = row.shape
    rows, columns = [], []
    begin = 0
    for part, size in row.parts.items():
        if part in parts:
            a, b = leaves[_beside(part, A)][layer], leaves[_beside(part, B)][layer]
            rank = a.shape[-1]
            block = np.zeros((width, rank), np.float32)
            block[begin : begin + size] = b.reshape(rank, size).T
            rows.append(a.reshape(height, rank).T)
            columns.append(block)
        begin += size
    return np.concatenate(rows), np.concatenate(columns, axis=1)


def _pair(
    path: Path, name: str, row: TensorRow, tensors: dict[str, np.ndarray], scale: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Takes A [r, in] and B [out, r] of a module out of `tensors`, with the scale in B."""
    a, b = (tensors.pop(_key(name, part), None) for part in "AB")
    if a is None and b is None:
        return None
    height, width = row.shape
    rank = 0 if a is None else len(a)
    if a is None or b is None or a.shape != (rank, height) or b.shape != (width, rank):
        got = [None if each is None else list(each.shape) for each in (a, b)]
        raise ValueError(
            f"{path}: got A and B of {_module(name)} of shapes {got[0]} and {got[1]}, expected "
            f"[r, {height}] and [{width}, r]"
        )
    return a.astype(np.float32), np.float32(scale) * b.astype(np.float32)


def _divided(
    row: TensorRow, pairs: list[tuple[np.ndarray, np.ndarray] | None]
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Kernels of ours, and the A [layers, *in, r] and B [layers, r, *out] of each."""
    height, width = row.shape
    rank = max(pair[0].shape[0] for pair in pairs if pair is not None)
    a, b = (
        np.zeros((len(pairs), rank, height), np.float32),
        np.zeros((len(pairs), width, rank), np.float32),
    )
    for layer, pair in enumerate(pairs):
        if pair is not None:
            a[layer, : len(pair[0])], b[layer, :, : len(pair[0])] = pair
    begin = 0
    for part, size in row.parts.items():
        of_part = b[:, begin : begin + size]
        begin += size
        does = np.any(of_part, axis=(0, 1), keepdims=True)[0, 0]
        does[0] |= not does.any()  # all zero: a rank of one
        inputs, outputs = row.axes[part]
        yield (
            part,
            (
                a[:, does].transpose(0, 2, 1).reshape(len(pairs), *inputs, -1),
                of_part[:, :, does].transpose(0, 2, 1).reshape(len(pairs), -1, *outputs),
            ),
        )


def _beside(kernel: str, name: str) -> str:
    return kernel.removesuffix("kernel") + name


def _module(tensor: str) -> str:
    return tensor.removesuffix(".weight")


def _key(tensor: str, part: str) -> str:
    return f"{PEFT_PREFIX}{_module(tensor)}.lora_{part}.weight"
