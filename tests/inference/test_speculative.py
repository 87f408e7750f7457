"""Speculative sampling against the target alone: equal greedy texts, equal distributions."""

import itertools
import logging

import jax
import numpy as np
import pytest

from gptjax.inference.decoding import decoding_params
from gptjax.inference.filters import RepetitionPenalty, Temperature, TopK
from gptjax.inference.generate import Generator
from gptjax.inference.prefill import Prefill
from gptjax.inference.sampling import Sampler
from gptjax.inference.speculative import SpeculativeGenerator
from tests.inference.models import (
    CONTEXT,
    DRAWN,
    GREEDY,
    VOCAB,
    full_logits,
    generator_of,
    made,
    prompts_of,
)

SHORTENS = jax.tree_util.Partial(lambda logits, text: logits[:3])
PENALIZED = Sampler((RepetitionPenalty(1.8),), greedy=True)
UNPENALIZED = Sampler((RepetitionPenalty(1.0),), greedy=True)  # one program for both


def weakened(params: dict, size: float) -> dict:
    """Parameters near to `params`: those of a draft that is right now and then."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    noisy = [leaf + size * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, noisy)


def pair_of(size: float = 0.05, **options) -> SpeculativeGenerator:
    """A draft that agrees with its target now and then; both keep rings."""
    model, params = made()
    fitting = {"num_proposals": 3, "batch_size": 4, "piece": 8} | options
    return SpeculativeGenerator(model, params, model, weakened(params, size), **fitting)


@pytest.fixture(scope="module")
def pair() -> SpeculativeGenerator:
    return pair_of()


def check_equals_plain(pair, prompts, **options):
    """Texts of the pair, which are the target's own."""
    plain = generator_of().generate(prompts, **options)
    texts = pair.generate(prompts, **options)
    assert [text.tokens.tolist() for text in texts] == [text.tolist() for text in plain]
    return texts


def test_greedy_texts_equal_plain_ones(pair):
    """Of one to twenty tokens before them, and with a filter that sees the text."""
    prompts, options = prompts_of(1, 5, 14, 20), {"max_new_tokens": 12, "sampler": PENALIZED}
    texts = check_equals_plain(pair, prompts, **options)
    rates = [text.acceptance_rate for text in texts]
    assert min(rates) < 1 and max(rates) > 0
    without_noise = Sampler(PENALIZED.filters, noise=0.0)
    same = pair.generate(prompts, max_new_tokens=12, sampler=without_noise)
    assert [text.tokens.tolist() for text in same] == [text.tokens.tolist() for text in texts]


def test_the_stop_token_ends_its_text(pair):
    prompts, options = prompts_of(3, 8, 11, 2), {"max_new_tokens": 21, "sampler": PENALIZED}
    free = [text.tokens for text in pair.generate(prompts, **options)]
    for stop in (free[0][3], free[1][7]):
        texts = check_equals_plain(pair, prompts, stop_token=int(stop), **options)
        assert min(text.tokens.size for text in texts) < 21


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["near", "far"])
def test_texts_that_fill_the_context_equal_plain_ones(kind):
    if kind == "near":
        pair = pair_of(0.1, num_proposals=4)
    else:
        far = made(1, num_layers=1, attention="banded(window=3)", positions="rotary")
        pair = SpeculativeGenerator(*made(), *far, num_proposals=1, piece=8)
    texts = check_equals_plain(pair, prompts_of(1, 5, 19, CONTEXT), sampler=GREEDY)
    assert texts[-1].tokens.size == texts[-1].rounds == 0
    rates = [text.acceptance_rate for text in texts[:-1]]
    assert min(rates) < 1 and max(rates) > 0


@pytest.mark.slow
def test_a_prompt_that_fills_the_context_has_no_text(pair):
    (text,) = pair.generate(prompts_of(CONTEXT), sampler=UNPENALIZED)
    assert text.tokens.size == text.rounds == text.judged == 0


def test_rounds_tell_how_a_greedy_text_came_about(pair):
    """By hand: each round gives what was kept and one token, until the text is full."""
    model, params = made()
    (prompt, *_) = prompts = prompts_of(4, 1, 1, 1)
    text, *_ = pair.generate(prompts, max_new_tokens=20, sampler=UNPENALIZED)

    whole = [*prompt.tolist(), *text.tokens.tolist()]
    best = full_logits((model, weakened(params, 0.05)), whole)[:, :VOCAB].argmax(-1)
    at, rounds, judged, accepted = prompt.size, 0, 0, 0
    while at < len(whole):
        rounds += 1
        for _ in range(3):
            if at == len(whole):
                break
            judged += 1
            right = int(best[at - 1]) == whole[at]
            if not right:
                break
            accepted += 1
            at += 1
        at += 1
    assert (text.rounds, text.judged, text.accepted) == (rounds, judged, accepted)
    assert text.acceptance_rate == accepted / judged
    assert 0 < accepted < judged


