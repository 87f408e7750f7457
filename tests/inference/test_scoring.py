"""Scores against full forward passes over one text at a time."""

import functools
import logging

import jax
import numpy as np
import pytest

from gptjax.config import ModelConfig
from gptjax.inference import log_probs
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.inference.scoring import Score, Scorer, TextLoss
from gptjax.models.gpt import GPT
from tests.inference.models import made_of

VOCAB, CONTEXT = 37, 40
AHEAD = ("prefix(length=9)", "dense,block_causal(block=4)")


def make(**changes) -> tuple[GPT, dict]:
    model = ModelConfig(
        vocab_size=VOCAB,
        vocab_multiple=16,
        context_length=CONTEXT,
        num_layers=2,
        num_heads=2,
        d_model=16,
        attention="dense,banded(window=5)",
        init_std=0.3,
    )
    return made_of(model, **changes)


@pytest.fixture(scope="module")
def made() -> tuple[GPT, dict]:
    return make()


@pytest.fixture(scope="module")
def scorer(made) -> Scorer:
    """Few rows, short pieces, and logits of a few tokens at once: all that long texts meet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_probs, "LOGITS", 7 * VOCAB)
        scorer = Scorer(*made, batch_size=4, piece=8)
        scorer.score([(np.array([1]), np.array([1]))])
        yield scorer


def tokens_of(*lengths: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, VOCAB, length) for length in lengths]


@functools.cache
def forward_of(attention: str):
    """The full forward pass of `make(attention=attention)`, compiled once."""
    model, _ = make(attention=attention)
    return jax.jit(lambda params, tokens: model.apply({"params": params}, tokens))


def check(score: Score, made, prefix, continuation) -> None:
    """Float64 softmax over the logits of this text alone."""
    model, params = made
    whole = np.concatenate([prefix, continuation])
    inputs = whole[None, :-1].astype(np.int32)
    if model.config.attention not in AHEAD:  # then later tokens cannot change earlier logits
        inputs = np.pad(inputs, ((0, 0), (0, CONTEXT - inputs.size)))
    logits = np.asarray(forward_of(model.config.attention)(params, inputs)[0], np.float64)
    logits = logits[len(prefix) - 1 : whole.size - 1]
    expected = logits[np.arange(len(continuation)), continuation]
    expected = expected - np.log(np.exp(logits).sum(-1))
    np.testing.assert_allclose(score.log_probs, expected, rtol=1e-5, atol=1e-5)
    assert score.log_probs.dtype == np.float32
    assert score.total == pytest.approx(expected.sum(), abs=1e-4)
    assert score.mean == pytest.approx(expected.mean(), abs=1e-5)
    assert score.greedy == (logits.argmax(-1) == continuation).all()


def test_scores_equal_full_forward_passes_in_the_order_of_the_input(made, scorer):
    prefixes = tokens_of(3, 1, 33, 8, 20, 1, CONTEXT)
    continuations = tokens_of(4, 1, 8, 15, 2, CONTEXT, 1, seed=1)
    pairs = list(zip(prefixes, continuations, strict=True))
    for score, pair in zip(scorer.score(pairs), pairs, strict=True):
        check(score, made, *pair)
    assert scorer.score([]) == []


def test_what_greedy_decoding_writes_is_known_by_its_score(made, scorer):
    (prefix,) = tokens_of(5)
    generator = Generator(*made)
    (text,) = generator.generate([prefix], max_new_tokens=6, sampler=make_sampler(temperature=0))
    other = text.copy()
    other[4] = (other[4] + 1) % VOCAB
    answers = [text, other, text[:2]]
    for scores in (
        scorer.score([(prefix, answer) for answer in answers]),
        scorer.score_answers(prefix, answers),
    ):
        assert [score.greedy for score in scores] == [True, False, True]


@pytest.mark.parametrize(
    "attention", ["dense,banded(window=5)", "banded(window=4),sinks(window=3,sinks=2)"]
)
def test_answers_of_several_questions_equal_full_forward_passes(attention):
    """Of 1 to 6 answers a question, where 4 fit in a batch; some are longer than a ring."""
    made = make(attention=attention)
    scorer = Scorer(*made, batch_size=4, piece=8)
    questions = [
        (tokens_of(length, seed=length)[0], tokens_of(*answers, seed=length + 1))
        for length, answers in [
            (9, (2, 3)),
            (31, (1, 4, 10, 2, 2, 7)),
            (1, (5,)),
            (12, (17, 1, 1)),
            (2, (1, 2)),
            (25, (16, 3)),
            (CONTEXT, (1, 1)),
        ]
    ]
    results = scorer.score_questions(questions)
    for (prefix, answers), scores in zip(questions, results, strict=True):
        assert len(scores) == len(answers)
        for answer, score in zip(answers, scores, strict=True):
            check(score, made, prefix, answer)
    prefix, answers = questions[1]
    for one, other in zip(scorer.score_answers(prefix, answers), results[1], strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, rtol=1e-6, atol=1e-6)


def test_a_prefix_is_read_once_for_all_its_answers(made, monkeypatch):
    scorer = Scorer(*made, batch_size=8, piece=8)
    fed = []
    feed = scorer._prefill._feed
    monkeypatch.setattr(
        scorer._prefill, "_feed", lambda *call: fed.append((call[3] >= 0).sum()) or feed(*call)
    )
    prefix, *answers = tokens_of(30, 3, 2, 5, 4)
    scorer.score_answers(prefix, answers)
    assert sum(fed) == 29


@pytest.mark.parametrize("stride", [1, 7, 16, CONTEXT, None])
@pytest.mark.parametrize("length", [2, 30, CONTEXT, CONTEXT + 1, CONTEXT + 2, 131])
def test_strided_perplexity_equals_a_loop_over_windows(made, scorer, stride, length):
    if stride == 1 and length == 131:
        length = 60
    (tokens,) = tokens_of(length, seed=5)
    model, params = made
    step = stride or CONTEXT
    nats, scored, start = 0.0, [], 0
    while len(scored) < length - 1:
        window = tokens[start : start + CONTEXT]
        padded = np.zeros((1, CONTEXT), np.int32)  # later tokens cannot change earlier logits
        padded[0, : len(window)] = window
        logits = np.asarray(forward_of(model.config.attention)(params, padded)[0], np.float64)
        for i in range(len(window)):
            target = start + i + 1
            if target < length and target not in scored:
                scored.append(target)
                nats -= logits[i, tokens[target]] - np.log(np.exp(logits[i]).sum())
        start += step
    assert scored == list(range(1, length))
    got = scorer.perplexity(tokens, stride)
    assert got.tokens == length - 1
    assert got.nats == pytest.approx(nats, rel=1e-5)
    assert got.perplexity == pytest.approx(np.exp(nats / (length - 1)), rel=1e-5)


def test_a_smaller_stride_sees_more(made, scorer, monkeypatch):
    """The model hardly looks back, so what is tested is how much each token could see."""
    windows = []
    whole = scorer._whole
    monkeypatch.setattr(
        scorer, "_whole", lambda *call: windows.append((call[2], call[4])) or whole(*call)
    )
    scorer.perplexity(tokens_of(131)[0], 7)
    lengths = np.concatenate([length for length, _ in windows])
    assert (lengths > 0).sum() == 14 and lengths.max() == CONTEXT


def test_a_perplexity_past_what_floats_hold_is_infinite():
    assert TextLoss(nats=1600.0, tokens=2).perplexity == np.inf
    assert TextLoss(nats=2.0, tokens=2).perplexity == pytest.approx(np.e)


def test_few_programs_serve_all_lengths(made, caplog):
    scorer = Scorer(*made)
    caplog.set_level(logging.WARNING, logger="jax")
    scorer.score(list(zip(tokens_of(3, 9), tokens_of(4, 2), strict=True)))
    scorer.score_answers(tokens_of(9)[0], tokens_of(3, 4))
    caplog.clear()
    with jax.log_compiles():
        scorer.score(list(zip(tokens_of(1, 2), tokens_of(14, 1), strict=True)))
        scorer.score_answers(tokens_of(5)[0], tokens_of(3, 11))
        scorer.score_answers(tokens_of(14)[0], tokens_of(1, 2))
    assert not [text for text in caplog.messages if text.startswith("Compiling")]


@pytest.mark.parametrize("attention", AHEAD)
def test_patterns_that_look_ahead_are_scored_where_they_see_no_answer(attention):
    made = make(attention=attention)
    scorer = Scorer(*made, piece=4)
    prefixes, answers = tokens_of(12, 12), tokens_of(4, 4)
    if attention.startswith("prefix"):
        pairs = list(zip(prefixes, answers, strict=True))
        for score, pair in zip(scorer.score(pairs), pairs, strict=True):
            check(score, made, *pair)
        for prefix in prefixes:
            for score, answer in zip(scorer.score_answers(prefix, answers), answers, strict=True):
                check(score, made, prefix, answer)
    last = prefixes[0][:6], answers[0][:1]  # what would be padding must not be seen
    check(scorer.score([last])[0], made, *last)
    refused = f"attention {attention.split(',')[-1]}: got"
    for call in (
        lambda: scorer.score([(prefixes[0][:6], answers[0])]),
        lambda: scorer.score_answers(prefixes[0][:6], answers),
        lambda: scorer.perplexity(tokens_of(20)[0]),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert str(caught.value).startswith(refused) and "\n" not in str(caught.value)


ONE, EMPTY = np.array([1]), np.zeros(0, int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.score([(ONE, ONE), (ONE, EMPTY)]), "continuation: got int64.0., expected int"),
        (lambda s: s.score([(EMPTY, ONE)]), "prefix: got int64.0., expected integers .n. with at"),
        (
            lambda s: s.score([(ONE, np.array([37]))]),
            "continuation: got token 37, expected 0 to 36",
        ),
        (lambda s: s.score([(np.array([-2]), ONE)]), "prefix: got token -2, expected 0 to 36"),
        (lambda s: s.score([(ONE, ONE / 2)]), "continuation: got float64.1., expected integers"),
        (lambda s: s.score([(ONE, np.ones(41, int))]), "got 42 tokens, expected at most 41"),
        (lambda s: s.score_answers(np.ones(40, int), [ONE, np.ones(2, int)]), "got 42 tokens"),
        (lambda s: s.score_answers(ONE, []), "answers: got none, expected one or more"),
        (lambda s: s.score_answers(ONE, [EMPTY]), "continuation: got int64.0., expected integers"),
        (
            lambda s: s.perplexity(np.ones(9, int), 0),
            "stride: got 0, expected 1 to 40, the context",
        ),
        (lambda s: s.perplexity(np.ones(9, int), 41), "stride: got 41, expected 1 to 40"),
        (lambda s: s.perplexity(ONE), "tokens: got one, expected two or more"),
        (lambda s: s.perplexity(EMPTY), "tokens: got int64.0., expected integers"),
        (lambda s: s.perplexity(np.array([1, 40])), "tokens: got token 40, expected 0 to 36"),
    ],
)
def test_bad_input_is_refused_in_one_line(scorer, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call(scorer)
    assert "\n" not in str(caught.value)


def test_a_scorer_without_a_batch_is_refused(made):
    with pytest.raises(ValueError, match="batch_size: got 0, expected 1 or more"):
        Scorer(*made, batch_size=0)
