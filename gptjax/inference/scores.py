"""What scoring gives: log-probabilities of a continuation, and the loss of a text.

best = max(scores, key=lambda score: score.total)
"""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Score:
    """Log-probabilities of a continuation.

    Attributes:
      log_probs: float32 [n], of each of its tokens given all before it, in nats.
      greedy: whether greedy decoding would have written it: each token is the most probable one.
    """

    log_probs: np.ndarray
    greedy: bool

    @property
    def total(self) -> float:
        """The continuation's log-probability, in nats."""
        return float(self.log_probs.sum(dtype=np.float64))

    @property
    def mean(self) -> float:
        """Mean log-probability of a token, in nats."""
        return self.total / self.log_probs.size


@dataclasses.dataclass(frozen=True)
class TextLoss:
    """The negative log-probability of a text.

    Attributes:
      nats: of all its tokens but the first.
      tokens: how many those are, or are counted of them.
    """

    nats: float
    tokens: int

    @property
    def per_token(self) -> float:
        """Nats a token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """Perplexity: the exponential of the nats a token, infinite past what a float holds."""
        return math.inf if self.per_token > 700 else math.exp(self.per_token)
