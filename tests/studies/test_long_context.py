"""Longer contexts: windows, losses by position, trials and ways, against plain loops."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import ModelConfig
from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.inference.scoring import Score, Scorer
from gptjax.models.gpt import GPT
from gptjax.studies.long_context import retrieval
from gptjax.studies.long_context.by_position import (
    by_ranges,
    edges,
    long_windows,
    losses,
    sliding_losses,
)
from gptjax.studies.long_context.extension import Way, extended_params
from gptjax.tokenization import load_tokenizer
from tests.support.params import random_params

TRAINED = ModelConfig(
    vocab_size=17,
    context_length=8,
    num_layers=1,
    num_heads=1,
    d_model=8,
    init_std=0.5,
    positions="rotary",
).resolved()


def test_windows_lie_within_documents_and_are_spread_over_them():
    lengths = [4, 11, 3, 22, 10]
    starts = np.cumsum([0, *lengths[:-1]])
    split = TokenizedSplit("split", np.arange(50, dtype=np.uint16), starts, np.array(lengths))
    windows = long_windows(split, 9, most=4)
    assert windows[:, 0].tolist() == [4, 18, 40, 28]  # the first of each, then the second
    assert (np.diff(windows, axis=1) == 1).all() and windows.shape == (4, 10)
    assert len(long_windows(split, 9, most=2)) == 2
    with pytest.raises(ValueError, match=r"no document of 24 tokens.*longest has 22"):
        long_windows(split, 23, most=1)


def begun(model):
    return random_params(GPT(model), std=0.5)


def test_the_loss_of_a_position_is_that_of_the_longer_model():
    model = Way("yarn", 4.0).model(TRAINED, 32)
    params = begun(model)
    windows = np.random.default_rng(0).integers(0, 17, (3, 33)).astype(np.int32)
    ours = losses(Scorer(GPT(model), params, batch_size=2), windows)
    logits = np.asarray(jax.jit(GPT(model).apply)({"params": params}, windows[:, :-1]), np.float64)
    nats = np.log(np.exp(logits[..., :17]).sum(-1)) - np.take_along_axis(
        logits, windows[:, 1:, None], 2
    ).squeeze(2)
    np.testing.assert_allclose(ours, nats, atol=1e-5)

    rows = by_ranges(ours[:, :16], edges(8, 32))
    assert [(row["begin"], row["end"]) for row in rows] == [(0, 8), (8, 16)]  # 16 to 32 is not read
    assert rows[1]["loss"] == pytest.approx(nats[:, 8:16].mean(), abs=1e-5)
    spread = nats[:, 8:16].mean(1).std(ddof=1)
    assert rows[1]["half_width"] == pytest.approx(4.302653 * spread / 3**0.5, abs=1e-5)
    assert edges(8, 40) == [0, 8, 16, 32, 40]


def test_short_windows_slide_by_half_of_the_context():
    params = begun(TRAINED)
    windows = np.random.default_rng(0).integers(0, 17, (2, 17)).astype(np.int32)
    ours = sliding_losses(Scorer(GPT(TRAINED), params, batch_size=2), windows, 8)

    apply = jax.jit(GPT(TRAINED).apply)

    def nats(window, begin, end, at):
        seen = np.zeros((1, 8), np.int32)
        seen[0, : end - begin] = window[begin:end]
        logits = np.asarray(apply({"params": params}, seen), np.float64)
        p = np.exp(logits[0, at - 1 - begin, :17])
        return -np.log(p[window[at]] / p.sum())

    for row, window in enumerate(windows):
        for at in range(1, 17):
            begin = 0 if at <= 8 else 5 + 4 * ((at - 9) // 4)
            assert ours[row, at - 1] == pytest.approx(nats(window, begin, at, at), abs=1e-5)


def test_ways_change_the_positions_and_nothing_else():
    fields = {
        "interpolation": (4.0, None),
        "ntk": (4.0, None),
        "yarn": (4.0, 8),
    }
    for method, (factor, original) in fields.items():
        model = Way(method, 4.0).model(TRAINED, 64)
        changed = dataclasses.replace(
            TRAINED,
            context_length=64,
            rotary_scaling=method,
            rotary_factor=factor,
            rotary_original_context=original,
        )
        assert model == changed
    banded = Way("none", 4.0, "banded(window=4)").model(TRAINED, 64)
    assert (banded.attention, banded.rotary_scaling) == ("banded(window=4)", "none")


def test_learned_positions_end_with_their_table():
    learned = dataclasses.replace(TRAINED, positions="learned")
    plain = Way("none", 2.0).model(learned, 64)
    longer = Way("interpolation", 2.0).model(learned, 64)
    assert (plain.context_length, longer.context_length) == (8, 16)
    params = {"position_embedding": jnp.arange(8.0)[:, None], "rest": jnp.ones(1)}
    made = extended_params(params, learned, longer)
    expected = [*np.arange(15) / 2, 7.0]
    np.testing.assert_allclose(made["position_embedding"][:, 0], expected)
    assert extended_params(params, learned, plain) is params


@pytest.mark.parametrize(
    ("fields", "method", "said"),
    [
        ({"positions": "learned"}, "yarn", "expected of none, interpolation"),
        ({"positions": "none"}, "interpolation", "expected of none"),
        ({"rotary_scaling": "ntk", "rotary_factor": 2.0}, "ntk", "has not been extended yet"),
    ],
)
def test_what_positions_cannot_do_is_refused(fields, method, said):
    with pytest.raises(ValueError, match=said):
        Way(method, 2.0).model(dataclasses.replace(TRAINED, **fields), 64)


class Reader(Scorer):
    """Answers what its prompt says, and is sure of nothing else."""

    def __init__(self):
        pass

    def score(self, pairs):
        scores = []
        for prompt, answer in pairs:
            text = " ".join(map(str, prompt))
            knows = " ".join(map(str, answer)) in text
            scores.append(Score(np.full(len(answer), -0.5 if knows else -2.0), knows))
        return scores


@pytest.mark.parametrize("kind", ["passkey", "needle"])
@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_trials_hide_the_answer_once_at_their_depth(kind, depth):
    tokenizer = load_tokenizer("bytes")
    haystack = np.full(2000, ord("x"), np.int32)
    trials = retrieval.made_trials(
        kind, tokenizer, haystack, length=600, depth=depth, number=3, seed=1
    )
    for trial in trials:
        assert (
            trial.prompt.size + trial.answer.size == 600 and trial.without.size == trial.prompt.size
        )
        text, key = tokenizer.decode(trial.prompt), tokenizer.decode(trial.answer)
        said = text.index(key)
        assert key.strip().isdecimal() and key not in tokenizer.decode(trial.without)
        before, after = text[:said].count("x"), text[said:].count("x")
        if kind == "needle":
            assert before == round(depth * (before + after))
        assert abs(said / len(text) - depth) < 0.35  # the introduction and the question besides
    assert len({tokenizer.decode(trial.answer) for trial in trials}) == 3
    found = retrieval.judged(Reader(), trials)
    expected = np.mean([1.5 * trial.answer.size for trial in trials])
    assert found["exact"] == 1.0 and found["gain"] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["passkey", "needle"])
def test_the_least_length_has_room_for_any_key(kind):
    tokenizer, haystack = load_tokenizer("python_docs_1024"), np.zeros(999, np.int32)
    least = retrieval.least_length(kind, tokenizer)
    options = {"length": least, "depth": 0.5, "number": 200, "seed": 0}
    trials = retrieval.made_trials(kind, tokenizer, haystack, **options)
    assert {trial.prompt.size + trial.answer.size for trial in trials} == {least}


def test_sentences_that_do_not_fit_are_refused():
    tokenizer = load_tokenizer("bytes")
    options = {"depth": 0.5, "number": 1, "seed": 0}
    with pytest.raises(ValueError, match=r"passkey: got 20 tokens, expected 1\d\d or more"):
        retrieval.made_trials("passkey", tokenizer, np.zeros(9, np.int32), length=20, **options)
    with pytest.raises(ValueError, match="needle: got 9 tokens of text, expected 200"):
        retrieval.made_trials("needle", tokenizer, np.zeros(9, np.int32), length=200, **options)
