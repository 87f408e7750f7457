"""Words of a text as counts of 2^18 features, as Spark's Tokenizer and HashingTF make them.

    HashedWords().counts(["The cat", "sat on the mat"])     # sparse [2, 262144]

Source: GPT-3 (2005.14165), appendix A, "features from Spark's standard tokenizer and HashingTF":
the text in lower case, divided at white space; MurmurHash3 (x86, 32 bits, seed 42) of the word's
UTF-8, as a signed number, modulo the number of features.
"""

import importlib
from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np

FEATURES = 1 << 18
SEED = 42
_WORDS = 1 << 20  # that a table holds before it begins anew


class HashedWords(dict[str, int]):
    """Word -> its feature; a table of those that were met."""

    def __init__(self, features: int = FEATURES):
        """`features`: number of features."""
        super().__init__()
        self.features = features
        self._hash = sklearn_module("sklearn.utils").murmurhash3_32

    def __missing__(self, word: str) -> int:
        data = word.encode(errors="surrogatepass")
        feature = self[word] = int(self._hash(data, seed=SEED)) % self.features
        return feature

    def counts(self, texts: Iterable[str]) -> Any:
        """How often each feature occurs, scipy CSR matrix float64 [texts, features].

        Features of a row are in order and each stands once.
        """
        sparse = importlib.import_module("scipy.sparse")
        places, ends = array("q"), array("q", [0])
        for text in texts:
            if len(self) > _WORDS:
                self.clear()
            places.extend(map(self.__getitem__, text.lower().split()))
            ends.append(len(places))
        indices = np.frombuffer(places, np.int64) if places else np.zeros(0, np.int64)
        shape = (len(ends) - 1, self.features)
        matrix = sparse.csr_matrix((np.ones(indices.size), indices, np.array(ends)), shape)
        matrix.sum_duplicates()
        return matrix


def sklearn_module(name: str) -> Any:
    """A module of scikit-learn; ValueError, which names the extra, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ValueError(
            "classifiers of documents need the package scikit-learn, which is not installed; "
            "expected the extra `curation` (pip install 'gptjax[curation]')"
        ) from None
