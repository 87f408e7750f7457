"""Embedded examples: are there more animals or more things in a text?

    for text, label in embedded_examples(count=3):
        print(text, label)   # "fox jar owl sea pig", "animals"

Example number i of a split is a pure function of (split, seed, i). A hash of its words says which
split a text belongs to, so that nothing held out is ever trained on.
"""

import dataclasses
import hashlib
from collections.abc import Iterator

import numpy as np

from gptjax.data.dialogue.instructions import SPLITS, WORDS
from gptjax.settings import setting

LABELS = ("animals", "things")
ANIMALS = {
    *("ant", "bat", "bee", "cat", "cow", "dog", "elk", "fox", "hen", "owl", "pig", "ram", "yak")
}
_HELD_OUT = 0.1  # share of all texts


@dataclasses.dataclass
class EmbeddedOptions:
    """Options of the embedded set: the arguments of `embedded_examples`."""

    split: str = setting("train", "split that the texts are of", choices=SPLITS)
    count: int = setting(4000, "examples in the set", low=1)
    seed: int = setting(0, "seed of all that is random", low=0)


def embedded_examples(
    split: str = "train", count: int = 4000, seed: int = 0
) -> Iterator[tuple[str, str]]:
    """Yields `count` texts of three, five or seven words of a split, each with its label."""
    for index in range(count):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        while True:
            words = rng.choice(WORDS, size=int(rng.choice((3, 5, 7)))).tolist()
            digest = hashlib.sha256(" ".join(words).encode()).digest()
            held_out = int.from_bytes(digest[:8], "big") < _HELD_OUT * 2**64
            if held_out == (split == "held_out"):
                break
        animals = sum(word in ANIMALS for word in words)
        yield " ".join(words), LABELS[2 * animals < len(words)]
