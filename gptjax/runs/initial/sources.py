"""What a new run may start from: another run, or a model directory of Hugging Face's.

source = source_at("runs/gpt2")
source.model, source.tokenizer, source.read(source.chosen_step(), model, target)
"""

import abc
import dataclasses
from pathlib import Path
from typing import Any

from gptjax.config import ExperimentConfig
from gptjax.interop.huggingface_directory import Pretrained, is_pretrained
from gptjax.model_config import ModelConfig
from gptjax.runs.initial.stored import (
    FIELD,
    checkpoint_sha256,
    deferred_params,
    put,
    stored_params,
)
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import WorkDirectory

EXPECTED = "expected a work directory or a model directory of Hugging Face's"


class Source(abc.ABC):
    """A trained model with its tokenizer.

    Attributes:
      path: of its directory.
      model: its resolved configuration.
      tokenizer: a value of `data.tokenizer` for a run that starts from it.
    """

    path: Path
    model: ModelConfig
    tokenizer: str

    @abc.abstractmethod
    def tokenizer_hash(self) -> str:
        """Content hash of its tokenizer."""
        ...

    @abc.abstractmethod
    def chosen_step(self) -> int | None:
        """The checkpoint that a new run starts from, None of a model directory.

        Raises:
          ValueError: there is none yet.
        """
        ...

    @abc.abstractmethod
    def may_remove_checkpoints(self) -> bool:
        """Whether it is a run that has not ended: it keeps as many as its configuration says."""
        ...

    @abc.abstractmethod
    def sha256(self, step: int | None) -> str:
        """Content hash of the parameters after `step`."""
        ...

    @abc.abstractmethod
    def read(self, step: int | None, model: ModelConfig, target: Any) -> Any:
        """Reads parameters.

        Args:
          step: of the checkpoint.
          model: of the run that starts from it, but with the vocabulary of the source.
          target: shapes and places of its parameters.

        Raises:
          ValueError: they are damaged, or of another model.
        """
        ...

    @abc.abstractmethod
    def deferred(self, step: int | None) -> dict[str, Any]:
        """Its own parameters after `step`, a tree of `Deferred` arrays that are made when read."""
        ...


class Run(Source):
    """A work directory, whose parameters are the evaluation parameters."""

    def __init__(self, path: Path, makes: str):
        """Reads its configuration; ValueError if its model is not what `makes` says."""
        self.path, self._workdir = path, WorkDirectory(str(path), FIELD)
        self._workdir.model(makes)
        self.model, self.tokenizer = self._workdir.config().model, str(path / "tokenizer")

    def tokenizer_hash(self) -> str:
        return self._workdir.record().get("tokenizer_hash", "")

    def chosen_step(self) -> int:
        step = self._workdir.chosen_step()
        if step is None:
            raise ValueError(f"{FIELD}: no checkpoint in {self.path} yet, {EXPECTED}")
        return step

    def may_remove_checkpoints(self) -> bool:
        # A directory that was converted or merged has neither file.
        return (self.path / "metrics.jsonl").exists() and not self._workdir.has_result()

    def sha256(self, step: int | None) -> str:
        assert step is not None
        return checkpoint_sha256(self.path, step)

    def read(self, step: int | None, model: ModelConfig, target: Any) -> Any:
        del model
        return stored_params(self.path, step, target)

    def deferred(self, step: int | None) -> dict[str, Any]:
        return deferred_params(self.path, step)


class HuggingFace(Source):
    """A model directory of Hugging Face's."""

    def __init__(self, path: Path, makes: str):
        """Reads its config.json and the headers of its weights; refuses as `Run` does."""
        self.path, self.tokenizer = path, f"huggingface:{path}"
        try:
            self._pretrained = Pretrained(path)
            if self._pretrained.makes != makes:
                raise ValueError(
                    f"got {path}, which holds a {self._pretrained.makes}, expected a {makes}"
                )
            tokenizer = self._pretrained.tokenizer()
            self.model = self._pretrained.fitted(tokenizer)
        except ValueError as error:
            raise ValueError(f"{FIELD}: {error}") from error
        self._tokenizer_hash = tokenizer.content_hash()

    def tokenizer_hash(self) -> str:
        return self._tokenizer_hash

    def chosen_step(self) -> None:
        return None

    def may_remove_checkpoints(self) -> bool:
        return False

    def sha256(self, step: int | None) -> str:
        assert step is None, step
        return self._pretrained.content_hash()

    def read(self, step: int | None, model: ModelConfig, target: Any) -> Any:
        """Reads the arrays one by one, and puts each on its devices before it reads the next."""
        assert step is None, step
        model = dataclasses.replace(model, vocab_multiple=self.model.vocab_multiple)
        try:
            params = self._pretrained.params(model)
        except ValueError as error:
            raise ValueError(f"{FIELD}: {error}") from error
        return put(params, target)

    def deferred(self, step: int | None) -> dict[str, Any]:
        assert step is None, step
        return self._pretrained.params(self.model)


def source_for(config: ExperimentConfig, given: str) -> Source:
    """The source at a path for a run of `config`: what its kind makes of it, or `source_at`.

    Raises:
      ValueError: as `source_at`.
    """
    kind = kind_of(config)
    return kind.source(config, given) or source_at(given, kind.takes)


def source_at(given: str, makes: str = "language model") -> Source:
    """The source at a path.

    Args:
      given: the path.
      makes: what model is wanted, in the words of `Kind.takes`.

    Raises:
      ValueError: the path has nothing that a run can start from, another model, or it is damaged.
    """
    path = Path(given)
    if is_pretrained(path):
        return HuggingFace(path, makes)
    if (path / "config.json").is_file():
        return Run(path, makes)
    raise ValueError(f"{FIELD}: no checkpoint in {path}, {EXPECTED}")
