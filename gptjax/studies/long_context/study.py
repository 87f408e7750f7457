"""A study of one run: each way to a longer context, before and after training on.

study = Study(workdir, factor=4.0, windows=16, trials=4)
rows = [study.judged(way) for way in ways]              # the run's own parameters
rows.append(study.judged(way, trained=WorkDirectory("runs/yarn")))
"""

import dataclasses
from typing import Any

import numpy as np

from gptjax.config import ExperimentConfig, ModelConfig
from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.inference.scoring import Scorer
from gptjax.models.gpt import GPT
from gptjax.runs import inputs
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.long_context import retrieval
from gptjax.studies.long_context.by_position import (
    by_ranges,
    edges,
    long_windows,
    losses,
    sliding_losses,
)
from gptjax.studies.long_context.extension import Way, extended_params
from gptjax.tokenization import Tokenizer

DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
BEYOND = 2  # texts are read up to so many times the longer context, to show where it ends
_BUCKETS = 64  # of positions, in the picture
_BATCH = 2  # texts that are scored at the same time


class Study:
    """What all ways are judged by: the same windows, and the same trials.

    Attributes:
      config: of the run, resolved.
      context: its trained context, in tokens.
      bounds: the ranges of positions that figures are of: the trained context and its doubles.
    """

    def __init__(
        self, workdir: WorkDirectory, *, factor: float, windows: int, trials: int, seed: int = 0
    ):
        """Reads the run's parameters and its held-out text.

        Args:
          workdir: of a run of a language model on text.
          factor: how many times longer the context becomes.
          windows: most texts whose losses are measured.
          trials: passkeys and needles at each depth and length; 0: none.
          seed: of their keys and places.

        Raises:
          ValueError: a run of another kind, or no held-out document that is long enough.
        """
        self.config: ExperimentConfig = workdir.config()
        if kind_of(self.config).name != "pretrain" or self.config.model.trunk != "transformer":
            raise ValueError(
                f"--workdir: got a run of kind {kind_of(self.config).name} with "
                f"trunk={self.config.model.trunk}, expected one of kind pretrain with attention"
            )
        self._tokenizer: Tokenizer = workdir.tokenizer()
        self.context = self.config.model.context_length
        longer = round(factor * self.context)
        learned = self.config.model.positions == "learned"
        self._longest = longer if learned else BEYOND * longer
        self.bounds = edges(self.context, self._longest)
        self._lengths = [bound for bound in self.bounds[1:] if bound <= longer]
        split = inputs.prepare_corpus(self.config, self._tokenizer).validation
        self._windows = long_windows(split, self._longest, windows)
        self._haystack = _longest_text(split, longer)
        self._trials, self._seed = trials, seed
        self.step = workdir.resolve_step(None)
        self._params = workdir.params(self.step)

    def judged(self, way: Way, trained: WorkDirectory | None = None) -> dict[str, Any]:
        """The figures of one way: of the run's own parameters, or of those that were trained on.

        Returns:
          JSON values: `way`, `method`, `attention`, `steps` of the training, 0 for none;
          `ranges` as of `by_ranges`, `curve`, the same of narrow ranges; `retrieval`, by kind a
          list of `length`, `depth` and what `retrieval.judged` gives, without lengths that are
          too short for the sentences.
        """
        own = self.config.model
        model = way.model(own, self._longest)
        if trained is None:
            params, steps = extended_params(self._params, own, model), 0
        else:
            steps = trained.resolve_step(None)
            params = trained.params(steps)
        scorer = Scorer(GPT(model), params, batch_size=_BATCH)
        nats = losses(scorer, self._windows[:, : model.context_length + 1])
        return {
            "way": str(way),
            "method": way.method,
            "attention": model.attention,
            "steps": steps,
            "retrieval": self._retrieval(scorer, model) if self._trials else {},
            **self._by_range(nats),
        }

    def in_short_windows(self) -> dict[str, Any]:
        """The row that others are held against: the run reads its trained context, and slides."""
        own = self.config.model
        scorer = Scorer(GPT(own), self._params, batch_size=_BATCH)
        nats = sliding_losses(scorer, self._windows, self.context)
        return {
            "way": f"in windows of {self.context:,}",
            "method": "none",
            "attention": own.attention,
            "steps": 0,
            "retrieval": {},
            **self._by_range(nats),
        }

    def _by_range(self, nats: np.ndarray) -> dict[str, Any]:
        width = max(1, self._longest // _BUCKETS)
        return {
            "ranges": by_ranges(nats, self.bounds),
            "curve": by_ranges(nats, range(0, self._longest + 1, width)),
        }

    def _retrieval(self, scorer: Scorer, model: ModelConfig) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for kind in retrieval.KINDS:
            least = retrieval.least_length(kind, self._tokenizer)
            for length in self._lengths:
                if not least <= length <= model.context_length:
                    continue
                for depth in DEPTHS:
                    trials = retrieval.made_trials(
                        kind,
                        self._tokenizer,
                        self._haystack,
                        length=length,
                        depth=depth,
                        number=self._trials,
                        seed=self._seed,
                    )
                    row = {"length": length, "depth": depth, **retrieval.judged(scorer, trials)}
                    found.setdefault(kind, []).append(row)
        return found

    def about(self) -> dict[str, Any]:
        """What all figures share, as JSON values."""
        return {
            "step": self.step,
            "context_length": self.context,
            "windows": len(self._windows),
            "window_length": self._longest,
            "trials": self._trials,
            "model": dataclasses.asdict(self.config.model),
        }


def _longest_text(split: TokenizedSplit, least: int) -> np.ndarray:
    """The longest document's ids [n], or all of the split where it is shorter than `least`."""
    documents = np.split(split.tokens, split.document_starts[1:])
    longest = max(documents, key=len)
    return np.asarray(longest if len(longest) >= least else split.tokens)
