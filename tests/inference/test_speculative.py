"""Speculative sampling against the target alone: equal greedy texts, equal distributions."""

import functools
import itertools
import logging

import jax
import numpy as np
import pytest

from gptjax.config import ModelConfig
from gptjax.inference.decoding import decoding_params
from gptjax.inference.filters import RepetitionPenalty, Temperature, TopK
from gptjax.inference.generate import Generator
from gptjax.inference.prefill import Prefill
from gptjax.inference.sampling import Sampler, make_sampler
from gptjax.inference.speculative import SpeculativeGenerator
from gptjax.models.gpt import GPT
from tests.inference.models import made_of, random_prompts

VOCAB, CONTEXT = 23, 48
prompts_of = functools.partial(random_prompts, VOCAB)
GREEDY = make_sampler(temperature=0)
SHORTENS = jax.tree_util.Partial(lambda logits, text: logits[:3])


def make(seed: int = 0, **changes) -> tuple[GPT, dict]:
    model = ModelConfig(
        vocab_size=VOCAB,
        vocab_multiple=8,
        context_length=CONTEXT,
        num_layers=2,
        num_heads=2,
        d_model=16,
        attention="dense,banded(window=5)",
        init_std=0.3,
    )
    return made_of(model, seed, **changes)


def weakened(params: dict, size: float) -> dict:
    """Parameters near to `params`: those of a draft that is right now and then."""
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(0)
    noisy = [leaf + size * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, noisy)


@pytest.fixture(scope="module")
def target() -> tuple[GPT, dict]:
    return make()


@pytest.fixture(scope="module")
def pair(target) -> SpeculativeGenerator:
    """A draft that agrees with its target now and then; both keep rings."""
    model, params = target
    return SpeculativeGenerator(model, params, model, weakened(params, 0.05), piece=8)


@pytest.mark.parametrize("kind", ["near", "far"])
def test_greedy_texts_equal_plain_ones(target, kind):
    model, params = target
    if kind == "near":
        draft, num_proposals = (model, weakened(params, 0.1)), 4
    else:
        changes = {"num_layers": 1, "attention": "banded(window=3)", "positions": "rotary"}
        draft, num_proposals = make(seed=1, **changes), 1
    prompts = prompts_of(1, 5, 19, CONTEXT)
    plain = Generator(model, params).generate(prompts, sampler=GREEDY)
    pair = SpeculativeGenerator(model, params, *draft, num_proposals=num_proposals, piece=8)
    texts = pair.generate(prompts, sampler=GREEDY)
    assert [text.tokens.tolist() for text in texts] == [text.tolist() for text in plain]
    assert texts[-1].tokens.size == texts[-1].rounds == 0
    rates = [text.acceptance_rate for text in texts[:-1]]
    assert min(rates) < 1 and max(rates) > 0


def test_greedy_texts_under_filters_and_with_a_stop_token_equal_plain_ones(target, pair):
    prompts = prompts_of(3, 8, 11, 2)
    sampler = Sampler((RepetitionPenalty(1.8),), greedy=True)
    free = [text.tokens for text in pair.generate(prompts, max_new_tokens=25, sampler=sampler)]
    for stop in (free[0][3], free[1][7], free[2][-1]):
        options = {"max_new_tokens": 25, "sampler": sampler, "stop_token": int(stop)}
        plain = Generator(*target).generate(prompts, **options)
        texts = pair.generate(prompts, **options)
        assert [text.tokens.tolist() for text in texts] == [text.tolist() for text in plain]
        assert min(text.size for text in plain) < 25


def test_rounds_tell_how_a_greedy_text_came_about(target):
    """By hand: each round gives what was kept and one token, until the text is full."""
    model, params = target
    draft_params = weakened(params, 0.1)
    pair = SpeculativeGenerator(model, params, model, draft_params, num_proposals=3)
    (prompt,) = prompts_of(4)
    (text,) = pair.generate([prompt], max_new_tokens=20, sampler=GREEDY)

    whole = [*prompt.tolist(), *text.tokens.tolist()]
    forward = jax.jit(lambda params: model.apply({"params": params}, np.array([whole])))
    best = forward(draft_params)[0].argmax(-1)
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


def test_caches_hold_what_was_kept_alone(target, monkeypatch):
    """In rings too: each position that later tokens may see, as if the text had been read."""
    model, params = target
    pair = SpeculativeGenerator(model, params, *make(seed=1), num_proposals=6, piece=8)
    states, write = [], pair._write
    monkeypatch.setattr(pair, "_write", lambda *call: states.append(write(*call)) or states[0])
    texts = pair.generate(prompts_of(3, 9), max_new_tokens=22, sampler=GREEDY)
    assert all(text.accepted < text.judged for text in texts)
    (state,) = states
    tokens, lengths = np.asarray(state.texts.tokens), np.asarray(state.texts.length)
    read = Prefill(model, piece=8)(decoding_params(params, "float32"), tokens, lengths - 1)
    assert [layer.positions.shape[1] for layer in state.cache] == [32, 12]
    for got, expected, near in zip(state.cache, read, (CONTEXT, 5), strict=True):
        for row, length in enumerate(lengths):
            places = np.arange(max(0, length - near), length - 1)
            held = np.asarray(got.positions[row])
            assert held.max() == length - 2 and set(places) <= set(held)
            slots = [int(np.flatnonzero(held == at)[0]) for at in places]
            other = [int(np.flatnonzero(expected.positions[row] == at)[0]) for at in places]
            np.testing.assert_allclose(got.k[row][:, slots], expected.k[row][:, other], atol=1e-5)
            np.testing.assert_allclose(got.v[row][:, slots], expected.v[row][:, other], atol=1e-5)
    for layer in state.draft_cache:
        assert np.all(np.asarray(layer.positions).max(1) <= lengths - 2)


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    """The probability of counts as far from `probabilities` as these."""
    assert not counts[probabilities == 0].any()
    there = probabilities > 0
    expected = counts.sum() * probabilities[there]
    statistic = ((counts[there] - expected) ** 2 / expected).sum()
    return float(jax.scipy.special.gammaincc((there.sum() - 1) / 2.0, statistic / 2.0))


