"""GPT-3's draw of documents by their score, as a function of the document: nothing is random.

    keeps(classifier.score(texts), [draw(document.key, seed=0) for document in documents])

GPT-3 (2005.14165), appendix A, keeps a document where np.random.pareto(9) > 1 - score. NumPy's
pareto is Lomax's distribution: for u uniform in (0, 1], u^(-1/9) - 1 has it. So the document is
kept where u < (2 - score)^-9, which is the probability of that: 0.2% at 0, 2.6% at 0.5, 42% at 0.9
and all at 1.
"""

import hashlib

import numpy as np

ALPHA = 9.0


def keep_probability(score: np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    """(2 - score)^-alpha, of the scores' shape.

    Args:
      score: from 0, as raw text, to 1, as text of quality.
      alpha: of the Pareto distribution; 0 keeps all.
    """
    return (2.0 - np.asarray(score, np.float64)) ** -alpha


def draw(key: bytes, seed: int = 0) -> float:
    """A number in [0, 1) that depends on the document and the seed alone.

    Args:
      key: `Document.key`.
      seed: another one draws other documents.
    """
    digest = hashlib.sha256(b"quality draw\0" + seed.to_bytes(8, "big") + key).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / (1 << 53)


def keeps(score: np.ndarray, draws: np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    """Whether each document stays, bool.

    Args:
      score: of each document.
      draws: `draw` of each.
      alpha: of the Pareto distribution.
    """
    return np.asarray(draws) < keep_probability(score, alpha)
