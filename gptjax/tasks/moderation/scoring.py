"""Probabilities of undesired content by a trained classifier.

scorer = TextScorer.load(WorkDirectory("runs/moderation"))
scorer(["a text", "another"])       # [2, C]
scorer.categories, scorer.thresholds
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np

from gptjax.compiled import compiled
from gptjax.finite import check_finite
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.moderation.config import ModerationConfig
from gptjax.tasks.moderation.heads import ModerationModel
from gptjax.tasks.moderation.report import probabilities
from gptjax.tasks.moderation.rows import highest, windows
from gptjax.tokenization import Tokenizer

ROWS = 16  # windows that are computed at once
SHORTEST = 16  # tokens that windows are padded to at least; then powers of two


@dataclasses.dataclass(frozen=True)
class TextScorer:
    """A function from texts to the probability of each category.

    Attributes:
      model: of the classifier.
      params: its parameters.
      tokenizer: of the model.
      categories: names of the C categories.
      thresholds: of each category the probability from which the run flags a text; None: it flags
        none, as no threshold had the precision that the run was asked for.
    """

    model: ModerationModel
    params: Any
    tokenizer: Tokenizer
    categories: tuple[str, ...]
    thresholds: Mapping[str, float | None]

    @functools.cached_property
    def _apply(self) -> Callable[..., jax.Array]:
        return compiled(_logits_of, self.model)

    @classmethod
    def load(cls, workdir: WorkDirectory) -> "TextScorer":
        """The classifier of a run that has ended.

        Raises:
          ValueError: the run is of another kind, has not ended, or its files cannot be read.
        """
        config = workdir.config()
        kind = kind_of(config)
        makes = kind_of(ModerationConfig()).makes
        if kind.makes != makes:
            raise ValueError(
                f"{workdir.given_as}: got {workdir.path}, a run of kind {kind.name}, which makes a "
                f"{kind.makes}, expected one that makes a {makes}"
            )
        if not workdir.has_result():
            raise ValueError(
                f"{workdir.given_as}: {workdir.path} has not ended; expected its result.json"
            )
        return cls(
            cast(ModerationModel, kind.model(config)),
            workdir.restored(),
            workdir.tokenizer(),
            cast(ModerationConfig, config).moderation.names,
            workdir.result()["thresholds"],
        )

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Scores texts, however long.

        Args:
          texts: N of them. One without tokens has the probability 0 of all categories.

        Returns:
          [N, C] float64, the highest probability over the windows of each text. A text has the same
          to 1e-6, whatever others it is scored with.

        Raises:
          NotFinite: the model's logits are not.
        """
        encoded = self.tokenizer.encode_batch(list(texts)) if texts else []
        several = [windows(ids, self.model.config.context_length) for ids in encoded]
        owned = [(i, ids) for i, each in enumerate(several) for ids in each if len(ids)]
        owned.sort(key=lambda pair: len(pair[1]))
        scores = np.zeros((len(texts), len(self.categories)))
        if not owned:
            return scores
        chunks = [owned[i : i + ROWS] for i in range(0, len(owned), ROWS)]
        logits = np.concatenate([self._logits([ids for _, ids in chunk]) for chunk in chunks])
        check_finite(logits, "logits")
        owners = np.array([owner for owner, _ in owned])
        real = np.unique(owners)
        scores[real] = probabilities(highest(logits, owners)[real])
        return scores

    def _logits(self, chunk: Sequence[np.ndarray]) -> np.ndarray:
        longest = max(map(len, chunk))
        length = max(SHORTEST, 1 << (longest - 1).bit_length())
        length = max(min(length, self.model.config.context_length), longest)
        tokens, lengths = np.zeros((ROWS, length), np.int32), np.ones(ROWS, np.int32)
        for row, ids in enumerate(chunk):
            tokens[row, : len(ids)], lengths[row] = ids, len(ids)
        return np.asarray(self._apply(self.params, tokens, lengths))[: len(chunk)]


def _logits_of(model: ModerationModel, params: Any, tokens: jax.Array, lengths: jax.Array) -> Any:
    return model.apply({"params": params}, tokens, lengths)