def test_caches_hold_what_was_kept_alone(monkeypatch):
    """In rings too: each position that later tokens may see, as if the text had been read."""
    model, params = made()
    pair = pair_of(0.1)
    states, write = [], pair._write
    monkeypatch.setattr(
        pair, "_write", lambda *call, **options: states.append(write(*call, **options)) or states[0]
    )
    options = {"max_new_tokens": 18, "sampler": UNPENALIZED}
    texts = pair.generate(prompts_of(3, 9, 14, 1), **options)
    assert any(text.accepted < text.judged for text in texts)
    (state,) = states
    tokens, lengths = np.asarray(state.texts.tokens), np.asarray(state.texts.length)
    ready = decoding_params(model, params)
    read = Prefill(model, piece=8)(ready, tokens, lengths - 1, 4)
    assert [layer.positions.shape[1] for layer in state.cache] == [32, 13]
    for got, expected, sinks, near in zip(state.cache, read, (0, 2), (CONTEXT, 4), strict=True):
        for row, length in enumerate(lengths):
            places = [at for at in range(length - 1) if at < sinks or at >= length - near]
            held = np.asarray(got.positions[row])
            assert held.max() == length - 2 and set(places) <= set(held.tolist())
            slots = [int(np.flatnonzero(held == at)[0]) for at in places]
            there = np.asarray(expected.positions[row])
            other = [int(np.flatnonzero(there == at)[0]) for at in places]
            for name in ("k", "v"):
                ours, full = (np.asarray(getattr(x, name))[row] for x in (got, expected))
                np.testing.assert_allclose(ours[:, slots], full[:, other], atol=1e-5)
    for layer in state.draft_cache:
        assert np.all(np.asarray(layer.positions).max(1) <= lengths - 2)


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """The probability of counts as far from `probabilities` as these."""
    assert not counts[probabilities == 0].any()
    there = probabilities > 0
    expected = counts.sum() * probabilities[there]
    statistic = ((counts[there] - expected) ** 2 / expected).sum()
    return float(jax.scipy.special.gammaincc((there.sum() - 1) / 2.0, statistic / 2.0))


FILTERS = Temperature(0.7), TopK(4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_proposals", "filters"),
    [
        (2, FILTERS),
        (1, ()),
        (3, ()),
        (3, (RepetitionPenalty(3.0),)),
    ],
)
def test_texts_are_distributed_as_the_targets_own(num_proposals, filters):
    """Two tokens together, 8,192 times, after a prompt, against products of exact probabilities.

    The draft is another architecture.
    """
    tiny = {"vocab_size": 6, "vocab_multiple": 1, "num_layers": 1, "attention": "banded(window=3)"}
    target, draft = made(**tiny), made(3, **tiny | {"positions": "rotary", "num_kv_heads": 4})
    pair = SpeculativeGenerator(*target, *draft, num_proposals=num_proposals, batch_size=8192)
    prompt, sampler = np.array([1, 5, 2]), Sampler(filters)
    texts = pair.generate([prompt] * 8192, max_new_tokens=2, sampler=sampler, seed=7)
    counts = np.zeros((6, 6))
    for text in texts:
        counts[tuple(text.tokens)] += 1
    assert 0.2 < sum(text.accepted for text in texts) / sum(text.judged for text in texts) < 0.9

    def distribution(text):
        """Softmax of filtered logits, the filters written out again."""
        logits = full_logits(target, text)[-1]
        for each in filters:
            if isinstance(each, Temperature):
                logits = logits / each.value
            elif isinstance(each, TopK):
                logits = np.where(logits < np.sort(logits)[-each.k], -np.inf, logits)
            else:
                for token in set(text):
                    worse = logits[token] * each.penalty, logits[token] / each.penalty
                    logits[token] = worse[int(logits[token] > 0)]
        return np.exp(logits) / np.exp(logits).sum()

    first = distribution([1, 5, 2])
    joint = np.array([first[a] * distribution([1, 5, 2, a]) for a in range(6)])
    assert chi_square(counts.ravel(), joint.ravel()) > 1e-3
    uneven = joint * (1 + 0.2 * (-1.0) ** np.arange(6))  # what the test is able to see
    assert chi_square(counts.ravel(), (uneven / uneven.sum()).ravel()) < 1e-6


