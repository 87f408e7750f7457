"""Documents behind others of their group, with answers: what a few-shot prompt is like.

A model reads such prompts if it has learned from documents that are like them. KOSMOS-1 (arXiv
2302.14045, section 2.1) learns it from pages of several images.

    learned = behind_shots(learned, most=3, seed=0, fits=lambda document: True)
"""

from collections.abc import Callable, Sequence

import numpy as np

from gptjax.data.image_text.documents import ImageText, interleaved

SEPARATOR = "\n\n"  # behind each shot


def behind_shots(
    documents: Sequence[ImageText], most: int, seed: int, fits: Callable[[ImageText], bool]
) -> tuple[ImageText, ...]:
    """Each document that has an answer behind 0 to `most` others of its group with theirs.

    Args:
      documents: those without an answer stay as they are.
      most: 0 or more.
      seed: of how many shots a document gets, each number as likely, and of which they are.
      fits: whether a document is not too long; of shots that do not fit the first are taken.
    """
    groups: dict[str, list[int]] = {}
    for number, document in enumerate(documents):
        if document.answer is not None:
            groups.setdefault(document.group, []).append(number)
    rng, made = np.random.default_rng(seed), []
    for number, document in enumerate(documents):
        shots: list[ImageText] = []
        if document.answer is not None:
            pool, count = groups[document.group], int(rng.integers(most + 1))
            drawn = rng.choice(len(pool), min(count + 1, len(pool)), replace=False)
            shots = [documents[pool[i]] for i in drawn if pool[i] != number][:count]
        candidates = (_behind(shots[:count], document) for count in range(len(shots), 0, -1))
        made.append(next(filter(fits, candidates), document))
    return tuple(made)


def _behind(shots: Sequence[ImageText], document: ImageText) -> ImageText:
    before = "".join(f"{shot.text}{shot.answer}{SEPARATOR}" for shot in shots)
    pictures = [picture for each in (*shots, document) for picture in each.pictures]
    return interleaved(before + document.text, pictures, document.answer, document.group)
