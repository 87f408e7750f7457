"""Samples of a language model while it learns: the same prompt is continued at each evaluation.

samples = TextSamples(model, prompt, tokenizer, config, workdir.path / "samples.jsonl", print)
samples(step, params)   # prints the text, and adds a row to samples.jsonl
"""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gptjax.atomic_files import read_json_lines, write_json_lines
from gptjax.config import ExperimentConfig
from gptjax.inference.generate import Generator
from gptjax.inference.requests import check_answerable
from gptjax.inference.sampling import make_sampler
from gptjax.inference.text import whole_text
from gptjax.models.decoder import Decoder
from gptjax.tokenization import Tokenizer

TEMPERATURE = 0.8


@dataclasses.dataclass(frozen=True)
class SamplePrompt:
    """What is continued.

    Attributes:
      text: for people.
      tokens: [n] int32, at least one.
      stop_token: that ends a text, if one does.
      banned: tokens that no text holds.
    """

    text: str
    tokens: np.ndarray
    stop_token: int | None
    banned: tuple[int, ...] = ()


def check_sampled(config: ExperimentConfig, prompt: SamplePrompt) -> None:
    """Refuses a prompt that the model of a resolved `config` cannot continue.

    Raises:
      ValueError: attention that looks ahead, or a prompt that fills the context.
    """
    size, length = prompt.tokens.size, config.model.context_length
    if size >= length:
        raise ValueError(f"prompt: got {size} tokens, expected fewer than the {length} that fit")
    check_answerable(config.model, [prompt.tokens], config.training.sample_tokens)


class TextSamples:
    """Continues a prompt with parameters of every evaluation, by the same draws each time.

    A text is a function of the configuration and the parameters: a run that goes on writes what it
    would have written. Each text has a generator of its own, which equal models share the programs
    of: between two texts nothing of a model's size is held.
    """

    def __init__(
        self,
        model: Decoder,
        prompt: SamplePrompt,
        tokenizer: Tokenizer,
        config: ExperimentConfig,
        path: Path,
        show: Callable[[int, str, str], None],
    ):
        """Compiles nothing yet.

        Args:
          model: of a resolved configuration.
          prompt: that `check_sampled` lets pass.
          tokenizer: of the model.
          config: of the run.
          path: of the file with a row a text.
          show: takes the step, the prompt and the text.
        """
        self._model, self._prompt, self._tokenizer = model, prompt, tokenizer
        self._config, self._path, self._show = config, path, show

    def truncate_after(self, step: int) -> None:
        """Drops the rows past `step`, from which the run goes on."""
        if self._path.exists():
            self._write(row for row in self._rows() if row["step"] <= step)

    def __call__(self, step: int, params: Any) -> None:
        """Shows the text of `params` after `step`, and writes it down."""
        generator = Generator(self._model, params, slots=1)
        (tokens,) = generator.generate(
            [self._prompt.tokens],
            max_new_tokens=self._config.training.sample_tokens,
            sampler=make_sampler(
                TEMPERATURE,
                banned_tokens=self._prompt.banned,
                vocab_size=self._config.model.vocab_size,
            ),
            seed=self._config.training.seed,
            stop_token=self._prompt.stop_token,
        )
        text = whole_text(self._tokenizer, tokens, stop_token=self._prompt.stop_token)
        self._show(step, self._prompt.text, text)
        row = {"step": step, "prompt": self._prompt.text, "text": text}
        self._write([*(row for row in self._rows() if row["step"] < step), row])

    def _rows(self) -> list[dict[str, Any]]:
        return read_json_lines(self._path, number="step") if self._path.exists() else []

    def _write(self, rows: Iterable[dict[str, Any]]) -> None:
        if jax.process_index() == 0:
            write_json_lines(self._path, rows)
