"""Ranks against a loop that counts, and recall of ranks by hand."""

import dataclasses

import numpy as np
import pytest

from gptjax.data.labelled.picture_files import LabelledPicture
from gptjax.data.pictures.picture import Picture
from gptjax.judging.retrieval import (
    match_ranks,
    recall_intervals,
    recalls,
    retrieval_ranks,
    score_ranks,
)


def test_ranks_are_those_of_a_loop_and_ties_count_against():
    rng = np.random.default_rng(0)
    queries, candidates = (rng.integers(-2, 3, (n, 4)).astype(float) for n in (7, 9))
    query_keys, candidate_keys = rng.integers(0, 3, 7), np.arange(9) % 3
    found = match_ranks(queries, candidates, query_keys, candidate_keys)
    for query, key, rank in zip(queries, query_keys, found, strict=True):
        scores = candidates @ query
        best = max(s for s, k in zip(scores, candidate_keys, strict=True) if k == key)
        wrong = [s for s, k in zip(scores, candidate_keys, strict=True) if k != key]
        assert rank == 1 + sum(s >= best for s in wrong)


def test_what_is_not_finite_has_no_rank():
    places = np.eye(3)
    places[1, 1] = np.nan
    for queries, candidates in ((places, np.eye(3)), (np.eye(3), places)):
        with pytest.raises(ValueError, match="that are not finite"):
            match_ranks(queries, candidates, np.arange(3), np.arange(3))


def test_captions_that_are_equal_count_as_one():
    images = np.eye(3)
    texts = np.array([[0, 1, 0], [0, 1, 0], [0, 0, 1]])
    ranks = retrieval_ranks(images, texts, ["a", "a", "b"])
    assert ranks["text"].tolist() == [2, 1, 1] and ranks["image"].tolist() == [1, 1]
    scores = images @ texts[[0, 2]].T
    assert {k: v.tolist() for k, v in score_ranks(scores, ["a", "a", "b"]).items()} == {
        k: v.tolist() for k, v in ranks.items()
    }
    with pytest.raises(ValueError, match="that are not finite"):
        score_ranks(np.where(scores == 1, np.nan, scores), ["a", "a", "b"])
    figures = recalls(ranks)
    assert figures["text_recall_1"] == 2 / 3 and figures["text_recall_10"] == 1
    assert figures["recall_1"] == (2 / 3 + 1) / 2
    pictures = [
        LabelledPicture(text, text, Picture.of(np.full((2, 2), number, np.uint8)))
        for number, text in enumerate(["a", "a", "b"])
    ]
    bounds = recall_intervals(ranks, pictures, seed=0)
    assert bounds["text_recall_1_low"] <= 2 / 3 <= bounds["text_recall_1_high"]
    assert bounds["image_recall_1_low"] == 1
    # Two rows of one picture, right and wrong, say nothing that is not drawn with both of them.
    twice = [pictures[0], dataclasses.replace(pictures[0], text="c")]
    same = recall_intervals({"text": np.array([1, 2]), "image": np.array([1, 2])}, twice, seed=0)
    assert all(same[f"{name}_recall_1{end}"] == 0.5 for name in ranks for end in ("_low", "_high"))
