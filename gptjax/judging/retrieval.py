"""Retrieval: the rank of the right answer among all, and recall at 1 and 10 with intervals.

ranks = match_ranks(images, texts, of_images, of_texts)
recalls({"text": ranks}, seed=0)["text_recall_1"]
"""

from collections.abc import Mapping, Sequence

import numpy as np

from gptjax.data.labelled.pictures import LabelledPicture
from gptjax.finite import check_finite
from gptjax.judging.metrics import with_intervals

AT = (1, 10)
_CHUNK = 1024  # queries that are compared at a time


def match_ranks(
    queries: np.ndarray,
    candidates: np.ndarray,
    query_keys: np.ndarray,
    candidate_keys: np.ndarray,
) -> np.ndarray:
    """The rank of the best right candidate of each query, by their dot products.

    Args:
      queries: [Q, P] floats.
      candidates: [C, P] floats.
      query_keys: [Q] integers; a candidate with the same key is right.
      candidate_keys: [C] integers; each query's key is one of them.

    Returns:
      [Q] int64 from 1: one more than the wrong candidates that score as high or higher.

    Raises:
      NotFinite: queries or candidates are not: each rank would be 1.
    """
    check_finite(queries, "queries")
    check_finite(candidates, "candidates")
    ranks = np.zeros(len(queries), np.int64)
    for first in range(0, len(queries), _CHUNK):
        chosen = slice(first, first + _CHUNK)
        ranks[chosen] = _ranks(queries[chosen] @ candidates.T, query_keys[chosen], candidate_keys)
    return ranks


def _ranks(scores: np.ndarray, query_keys: np.ndarray, candidate_keys: np.ndarray) -> np.ndarray:
    """Ranks [Q] of scores [Q, C], as `match_ranks` has them."""
    right = query_keys[:, None] == candidate_keys[None]
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + ((scores >= best) & ~right).sum(axis=1)


def check_labels(labels: Sequence[str]) -> None:
    """Refuses (ValueError) names of classes that are the same, or fewer than two."""
    if len(set(labels)) < max(2, len(labels)):
        raise ValueError(f"labels: got {', '.join(labels)}, expected two different or more")


def keys_of(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The number of each text [N] among the distinct ones, and where each of these is first [D]."""
    numbers: dict[str, int] = {}
    keys = np.array([numbers.setdefault(text, len(numbers)) for text in texts])
    _, first = np.unique(keys, return_index=True)
    return keys, first


def retrieval_ranks(
    images: np.ndarray, texts: np.ndarray, captions: list[str]
) -> dict[str, np.ndarray]:
    """Ranks of retrieval both ways, of pairs.

    Args:
      images: [N, P], of length 1.
      texts: [N, P], likewise; row i is the caption of image i.
      captions: N texts; those that are equal count as one.

    Returns:
      `text`: [N], of the caption of each image among the D distinct captions; `image`: [D], of the
      best image of each distinct caption among all images.
    """
    keys, first = keys_of(captions)
    return {
        "text": match_ranks(images, texts[first], keys, keys[first]),
        "image": match_ranks(texts[first], images, keys[first], keys),
    }


def score_ranks(scores: np.ndarray, captions: list[str]) -> dict[str, np.ndarray]:
    """The ranks of `retrieval_ranks`, of scores in place of places.

    Args:
      scores: [N, D] of N images over the D distinct captions, in the order of their first images.
      captions: N texts, of the images.

    Raises:
      NotFinite: a score is not.
    """
    check_finite(scores, "scores")
    keys, first = keys_of(captions)
    distinct = keys[first]
    return {"text": _ranks(scores, keys, distinct), "image": _ranks(scores.T, distinct, keys)}


def recalls(ranks: Mapping[str, np.ndarray]) -> dict[str, float]:
    """NAME_recall_1 and NAME_recall_10 of each NAME, and `recall_1`, the mean of the first ones."""
    found = {
        f"{name}_recall_{at}": float(np.mean(of <= at)) for name, of in ranks.items() for at in AT
    }
    return found | {"recall_1": float(np.mean([found[f"{name}_recall_1"] for name in ranks]))}


def recall_intervals(
    ranks: Mapping[str, np.ndarray], pictures: Sequence[LabelledPicture], seed: int
) -> dict[str, float]:
    """NAME_recall_1 and NAME_recall_10 with the bounds of 95% intervals over pictures.

    Args:
      ranks: of `retrieval_ranks`, or of `score_ranks`.
      pictures: N, whose texts are the captions. Rows of one picture are one cluster, and so are its
        captions, each of which belongs to the first picture that has it.
      seed: of the resamples.
    """
    figures: dict[str, float] = {}
    _, first = keys_of([each.text for each in pictures])
    digests = [each.picture.digest for each in pictures]
    clusters = {"text": digests, "image": [digests[number] for number in first]}
    for name, of in ranks.items():
        hits = {f"{name}_recall_{at}": of <= at for at in AT}
        figures |= with_intervals(
            lambda chosen, hits=hits: {key: float(hit[chosen].mean()) for key, hit in hits.items()},
            len(of),
            seed,
            clusters[name],
        )
    return figures
