"""Changes of the scores between the product of queries and keys and the softmax.

A change is one function of scores, heads and positions, which every implementation calls on the
parts of the score matrix it visits; what it learns has gradients in all of them. To add one,
register one frozen dataclass:

    @SCORES.register("temperature")
    @dataclasses.dataclass(frozen=True)
    class Temperature(ScoreChange):
        def shapes(self, num_heads):
            return {"temperature": (num_heads,)}

        def __call__(self, scores, head, q_pos, k_pos, layer):
            return scores * layer.learned["temperature"][head]

Sources: ALiBi, arXiv 2108.12409, section 3; T5's relative bias, arXiv 1910.10683, section 2.1; soft
cap, Gemma 2, arXiv 2408.00118, section 2.

    score = bind(parse("soft_cap(cap=30.0),alibi"), num_heads=8)
    out = attend(q, k, v, pattern, score=score)
"""

import abc
import dataclasses
import math
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from gptjax.attention.expressions import read
from gptjax.pytrees import STATIC, pytree
from gptjax.registry import Registry

SCORES: Registry[type["ScoreChange"]] = Registry("score change")


@dataclasses.dataclass(frozen=True)
class ScoreChange(abc.ABC):
    """A change of the scores as a config writes it: numbers only, no arrays."""

    def shapes(self, num_heads: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the float32 arrays it learns, by name; most learn none."""
        del num_heads
        return {}

    @abc.abstractmethod
    def __call__(
        self, scores: Array, head: Array, q_pos: Array, k_pos: Array, layer: "Scores"
    ) -> Array:
        """The changed scores.

        Args:
          scores: float32 [B, K, G, q, k], scaled; the next three broadcast against them.
          head: integer indices of the query heads.
          q_pos: integer positions of the queries.
          k_pos: integer positions of the keys.
          layer: its `num_heads`, and its `learned` arrays of the shapes that `shapes` declares.
        """


@pytree
@dataclasses.dataclass(frozen=True)
class Scores:
    """Score changes one after another, with what they learn: the pytree that `attend` takes."""

    changes: tuple[ScoreChange, ...] = dataclasses.field(metadata=STATIC)
    num_heads: int = dataclasses.field(metadata=STATIC)
    learned: Mapping[str, Array]

    def __call__(self, scores: Array, head: Array, q_pos: Array, k_pos: Array) -> Array:
        """The scores after all changes, in order."""
        for change in self.changes:
            scores = change(scores, head, q_pos, k_pos, self)
        return scores


def parse(text: str) -> tuple[ScoreChange, ...]:
    """Reads the score changes of a model.

    Args:
      text: expressions joined by commas, applied in order, as in "soft_cap(cap=30.0),alibi"; or
        "none".

    Raises:
      ValueError: in one line, with where in `text` and what was expected.
    """
    changes = () if text.strip() == "none" else read(text, SCORES, "score")
    if len({type(change) for change in changes}) < len(changes):
        raise ValueError(f"score {text!r}: got a change more than once, expected it once")
    return changes


def learned_shapes(changes: tuple[ScoreChange, ...], num_heads: int) -> dict[str, tuple[int, ...]]:
    """The shapes of all float32 arrays that `changes` learn, by name."""
    shapes = (change.shapes(num_heads) for change in changes)
    return {name: shape for some in shapes for name, shape in some.items()}


def bind(
    changes: tuple[ScoreChange, ...],
    num_heads: int,
    learned: Mapping[str, Array] | None = None,
) -> Scores | None:
    """The `score` argument of `attend`.

    Args:
      changes: what `parse` gave.
      num_heads: query heads of a layer.
      learned: arrays of the names and shapes of `learned_shapes`.

    Returns:
      A pytree whose leaves are `learned`; None for no changes.

    Raises:
      ValueError: for arrays of other names or shapes.
    """
    given = {name: array.shape for name, array in (learned or {}).items()}
    expected = learned_shapes(changes, num_heads)
    if given != expected:
        raise ValueError(f"score: got arrays {given}, expected {expected}")
    return Scores(changes, num_heads, dict(learned or {})) if changes else None


@SCORES.register("soft_cap")
@dataclasses.dataclass(frozen=True)
class SoftCap(ScoreChange):
    """Keeps scores within -cap and cap: cap tanh(score / cap)."""

    cap: float

    def __post_init__(self) -> None:
        if self.cap <= 0:
            raise ValueError(f"soft_cap: got cap={self.cap}, expected more than 0")

    def __call__(
        self, scores: Array, head: Array, q_pos: Array, k_pos: Array, layer: "Scores"
    ) -> Array:
        """Each score by itself."""
        return self.cap * jnp.tanh(scores / self.cap)


@SCORES.register("alibi")
@dataclasses.dataclass(frozen=True)
class Alibi(ScoreChange):
    """Lowers scores in proportion to distance, at a slope of each head's own; nothing is learned.

    Encoders use the same distance |i - j| in both directions.
    """

    def __call__(
        self, scores: Array, head: Array, q_pos: Array, k_pos: Array, layer: "Scores"
    ) -> Array:
        """Scores less slope |q_pos - k_pos|."""
        slopes = jnp.asarray(self.slopes(layer.num_heads), jnp.float32)[head]
        return scores - slopes * jnp.abs(q_pos - k_pos).astype(jnp.float32)

    @staticmethod
    def slopes(num_heads: int) -> np.ndarray:
        """The slope of each head: float64 [H].

        For n heads, a power of two, 2^(-8/n), 2^(-16/n), ..., 2^-8; for other numbers those of the
        next lower power, then every other slope of the next higher one.

        Source: arXiv 2108.12409, section 3, and the authors' `get_slopes` for other numbers.
        """
        lower = 1 << (num_heads.bit_length() - 1)
        slopes = 2.0 ** (-8 / lower * np.arange(1, lower + 1))
        between = 2.0 ** (-4 / lower * np.arange(1, 2 * lower + 1, 2))
        return np.concatenate([slopes, between])[:num_heads]


@SCORES.register("relative_bias")
@dataclasses.dataclass(frozen=True)
class RelativeBias(ScoreChange):
    """Adds a learned number for each head and bucket of distances.

    Differs from the paper: scores are scaled before, as everywhere here.

    Attributes:
      buckets: rows of the table. The first half are for one distance each, the others for ranges
        that grow like a logarithm.
      max_distance: from here on all distances share the last bucket.
      bidirectional: half of the buckets are for keys after the query, as in encoders; otherwise
        all those keys count as at distance 0.
    """

    buckets: int = 32
    max_distance: int = 128
    bidirectional: bool = False

    def __post_init__(self) -> None:
        least = 4 if self.bidirectional else 2
        if self.buckets < least or self.buckets % least:
            raise ValueError(
                f"relative_bias: got buckets={self.buckets}, expected a multiple of {least}"
            )
        if self.max_distance <= self.buckets // least:
            raise ValueError(
                f"relative_bias: got max_distance={self.max_distance}, expected more than "
                f"{self.buckets // least}, the buckets for one distance each"
            )

    def shapes(self, num_heads: int) -> dict[str, tuple[int, ...]]:
        return {"relative_bias": (self.buckets, num_heads)}

    def __call__(
        self, scores: Array, head: Array, q_pos: Array, k_pos: Array, layer: "Scores"
    ) -> Array:
        """Scores plus the bias of (bucket, head): one gather, from a table by distance."""
        farthest = self.max_distance
        nearest = -farthest if self.bidirectional else 0
        by_distance = layer.learned["relative_bias"][self.bucket(np.arange(nearest, farthest + 1))]
        distance = jnp.clip(q_pos - k_pos, nearest, farthest)
        return scores + by_distance[distance - nearest, head]

    def bucket(self, distance: np.ndarray) -> np.ndarray:
        """The bucket of each distance q_pos - k_pos.

        Source: `_relative_position_bucket` of the authors' Mesh TensorFlow code.
        """
        count, after = self.buckets, np.zeros_like(distance)
        if self.bidirectional:
            count //= 2
            after = np.where(distance < 0, count, 0)
            distance = np.abs(distance)
        distance = np.maximum(distance, 0)
        single = count // 2
        # In float32, as they do: at a range's edge it decides on which side a distance falls.
        logarithm = np.log(np.maximum(distance, single).astype(np.float32) / np.float32(single))
        ranges = logarithm / np.float32(math.log(self.max_distance / single)) * (count - single)
        shared = np.minimum(single + ranges.astype(int), count - 1)
        return after + np.where(distance < single, distance, shared)