@pytest.mark.parametrize(
    ("num_proposals", "filters"),
    [(1, ()), (3, (Temperature(0.7), TopK(4))), (2, (RepetitionPenalty(3.0),))],
)
def test_texts_are_distributed_as_the_targets_own(num_proposals, filters):
    """Two tokens together, 8,192 times, after a prompt, against products of exact probabilities."""
    model, params = make(vocab_size=6, vocab_multiple=1)
    draft = make(seed=3, vocab_size=6, vocab_multiple=1, num_layers=1)
    pair = SpeculativeGenerator(model, params, *draft, num_proposals=num_proposals, batch_size=8192)
    prompt, sampler = np.array([1, 5, 2]), Sampler(filters)
    texts = pair.generate([prompt] * 8192, max_new_tokens=2, sampler=sampler, seed=7)
    counts = np.zeros((6, 6))
    for text in texts:
        counts[tuple(text.tokens)] += 1
    assert 0.2 < sum(text.accepted for text in texts) / sum(text.judged for text in texts) < 0.9

    forward = jax.jit(lambda tokens: model.apply({"params": params}, tokens))

    def distribution(text):
        """Softmax of filtered logits, the filters written out again."""
        padded = np.array([[*text, 0, 0]])[:, :4]
        logits = np.asarray(forward(padded)[0, len(text) - 1], np.float64)
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


def test_a_draft_that_is_the_target_is_always_accepted(target):
    pair = SpeculativeGenerator(*target, *target, num_proposals=3, piece=8)
    for sampler in (GREEDY, make_sampler(0.7, top_k=5)):
        texts = pair.generate(prompts_of(1, 3, 6), max_new_tokens=24, sampler=sampler)
        assert [text.acceptance_rate for text in texts] == [1.0] * 3
        assert [text.rounds for text in texts] == [6] * 3  # of four tokens each


def test_a_sample_does_not_see_its_neighbours(target, pair):
    prompts = prompts_of(3, 14, 11, 3)
    options = {"max_new_tokens": 15, "seed": 5}
    together = pair.generate(prompts, **options)
    neighbours = [*prompts_of(8, 9, 17, seed=1), prompts[3]]
    same = pair.generate(neighbours, **options)[3]
    assert same.tokens.tolist() == together[3].tokens.tolist()
    assert (same.rounds, same.accepted) == (together[3].rounds, together[3].accepted)
    assert together[0].tokens.tolist() != together[3].tokens.tolist()
    model, params = target
    alone = SpeculativeGenerator(
        model, params, model, weakened(params, 0.05), batch_size=1, piece=8
    )
    for one, other in zip(alone.generate(prompts, **options), together, strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
    other_seed = pair.generate(prompts, max_new_tokens=15, seed=6)
    assert other_seed[0].tokens.tolist() != together[0].tokens.tolist()


def test_few_programs_serve_all_lengths(target, caplog):
    pair = SpeculativeGenerator(*target, *target)
    caplog.set_level(logging.WARNING, logger="jax")
    pair.generate(prompts_of(3, 4), max_new_tokens=3, sampler=make_sampler(0.5))
    caplog.clear()
    with jax.log_compiles():
        for lengths, new in itertools.product([(9, 1), (2, 2)], [4, 7]):
            pair.generate(prompts_of(*lengths), max_new_tokens=new, sampler=make_sampler(0.8))
    assert not [text for text in caplog.messages if text.startswith("Compiling")]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"vocab_size": 24}, {}, "draft: got vocab_size=24, expected 23, as the target's"),
        ({"context_length": 32}, {}, "draft: got context_length=32, expected 48, as the target's"),
        ({}, {"num_proposals": 0}, "num_proposals: got 0, expected 1 or more"),
        ({}, {"batch_size": 0}, "batch_size: got 0, expected 1 or more"),
    ],
)
def test_a_draft_that_does_not_fit_is_refused(target, changes, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        SpeculativeGenerator(*target, *make(**changes), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "prompts: got none, expected one or more"),
        ([np.array([1]), np.array([23])], {}, "prompt: got token 23, expected 0 to 22"),
        ([np.zeros(49, int)], {}, "prompt: got 49 tokens, expected at most 48"),
        ([np.array([1])], {"max_new_tokens": 0}, "max_new_tokens: got 0, expected 1 or more"),
        ([np.array([1])], {"seed": -1}, "seed: got -1, expected 0 or more"),
        ([np.array([1])], {"sampler": Sampler((SHORTENS,))}, "sampler: got filters"),
    ],
)
def test_bad_input_is_refused_in_one_line(pair, prompts, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        pair.generate(prompts, **options)
    assert "\n" not in str(caught.value)


def test_patterns_that_look_ahead_past_the_prompt_are_refused(target):
    prefix = make(attention="prefix(length=9)")
    pair = SpeculativeGenerator(*prefix, *prefix)
    with pytest.raises(ValueError, match="got 7 tokens at once"):
        pair.generate(prompts_of(8), max_new_tokens=5)
    prompts = prompts_of(10, 12)
    texts = pair.generate(prompts, max_new_tokens=9, sampler=GREEDY)
    plain = Generator(*prefix).generate(prompts, max_new_tokens=9, sampler=GREEDY)
    assert [text.tokens.tolist() for text in texts] == [text.tolist() for text in plain]