@pytest.mark.slow
def test_a_draft_that_is_the_target_is_always_accepted():
    pair = pair_of(size=0.0)
    for sampler in (UNPENALIZED, DRAWN):
        texts = pair.generate(prompts_of(1, 3, 6, 8), max_new_tokens=20, sampler=sampler)
        assert [text.acceptance_rate for text in texts] == [1.0] * 4
        assert [text.rounds for text in texts] == [5] * 4  # of four tokens each


@pytest.mark.slow
def test_a_sample_does_not_see_its_neighbours(pair):
    prompts, options = prompts_of(3, 14, 11, 3), {"max_new_tokens": 15, "sampler": DRAWN}
    together = pair.generate(prompts, seed=5, **options)
    neighbours = [*prompts_of(8, 9, 17, seed=1), prompts[3]]
    same = pair.generate(neighbours, seed=5, **options)[3]
    assert same.tokens.tolist() == together[3].tokens.tolist()
    assert (same.rounds, same.accepted) == (together[3].rounds, together[3].accepted)
    assert together[0].tokens.tolist() != together[3].tokens.tolist()
    twice = pair.generate([*prompts, *neighbours], seed=5, **options)
    assert [text.tokens.tolist() for text in twice[:4]] == [t.tokens.tolist() for t in together]
    assert twice[7].tokens.tolist() != same.tokens.tolist()  # another place, in a second batch
    other_seed = pair.generate(prompts, seed=6, **options)
    assert other_seed[0].tokens.tolist() != together[0].tokens.tolist()


@pytest.mark.slow
def test_a_sample_is_the_same_alone():
    prompts, options = prompts_of(3, 14, 11, 3), {"max_new_tokens": 15, "seed": 5}
    ours = (
        pair_of().generate(prompts, **options),
        pair_of(batch_size=1).generate(prompts, **options),
    )
    assert [t.tokens.tolist() for t in ours[0]] == [t.tokens.tolist() for t in ours[1]]


def test_few_programs_serve_all_lengths(pair, caplog):
    caplog.set_level(logging.WARNING, logger="jax")
    pair.generate(prompts_of(20, 1, 4, 4), max_new_tokens=8, sampler=PENALIZED)
    caplog.clear()
    with jax.log_compiles():
        for penalty, (first, new) in enumerate(itertools.product([17, 22], [4, 7]), start=1):
            sampler = Sampler((RepetitionPenalty(float(penalty)),), greedy=True)
            pair.generate(prompts_of(first, 9, 2, 1), max_new_tokens=new, sampler=sampler)
    assert not [text for text in caplog.messages if text.startswith("Compiling")]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"vocab_size": 24}, {}, "draft: got vocab_size=24, expected 120, as the target's"),
        ({"context_length": 32}, {}, "draft: got context_length=32, expected 72, as the target's"),
        ({}, {"num_proposals": 0}, "num_proposals: got 0, expected 1 or more"),
        ({}, {"batch_size": 0}, "batch_size: got 0, expected 1 or more"),
    ],
)
def test_a_draft_that_does_not_fit_is_refused(changes, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        SpeculativeGenerator(*made(), *made(**changes), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "prompts: got none, expected one or more"),
        ([np.array([1]), np.array([120])], {}, "prompt: got token 120, expected 0 to 119"),
        ([np.zeros(73, int)], {}, "prompt: got 73 tokens, expected at most 72"),
        ([np.array([1])], {"max_new_tokens": 0}, "max_new_tokens: got 0, expected 1 or more"),
        ([np.array([1])], {"seed": -1}, "seed: got -1, expected 0 or more"),
        ([np.array([1])], {"sampler": Sampler((SHORTENS,))}, "sampler: got filters"),
    ],
)
def test_bad_input_is_refused_in_one_line(pair, prompts, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        pair.generate(prompts, **options)
    assert "\n" not in str(caught.value)


def test_patterns_that_look_ahead_past_the_prompt_are_refused():
    prefix = made(attention="prefix(length=9)", num_layers=1)
    pair = SpeculativeGenerator(*prefix, *prefix)
    with pytest.raises(ValueError, match="got 7 tokens at once"):
        pair.generate(prompts_of(8), max_new_tokens=5)


@pytest.mark.slow
def test_a_prefix_language_model_writes_after_a_whole_prefix():
    prefix = made(attention="prefix(length=9)", num_layers=1)
    prompts, options = prompts_of(10, 12), {"max_new_tokens": 9, "sampler": GREEDY}
    texts = SpeculativeGenerator(*prefix, *prefix).generate(prompts, **options)
    plain = Generator(*prefix).generate(prompts, **options)
    assert [text.tokens.tolist() for text in texts] == [text.tolist() for text in plain]
