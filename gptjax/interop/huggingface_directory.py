"""A model directory of Hugging Face's: read, checked as a whole, and written.

source = Pretrained(Path("gpt2"))
source.model, source.tokenizer(), source.params()
write_pretrained(Path("out"), config, stored.read, tokenizer, dtype="bfloat16")
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.config import ModelConfig
from gptjax.interop.choices import DTYPES
from gptjax.interop.families import FAMILIES, family_of
from gptjax.interop.huggingface_config import COMPUTED
from gptjax.interop.huggingface_special_tokens import GENERATION
from gptjax.interop.huggingface_special_tokens import MODEL as CONFIG
from gptjax.interop.new_directory import new_directory
from gptjax.interop.safetensors_files import (
    HOW_TO_CONVERT,
    PICKLES,
    SafeTensors,
    write_safetensors,
)
from gptjax.tokenization import Tokenizer

GIB = 2**30


def is_pretrained(path: Path) -> bool:
    """Whether `path` is a model directory of Hugging Face's, whatever the model."""
    try:
        described = json.loads((path / CONFIG).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(described, dict) and "model_type" in described


class Pretrained:
    """Model directory that `save_pretrained` wrote, or a download of a model's repository.

    Attributes:
      path: of the directory.
      kind: its `model_type`.
      makes: its model, in words for messages, as `Kind.makes`.
      model: our configuration of it, resolved. Its tables may have rows past the tokenizer's
        tokens; `fitted` is without them.
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
            raise ValueError(
                f"{path}: got no directory, expected a downloaded model: a directory with {CONFIG} "
                "and *.safetensors, as `hf download NAME --local-dir=DIR` makes one"
            )
        self.path = path
        try:
            described = json.loads((path / CONFIG).read_text("utf-8"))
        except OSError as error:
            raise ValueError(
                f"{path}: cannot read {CONFIG} ({error.strerror}), expected that of a model"
            ) from error
        except ValueError as error:
            raise ValueError(f"{path / CONFIG}: {error}; expected a JSON object") from error
        if not isinstance(described, dict):
            raise ValueError(f"{path / CONFIG}: got no JSON object, expected a model's settings")
        try:
            self._family = family_of(described.get("model_type"))
            model = self._family.model_config(described)
        except ValueError as error:
            raise ValueError(f"{path / CONFIG}: {error}") from error
        self.kind, self.makes = str(described["model_type"]), self._family.makes
        self._tensors = SafeTensors(path)
        self.model: ModelConfig = self._family.completed(model, self._tensors)

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
        return self._family.read_tokenizer(self.path, self.kind)

    def fitted(self, tokenizer: Tokenizer) -> ModelConfig:
        """`model` with the vocabulary of its tokenizer; ValueError where that has more tokens.

        Rows of the tables past the tokenizer's tokens are left out: no text has them, and none of
        them is ever to be drawn.
        """
        if tokenizer.vocab_size > self.model.vocab_size:
            raise ValueError(
                f"{self.path}: got a tokenizer of {tokenizer.vocab_size} tokens, expected at most "
                f"the model's {self.model.vocab_size}"
            )
        return dataclasses.replace(self.model, vocab_size=tokenizer.vocab_size)

    def params(self, config: ModelConfig | None = None) -> dict[str, Any]:
        """Our parameter tree of `Deferred` arrays, each made when it is read.

        Args:
          config: resolved; by default `model`. It may differ in what weights are not made for,
            such as attention and dropout, and have fewer tokens.

        Raises:
          ValueError: weights and config.json disagree, or `config` is of another model.
        """
        config, rows = config or self.model, self.model.vocab_size
        own = dataclasses.replace(self.model, vocab_size=min(config.vocab_size, rows))
        different = [
            f"{name} {getattr(own, name)}, not {getattr(config, name)}"
            for name in COMPUTED
            if getattr(own, name) != getattr(config, name)
        ]
        if different:
            raise ValueError(f"{self.path}: another model, with {'; '.join(different)}")
        try:
            return self._family.deferred_params(self._tensors, config, rows)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error


def write_pretrained(
    path: Path,
    config: ModelConfig,
    read: Callable[[str], np.ndarray],
    tokenizer: Tokenizer,
    *,
    makes: str = "language model",
    dtype: str = "float32",
    max_shard_bytes: int = 5 * GIB,
) -> None:
    """Writes a directory that `transformers` loads: model, tokenizer, generation config.

    Args:
      path: new or empty; it is there once all is in it.
      config: resolved.
      read: gives a leaf of our parameters by its path; each is read once.
      tokenizer: of the model.
      makes: what the model is, one of FAMILIES.
      dtype: of the weights, one of DTYPES.
      max_shard_bytes: of the weights in one file.

    Raises:
      ValueError: the model or the tokenizer is none that `transformers` has, with the reason; the
        dtype cannot hold a weight; or `path` cannot be written.
    """
    assert dtype in DTYPES, dtype
    family = FAMILIES[makes]
    described = family.huggingface_config(config, dtype)
    files = family.tokenizer_files(tokenizer, config.context_length)
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(
            f"tokenizer: got {tokenizer.vocab_size} tokens, expected the model's "
            f"{config.vocab_size}"
        )
    described |= family.model_ids(tokenizer, CONFIG)
    files[CONFIG] = (json.dumps(described, indent=2) + "\n").encode()
    if family.generates:
        ids = family.model_ids(tokenizer, GENERATION)
        generation = {name: index for name, index in ids.items() if index is not None}
        files[GENERATION] = (json.dumps(generation, indent=2) + "\n").encode()
    with new_directory(path) as unfinished:
        for name, content in files.items():
            (unfinished / name).write_bytes(content)
        tensors = family.tensors_for_huggingface(read, config)
        shapes = family.tensor_shapes(config)
        write_safetensors(unfinished, shapes, dtype, max_shard_bytes, tensors)
