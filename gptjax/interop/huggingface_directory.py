"""A model directory of Hugging Face's: read, checked as a whole, and written.

source = Pretrained(Path("gpt2"))
source.model, source.tokenizer(), source.params()
write_pretrained(Path("out"), config, stored.read, tokenizer, dtype="bfloat16")
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.config import ModelConfig
from gptjax.interop.huggingface import deferred_params, tensor_shapes, tensors_for_huggingface
from gptjax.interop.huggingface_config import COMPUTED, huggingface_config, model_config
from gptjax.interop.huggingface_tokenizer import read_tokenizer, tokenizer_files
from gptjax.interop.new_directory import new_directory
from gptjax.interop.safetensors_files import (
    HOW_TO_CONVERT,
    PICKLES,
    SafeTensors,
    write_safetensors,
)
from gptjax.tokenization import Tokenizer

CONFIG, GENERATION = "config.json", "generation_config.json"
DTYPES = ("float32", "bfloat16", "float16")
GIB = 2**30


def is_pretrained(path: Path) -> bool:
    """Whether `path` is a model directory of Hugging Face's, whatever the model."""
    try:
        described = json.loads((path / CONFIG).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and "model_type" in described


class Pretrained:
    """Model directory that `save_pretrained` wrote, or a download of a model's repository.

    Attributes:
      path: of the directory.
      kind: its `model_type`.
      model: our configuration of it, resolved.
    """

    def __init__(self, path: Path):
        """Reads config.json and the headers of the weights.

        Raises:
          ValueError: the directory, its config.json or its weights are missing, damaged or of a
            model that we do not have.
        """
        if path.suffix in PICKLES:
            raise ValueError(f"{path}: got a pickle, which is never opened; {HOW_TO_CONVERT}")
        if not path.is_dir():
            raise ValueError(f"{path}: got no directory, expected one with a {CONFIG}")
        self.path = path
        try:
            described = json.loads((path / CONFIG).read_text())
        except OSError as error:
            raise ValueError(
                f"{path}: cannot read {CONFIG} ({error.strerror}), expected that of a model"
            ) from error
        except ValueError as error:
            raise ValueError(f"{path / CONFIG}: {error}; expected a JSON object") from error
        if not isinstance(described, dict):
            raise ValueError(f"{path / CONFIG}: got no JSON object, expected a model's settings")
        try:
            self.model = model_config(described)
        except ValueError as error:
            raise ValueError(f"{path / CONFIG}: {error}") from error
        self.kind = str(described["model_type"])
        self._tensors = SafeTensors(path)

    def content_hash(self) -> str:
        """SHA-256 over config.json and the weights; ValueError where one cannot be read."""
        content = hashlib.sha256()
        try:
            for file in (self.path / CONFIG, *self._tensors.files()):
                with file.open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
                content.update(f"{digest}  {file.name}\n".encode())
        except OSError as error:
            raise ValueError(f"{error.filename}: cannot be read ({error.strerror})") from error
        return content.hexdigest()

    def tokenizer(self) -> Tokenizer:
        """The tokenizer; ValueError where its files are missing, damaged or of another kind."""
        return read_tokenizer(self.path, self.kind)

    def params(self, config: ModelConfig | None = None) -> dict[str, Any]:
        """Our parameter tree of `Deferred` arrays, each made when it is read.

        Args:
          config: resolved; by default `model`. It may differ in what weights are not made for,
            such as attention and dropout.

        Raises:
          ValueError: weights and config.json disagree, or `config` is of another model.
        """
        config = config or self.model
        different = [
            f"{name} {getattr(self.model, name)}, not {getattr(config, name)}"
            for name in COMPUTED
            if getattr(self.model, name) != getattr(config, name)
        ]
        if different:
            raise ValueError(f"{self.path}: another model, with {'; '.join(different)}")
        try:
            return deferred_params(self._tensors, config)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error


def write_pretrained(
    path: Path,
    config: ModelConfig,
    read: Callable[[str], np.ndarray],
    tokenizer: Tokenizer,
    *,
    dtype: str = "float32",
    max_shard_bytes: int = 5 * GIB,
) -> None:
    """Writes a directory that `transformers` loads: model, tokenizer, generation config.

    Args:
      path: new or empty; it is there once all is in it.
      config: resolved.
      read: gives a leaf of our parameters by its path; each is read once.
      tokenizer: of the model.
      dtype: of the weights, one of DTYPES.
      max_shard_bytes: of the weights in one file.

    Raises:
      ValueError: the model or the tokenizer is none that `transformers` has, with the reason; the
        dtype cannot hold a weight; or `path` cannot be written.
    """
    assert dtype in DTYPES, dtype
    end = tokenizer.end_of_text
    described = huggingface_config(config, dtype, end)
    files = tokenizer_files(tokenizer, config.context_length)
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(
            f"tokenizer: got {tokenizer.vocab_size} tokens, expected the model's "
            f"{config.vocab_size}"
        )
    generation = {} if end is None else {"bos_token_id": end, "eos_token_id": end}
    files |= {
        CONFIG: (json.dumps(described, indent=2) + "\n").encode(),
        GENERATION: (json.dumps(generation, indent=2) + "\n").encode(),
    }
    with new_directory(path) as unfinished:
        for name, content in files.items():
            (unfinished / name).write_bytes(content)
        tensors = tensors_for_huggingface(read, config)
        write_safetensors(unfinished, tensor_shapes(config), dtype, max_shard_bytes, tensors)
