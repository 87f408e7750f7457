"""Made documents, of which a fifth are near-duplicates of another.

texts = made_texts(200_000, seed=0)    # of about 2,000 characters each
"""

import functools

import numpy as np

WORDS = 330  # of a text: 2,000 characters
VOCABULARY = 50_000
COPIED = 0.2  # share of the texts that are another with its last words changed
SIMILARITIES = np.arange(0.5, 1, 0.05)  # of the copies
_BLOCK = 2_000  # texts with a seed of their own; copies are of a text in the block


def made_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of words whose frequency falls as 1 / rank; of more texts, the first are the same."""
    texts: list[str] = []
    for block in range(-(-count // _BLOCK)):
        texts += _block(seed, block)
    return texts[:count]


def _block(seed: int, block: int) -> list[str]:
    vocabulary = _vocabulary(seed)
    rng = np.random.default_rng([seed, block])
    ranks = (VOCABULARY ** rng.random((_BLOCK, WORDS), np.float32)).astype(np.int32)
    words = vocabulary[np.minimum(ranks, VOCABULARY - 1)]
    copies = np.flatnonzero(rng.random(_BLOCK) < COPIED)
    originals = np.flatnonzero(~np.isin(np.arange(_BLOCK), copies))
    for copy in copies:
        similarity = rng.choice(SIMILARITIES)
        kept = WORDS - round(WORDS * (1 - similarity) / (1 + similarity))
        words[copy, :kept] = words[rng.choice(originals), :kept]
    return [" ".join(row) for row in words]


@functools.cache
def _vocabulary(seed: int) -> np.ndarray:
    """Made-up words of five letters on the average, object [VOCABULARY]."""
    rng = np.random.default_rng(seed)
    letters = rng.choice(np.frombuffer(b"etaoinshrdlcumwfgypbvk", np.uint8), (VOCABULARY, 12))
    lengths = np.clip(rng.poisson(5, VOCABULARY), 2, 12)
    made = [bytes(row[:length]).decode() for row, length in zip(letters, lengths, strict=True)]
    return np.array(made, object)
