"""Kept texts: the next turn of a conversation reads its own tokens only, and is the same."""

import numpy as np
import pytest

from gptjax.inference.generate import Generator
from gptjax.inference.kept_texts import KeptTexts, common
from gptjax.inference.prefill import Prefill
from gptjax.inference.sampling import make_sampler
from tests.inference.models import full_logits, made

RINGS = "banded(window=5),sinks(window=3,sinks=2)"


@pytest.fixture
def fed(monkeypatch) -> list[int]:
    """Tokens of prompts that were read, one entry a prefill."""
    counts = []
    whole = Prefill.__call__

    def counted(self, params, tokens, lengths, *args, begun=None, **options):
        counts.append(int(lengths.sum()) - (begun[1] if begun else 0))
        return whole(self, params, tokens, lengths, *args, begun=begun, **options)

    monkeypatch.setattr(Prefill, "__call__", counted)
    return counts


def _turns(generator, count, said=3, **options):
    """A conversation: each turn adds `said` tokens and an answer of four."""
    history, answers = np.arange(20, dtype=np.int32) % 7, []
    for turn in range(count):
        history = np.concatenate([history, np.full(said, turn + 8, np.int32)])
        request = generator.submit(history, max_new_tokens=4, seed=turn, **options)
        answer = request.result()
        answers.append((answer.tolist(), request.log_probs))
        history = np.concatenate([history, answer])
    return answers


@pytest.mark.parametrize("attention", ["dense", pytest.param(RINGS, marks=pytest.mark.slow)])
def test_turns_cost_their_own_tokens_and_equal_those_from_nothing(attention, fed):
    model, params = made(attention=attention, num_layers=2, context_length=64)
    sampler = make_sampler(0.9, top_k=12)
    plain = _turns(Generator(model, params, piece=8), 5, sampler=sampler)
    whole = [n for n in fed if n]
    fed.clear()
    kept = _turns(Generator(model, params, piece=8, kept_texts=1), 5, sampler=sampler)
    assert [tokens for tokens, _ in kept] == [tokens for tokens, _ in plain]
    for (_, one), (_, other) in zip(kept, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    # An answer's last token was never read, and a prompt's last one is read with the first step.
    assert whole == [22 + 7 * turn for turn in range(5)]
    assert [n for n in fed if n] == [22, 3, 3, 3, 3]


def test_another_answer_and_changed_turns_go_back_to_what_is_common(fed):
    model, params = made(num_layers=1, context_length=64)
    prompt = np.arange(30, dtype=np.int32) % 9
    changed = np.concatenate([prompt[:20], np.full(12, 11, np.int32)])
    generator = Generator(model, params, kept_texts=2)
    fresh = Generator(model, params)
    for text, seed in ((prompt, 1), (prompt, 2), (changed, 3), (prompt, 4)):
        asked = {"max_new_tokens": 5, "seed": seed}
        same = [g.submit(text, **asked).result().tolist() for g in (generator, fresh)]
        assert same[0] == same[1]
    assert [n for n in fed if n] == [29, 29, 29, 11, 31, 29]  # a retry reads nothing again


def test_other_parameters_forget_what_was_read(fed):
    model, params = made(num_layers=1, context_length=64)
    generator = Generator(model, params, kept_texts=2)
    prompt = np.arange(30, dtype=np.int32) % 9
    generator.submit(prompt, max_new_tokens=2).result()
    generator.params = params
    generator.submit(prompt, max_new_tokens=2).result()
    assert [n for n in fed if n] == [29, 29]


def test_a_copy_that_fails_fails_once(monkeypatch):
    model, params = made(num_layers=1, context_length=64)
    generator = Generator(model, params, kept_texts=2)
    prompt = np.arange(30, dtype=np.int32) % 9
    two = [generator.submit(prompt, max_new_tokens=2) for _ in range(2)]
    assert [len(each.result()) for each in two] == [2, 2]

    def failing(*args):
        raise MemoryError

    monkeypatch.setattr(generator._batch, "_row_of", failing)
    with pytest.raises(MemoryError):
        generator.submit(prompt, max_new_tokens=2).result()
    generator.submit(prompt, max_new_tokens=2).result()


def test_the_least_used_text_goes_first_and_a_continuation_replaces_its_beginning():
    kept = KeptTexts(2)
    texts = [np.full(21, i, np.int32) for i in range(3)]
    kept.keep(texts[0], ())
    kept.keep(texts[1], ())
    assert kept.longest(texts[0]) == ((), 20)
    kept.keep(texts[2], ())
    assert kept.longest(texts[1]) is None and kept.longest(texts[0]) is not None
    kept.keep(np.append(texts[0], [5, 5]), ())
    assert kept.longest(texts[2]) == ((), 20)
    assert KeptTexts(0).longest(texts[0]) is None
    assert common([1, 2, 3], [1, 2, 4, 5]) == 2 and common([1], [1, 2]) == 1


def test_alternatives_are_the_best_of_the_full_forward_pass():
    model, params = made(num_layers=1)
    generator = Generator(model, params)
    asked = generator.submit(np.array([3, 1, 4]), max_new_tokens=6, seed=1, alternatives=5)
    beside = generator.submit(np.array([2, 7]), max_new_tokens=9, seed=2)
    alone = Generator(model, params).submit(np.array([2, 7]), max_new_tokens=9, seed=2)
    assert beside.result().tolist() == alone.result().tolist() and not beside.alternatives
    tokens = np.concatenate([[3, 1, 4], asked.result()])
    logits = np.asarray(full_logits((model, params), tokens), np.float64)
    for i, (ids, log_probs) in enumerate(asked.alternatives):
        row = logits[2 + i]
        expected = row - np.log(np.exp(row).sum())
        assert ids.tolist() == np.argsort(-row, kind="stable")[:5].tolist()
        np.testing.assert_allclose(log_probs, expected[ids], atol=1e-4)
    assert len(asked.alternatives) == 6
    with pytest.raises(ValueError, match="alternatives: got 21, expected at most 20"):
        generator.submit(np.array([1]), alternatives=21)
