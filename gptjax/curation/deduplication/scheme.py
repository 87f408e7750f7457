"""MinHash with banding: which pairs of documents are looked at, and which of them are duplicates.

    SCHEMES.get("gpt3").probability(0.8)    # 1 - (1 - 0.8)^10: that such a pair is a candidate

The signature of a document is the least value that each of `bands * rows` hash functions takes on
its shingles, which are runs of words. Two documents have the same value of one function with a
probability of their Jaccard similarity (Broder, "On the resemblance and containment of documents",
1997). Pairs that agree in all rows of a band, for any band, are candidates; of these the true
similarity decides.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from gptjax.registry import Registry
from gptjax.settings import setting

Similarity = TypeVar("Similarity", float, np.ndarray)


@dataclasses.dataclass
class MinHash:
    """A banding, a shingle and a threshold."""

    shingle_words: int = setting(5, "words of a shingle", low=1)
    bands: int = setting(10, "bands; documents that agree in one are candidates", low=1)
    rows: int = setting(1, "hash functions of a band", low=1)
    threshold: float = setting(
        0.8, "Jaccard similarity of shingles from which on two are duplicates", above=0.0, high=1.0
    )
    neighbours: int = setting(
        128,
        "documents behind it, among those that agree in a band, that one is compared with; bounds "
        "the cost of a band value that many share",
        low=1,
    )
    seed: int = setting(0, "of the hash functions", low=0)

    @property
    def hashes(self) -> int:
        """Values of a signature."""
        return self.bands * self.rows

    def probability(self, similarity: Similarity) -> Similarity:
        """That a pair of a Jaccard similarity becomes a candidate: 1 - (1 - s^rows)^bands."""
        return 1 - (1 - similarity**self.rows) ** self.bands


SCHEMES: Registry[Callable[[], MinHash]] = Registry("MinHash scheme")


@SCHEMES.register("gpt3")
def gpt3() -> MinHash:
    """Ten hashes, any of which may agree, as Spark's MinHashLSH has them (2005.14165, appendix A).

    Differs from the paper: a shingle is five words. The paper's features are single words; any two
    English texts share so many of them that most pairs would be candidates. It states no threshold.
    """
    return MinHash()


@SCHEMES.register("fineweb")
def fineweb() -> MinHash:
    """14 bands of 8 hashes on runs of five words (FineWeb, 2406.17557, section 3.4).

    Differs from the paper: candidates count as duplicates by their true similarity, from 0.75 on,
    which the paper gives as what its bands aim at; it takes all candidates.
    """
    return MinHash(bands=14, rows=8, threshold=0.75)
