"""Scores against full forward passes over one text at a time."""

import logging

import jax
import numpy as np
import pytest

from gptjax.inference import log_probs
from gptjax.inference.scoring import Score, Scorer, TextLoss
from tests.inference.models import (
    CONTEXT,
    GREEDY,
    VOCAB,
    Made,
    full_logits,
    generator_of,
    log_softmax,
    made,
    random_prompts,
)
from tests.support.tiers import tiered

AHEAD = ("prefix(length=9)", "dense,block_causal(block=4)")


@pytest.fixture(scope="module", autouse=True)
def few_logits():
    """Logits of seven tokens at once: long texts need several parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_probs, "LOGITS", 7 * VOCAB)
        yield


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    """Few rows and short pieces."""
    return Scorer(*made(), batch_size=4, piece=8)


def tokens_of(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    return random_prompts(VOCAB, *lengths, seed=seed)


def check(score: Score, of: Made, prefix, continuation) -> None:
    """Float64 softmax over the logits of this text alone."""
    inputs = np.concatenate([prefix, continuation])[:-1]
    logits = full_logits(of, inputs)[len(prefix) - 1 :, :VOCAB]
    expected = log_softmax(logits)[np.arange(len(continuation)), continuation]
    np.testing.assert_allclose(score.log_probs, expected, rtol=1e-5, atol=1e-5)
    assert score.log_probs.dtype == np.float32
    assert score.total == pytest.approx(expected.sum(), rel=1e-5, abs=1e-4)
    assert score.mean == pytest.approx(expected.mean(), rel=1e-5, abs=1e-5)
    assert score.greedy == (logits.argmax(-1) == continuation).all()


def test_scores_equal_full_forward_passes_in_the_order_of_the_input(scorer):
    """Four short texts are a batch, four long ones another, up to one token past the context."""
    prefixes = tokens_of(3, 1, 33, 8, 20, 1, CONTEXT, 12)
    continuations = tokens_of(4, 1, 18, 5, 32, CONTEXT, 1, 4, seed=1)
    pairs = list(zip(prefixes, continuations, strict=True))
    for score, pair in zip(scorer.score(pairs), pairs, strict=True):
        check(score, made(), *pair)
    assert scorer.score([]) == []


def test_what_greedy_decoding_writes_is_known_by_its_score(scorer):
    prefixes = tokens_of(5, 1, 9, 20)
    text, *_ = generator_of().generate(prefixes, max_new_tokens=12, sampler=GREEDY)
    other = text.copy()
    other[4] = (other[4] + 1) % VOCAB
    answers = [text[:6], other[:6], text[:2], other[:5]]
    for scores in (
        scorer.score([(prefixes[0], answer) for answer in answers]),
        scorer.score_answers(prefixes[0], answers),
    ):
        assert [score.greedy for score in scores] == [True, False, True, False]


def check_questions(of: Made, scorer: Scorer, *lengths) -> None:
    """Of (length of a question, those of its answers) each."""
    questions = [
        (tokens_of(length, seed=length)[0], tokens_of(*answers, seed=length + 1))
        for length, answers in lengths
    ]
    results = scorer.score_questions(questions)
    for (prefix, answers), scores in zip(questions, results, strict=True):
        assert len(scores) == len(answers)
        for answer, score in zip(answers, scores, strict=True):
            check(score, of, prefix, answer)


LONG = (50, (1, 4, 20, 2, 17, 7))  # more answers than rows, some longer than a ring


def test_answers_of_several_questions_equal_full_forward_passes(scorer):
    """Four answers to one question are a batch, two answers to each of two another."""
    check_questions(made(), scorer, (9, (2, 3)), LONG)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["dense,banded(window=5)", "sinks(window=3,sinks=2)"])
def test_answers_of_many_lengths_equal_full_forward_passes(attention):
    """Of 1 to 6 answers a question, where 4 fit in a batch; some are longer than a ring."""
    others = (1, (5,)), (12, (17, 1, 1)), (2, (1, 2)), (25, (16, 3)), (CONTEXT, (1, 1))
    of = made(attention=attention)
    check_questions(of, Scorer(*of, batch_size=4, piece=8), LONG, (9, (2, 3)), *others)


def test_a_prefix_is_read_once_for_all_its_answers(scorer, monkeypatch):
    fed = []
    feed = scorer._prefill._feed
    monkeypatch.setattr(
        scorer._prefill, "_feed", lambda *call: fed.append((call[3] >= 0).sum()) or feed(*call)
    )
    prefix, *answers = tokens_of(50, 3, 7, 5, 4)
    scorer.score_answers(prefix, answers)
    assert sum(fed) == 49


CASES = [(2, None), (CONTEXT, 16), (CONTEXT + 2, None), (76, 1), (150, 7), (147, CONTEXT)]
PRODUCT = [
    (length, stride)
    for stride in (1, 7, 16, CONTEXT, None)
    for length in (2, 50, CONTEXT, CONTEXT + 1, CONTEXT + 2, 90, 220)
    if (length, stride) != (220, 1)
]


def marked(cases, *marks):
    return [pytest.param(*case, marks=marks) for case in cases]


@pytest.mark.parametrize(
    ("length", "stride"),
    CASES + marked([case for case in PRODUCT if case not in CASES], pytest.mark.slow),
)
def test_strided_perplexity_equals_a_loop_over_windows(scorer, stride, length):
    (tokens,) = tokens_of(length, seed=5)
    step = stride or CONTEXT
    nats, scored, start = 0.0, [], 0
    while len(scored) < length - 1:
        window = tokens[start : start + CONTEXT]
        made_of_window = log_softmax(full_logits(made(), window)[:, :VOCAB])
        for i in range(len(window)):
            target = start + i + 1
            if target < length and target not in scored:
                scored.append(target)
                nats -= made_of_window[i, tokens[target]]
        start += step
    assert scored == list(range(1, length))
    got = scorer.perplexity(tokens, stride)
    assert got.tokens == length - 1
    assert got.nats == pytest.approx(nats, rel=1e-5)
    assert got.perplexity == pytest.approx(np.exp(nats / (length - 1)), rel=1e-5)


def test_a_smaller_stride_sees_more(scorer, monkeypatch):
    """The model hardly looks back, so what is tested is how much each token could see."""
    windows = []
    whole = scorer._whole
    monkeypatch.setattr(
        scorer, "_whole", lambda *call: windows.append((call[2], call[4])) or whole(*call)
    )
    scorer.perplexity(tokens_of(150)[0], 7)
    lengths = np.concatenate([length for length, _ in windows])
    assert (lengths > 0).sum() == 12 and lengths.max() == CONTEXT


def test_a_perplexity_past_what_floats_hold_is_infinite():
    assert TextLoss(nats=1600.0, tokens=2).perplexity == np.inf
    assert TextLoss(nats=2.0, tokens=2).perplexity == pytest.approx(np.e)


@pytest.mark.slow
def test_few_programs_serve_all_lengths(scorer, caplog):
    caplog.set_level(logging.WARNING, logger="jax")
    scorer.score(list(zip(tokens_of(3, 9, 1), tokens_of(4, 2, 1), strict=True)))
    scorer.score_answers(tokens_of(9)[0], tokens_of(3, 4, 1))
    caplog.clear()
    with jax.log_compiles():
        scorer.score(list(zip(tokens_of(1, 2, 3), tokens_of(14, 1, 2), strict=True)))
        scorer.score_answers(tokens_of(5)[0], tokens_of(3, 11, 2))
        scorer.score_answers(tokens_of(14)[0], tokens_of(1, 2, 3, 3))
    assert not [text for text in caplog.messages if text.startswith("Compiling")]


@pytest.mark.parametrize("attention", tiered(zip(AHEAD, strict=True), [(AHEAD[0],)]))
def test_patterns_that_look_ahead_are_scored_where_they_see_no_answer(attention):
    of = made(attention=attention, num_layers=1 + attention.count(","))
    scorer = Scorer(*of, piece=4)
    prefixes, answers = tokens_of(12, 12), tokens_of(4, 4)
    if attention.startswith("prefix"):
        pairs = list(zip(prefixes, answers, strict=True))
        for score, pair in zip(scorer.score(pairs), pairs, strict=True):
            check(score, of, *pair)
        for prefix in prefixes:
            for score, answer in zip(scorer.score_answers(prefix, answers), answers, strict=True):
                check(score, of, prefix, answer)
    last = prefixes[0][:6], answers[0][:1]  # what would be padding must not be seen
    check(scorer.score([last])[0], of, *last)
    refused = f"attention {attention.split(',')[-1]}: got"
    for call in (
        lambda: scorer.score([(prefixes[0][:6], answers[0])]),
        lambda: scorer.score_answers(prefixes[0][:6], answers),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value).startswith(refused) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_perplexity_leaves_out_what_earlier_tokens_see():
    """Windows of 72 tokens, each in blocks of 16: targets at 16, 32, 48 and 64 alone."""
    of = made(attention="block_causal(block=16)")
    tokens = tokens_of(100)[0]
    got = Scorer(*of).perplexity(tokens, 40)
    asked = [(0, 16), (0, 32), (0, 48), (0, 64), (40, 48)]  # the next window is to score from 73 on
    nats = [
        -Scorer(*of).score([(tokens[start : start + at], tokens[start + at :][:1])])[0].total
        for start, at in asked
    ]
    assert got.tokens == len(asked) and got.nats == pytest.approx(sum(nats), rel=1e-5)
    with pytest.raises(ValueError, match="got a text of 9 tokens, each of which an earlier one"):
        Scorer(*of).perplexity(tokens[:9])


ONE, EMPTY = np.array([1]), np.zeros(0, int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.score([(ONE, ONE), (ONE, EMPTY)]), "continuation: got int64.0., expected int"),
        (lambda s: s.score([(EMPTY, ONE)]), "prefix: got int64.0., expected integers .n. with at"),
        (
            lambda s: s.score([(ONE, np.array([120]))]),
            "continuation: got token 120, expected 0 to 119",
        ),
        (lambda s: s.score([(np.array([-2]), ONE)]), "prefix: got token -2, expected 0 to 119"),
        (lambda s: s.score([(ONE, ONE / 2)]), "continuation: got float64.1., expected integers"),
        (lambda s: s.score([(ONE, np.ones(73, int))]), "got 74 tokens, expected at most 73"),
        (lambda s: s.score_answers(np.ones(72, int), [ONE, np.ones(2, int)]), "got 74 tokens"),
        (lambda s: s.score_answers(ONE, []), "answers: got none, expected one or more"),
        (lambda s: s.score_answers(ONE, [EMPTY]), "continuation: got int64.0., expected integers"),
        (
            lambda s: s.perplexity(np.ones(9, int), 0),
            "stride: got 0, expected 1 to 72, the context",
        ),
        (lambda s: s.perplexity(np.ones(9, int), 73), "stride: got 73, expected 1 to 72"),
        (lambda s: s.perplexity(ONE), "tokens: got one, expected two or more"),
        (lambda s: s.perplexity(EMPTY), "tokens: got int64.0., expected integers"),
        (lambda s: s.perplexity(np.array([1, 140])), "tokens: got token 140, expected 0 to 119"),
    ],
)
def test_bad_input_is_refused_in_one_line(scorer, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(scorer)
    assert "\n" not in str(caught.value)


def test_a_scorer_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="batch_size: got 0, expected 1 or more"):
        Scorer(*made(), batch_size=0)
