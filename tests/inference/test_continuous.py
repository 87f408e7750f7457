"""Requests that join and leave a running batch, against each of them alone."""

import threading

import jax
import numpy as np
import pytest

from gptjax.inference.beam import BeamSearch
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import Sampler, make_sampler
from gptjax.inference.scoring import Scorer
from gptjax.inference.speculative import SpeculativeGenerator
from gptjax.tokenization import load_tokenizer
from tests.inference.models import (
    CONTEXT,
    DRAWN,
    GREEDY,
    VOCAB,
    alone,
    full_logits,
    generator_of,
    log_softmax,
    made,
    prompts_of,
)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("bytes")


def requests_of(count: int, seed: int = 0):
    """(prompt, options) of mixed lengths, samplers and seeds."""
    rng = np.random.default_rng(seed)
    samplers = [make_sampler(0), DRAWN, make_sampler(1.1), None]
    for i in range(count):
        prompt = rng.integers(0, VOCAB, rng.integers(1, 30))
        options = {"max_new_tokens": int(rng.integers(1, 40)), "sampler": samplers[i % 4]}
        yield prompt, options | {"seed": int(rng.integers(9)), "sample_index": int(rng.integers(3))}


@pytest.mark.slow
@pytest.mark.parametrize(("slots", "chunk"), [(3, 5), (4, 1)])
def test_results_equal_those_of_single_runs(slots, chunk):
    """Requests of all kinds come while others run."""
    generator = generator_of(slots=slots, chunk=chunk)
    submitted = []
    for number, (prompt, options) in enumerate(requests_of(10)):
        submitted.append((generator.submit(prompt, **options), prompt, options))
        if number % 3 == 0:
            generator.step()
    for request, prompt, options in reversed(submitted):
        assert request.result().tolist() == alone(prompt, **options)
        assert request.finished == "length"


def test_a_batch_grows_and_shrinks_around_a_text():
    """Rows and room follow the texts that come and go; each is what it is alone."""
    generator = generator_of(chunk=3)
    leaves, ends, long, stays = prompts_of(3, 1, 30, 2)
    options = {"max_new_tokens": 13, "seed": 4, "sampler": DRAWN}

    def shape():
        return generator._batch._state.texts.tokens.shape

    gone = generator.submit(leaves, **options)
    generator.step()
    assert shape() == (1, 16)
    ended = generator.submit(ends, **options | {"max_new_tokens": 3})
    cut = generator.submit(long, **options | {"max_new_tokens": 40})
    left = generator.submit(stays, **options)
    generator.step()
    assert shape() == (4, CONTEXT)
    cut.cancel()
    gone.cancel()
    for _ in range(4):
        generator.step()
    assert shape() == (1, 16)
    assert (ended.finished, cut.finished, left.finished) == ("length", "cancelled", "length")
    assert left.tokens == alone(stays, **options)
    assert ended.tokens == alone(ends, **options)[:3]
    assert gone.tokens == alone(leaves, **options)[:6]
    assert cut.tokens == alone(long, **options)[:3]


def test_samplers_of_several_kinds_share_a_batch():
    generator, prompts = generator_of(), prompts_of(5, 12, 2, 1)
    kinds = GREEDY, DRAWN, GREEDY, make_sampler(0.7, top_k=9)
    requests = [
        generator.submit(prompt, max_new_tokens=20, sampler=kind, sample_index=number)
        for number, (prompt, kind) in enumerate(zip(prompts, kinds, strict=True))
    ]
    greedy = generator_of().generate(prompts, max_new_tokens=20, sampler=GREEDY)
    for number in (0, 2):
        assert requests[number].result().tolist() == greedy[number].tolist()
    for number in (1, 3):
        options = {"max_new_tokens": 20, "sampler": kinds[number], "sample_index": number}
        assert requests[number].result().tolist() == alone(prompts[number], **options)


def test_a_full_batch_goes_on_as_soon_as_one_text_ends(monkeypatch):
    generator = generator_of()
    steps = []
    plain = generator._batch.advance
    monkeypatch.setattr(
        generator._batch,
        "advance",
        lambda *arguments, **options: steps.append(options) or plain(*arguments, **options),
    )
    texts = generator.complete(prompts_of(*[1] * 5), max_new_tokens=18, sampler=DRAWN)
    assert [len(text.tokens) for text in texts] == [18] * 5
    assert [step["until_one_ends"] for step in steps] == [True, False]


def check_log_probs(request, prompt, model_and_params, tolerance) -> None:
    whole = [*prompt.tolist(), *request.tokens]
    logits = full_logits(model_and_params, whole)[prompt.size - 1 : -1, :VOCAB]
    expected = log_softmax(logits)[np.arange(len(request.tokens)), request.tokens]
    np.testing.assert_allclose(request.log_probs, expected, atol=tolerance)


def test_log_probabilities_are_those_of_the_model():
    (prompt,) = prompts_of(3)
    (request,) = generator_of().complete([prompt], max_new_tokens=20, sampler=DRAWN)
    check_log_probs(request, prompt, made(), 1e-4)


def test_best_of_takes_the_most_probable_on_average():
    generator, options = generator_of(), {"max_new_tokens": 18, "seed": 4, "sampler": DRAWN}
    samples = generator.complete([np.array([65])] * 4, **options)
    best = generator.best_of(np.array([65]), 4, **options)
    means = [np.mean(sample.log_probs) for sample in samples]
    assert best.tokens == samples[int(np.argmax(means))].tokens
    assert len({tuple(sample.tokens) for sample in samples}) == 4


def test_tokens_come_while_others_are_written():
    generator, options = generator_of(chunk=3), {"max_new_tokens": 30, "sampler": DRAWN}
    first = generator.submit(np.array([65]), **options)
    others = [generator.submit(np.array([70, 71]), **options) for _ in range(3)]
    tokens = iter(first)
    head = [next(tokens) for _ in range(4)]
    assert [len(other.tokens) for other in others] == [6, 6, 6] and len(first.tokens) == 6
    assert head + list(tokens) == alone(np.array([65]), **options)


def test_a_cancelled_text_leaves_and_changes_no_other():
    generator, options = generator_of(slots=1, chunk=4), {"sampler": DRAWN}
    gone = generator.submit(np.array([65]), max_new_tokens=30, **options)
    waiting = generator.submit(np.array([66]), max_new_tokens=30, **options)
    stays = generator.submit(np.array([67]), max_new_tokens=20, **options)
    assert len([next(iter(gone))]) == 1
    gone.cancel()
    waiting.cancel()
    assert stays.result().tolist() == alone(np.array([67]), max_new_tokens=20, **options)
    assert (gone.finished, len(gone.tokens)) == ("cancelled", 4)
    assert (waiting.finished, waiting.tokens) == ("cancelled", [])
    assert list(gone) == gone.tokens


def test_a_full_queue_refuses_and_goes_on():
    generator, options = generator_of(slots=1, max_queue=2), {"sampler": DRAWN}
    accepted = [generator.submit(np.array([65]), max_new_tokens=20, **options) for _ in range(3)]
    with pytest.raises(ValueError, match="queue: got a request beside 3 that wait"):
        generator.submit(np.array([65]))
    assert [request.result().size for request in accepted] == [20, 20, 20]
    assert generator.submit(np.array([65]), max_new_tokens=18, **options).result().size == 18


def test_a_stop_string_ends_a_text_across_tokens(tokenizer):
    """The stop string is three bytes, each a token; what is shown never holds a part of it."""
    generator = generator_of(None, tokenizer, chunk=7)
    options = {"max_new_tokens": 30, "seed": 2, "sampler": DRAWN}
    free = alone(np.array([65]), **options)
    whole = tokenizer.decode(free)
    stop = whole[15:18]
    request = generator.submit(np.array([65]), stop=("never there", stop), **options)
    beside = [generator.submit(np.array([66]), **options) for _ in range(3)]
    pieces = list(request.text())
    assert request.finished == "stop"
    assert "".join(pieces) == whole[: whole.index(stop)]
    assert len(pieces) > 1
    assert request.tokens == free[: len(request.tokens)] and len(request.tokens) < 30
    assert tokenizer.decode(request.tokens).endswith(stop)
    assert beside[0].result().tolist() == alone(np.array([66]), **options)


def test_threads_share_a_generator():
    """All four ask before any of them reads."""
    generator, barrier, got = generator_of(chunk=2), threading.Barrier(4), {}
    lengths, prompts = (20, 25, 30, 18), prompts_of(1, 2, 1, 3)
    asked = [
        (prompt, {"max_new_tokens": new, "sampler": DRAWN, "seed": new})
        for prompt, new in zip(prompts, lengths, strict=True)
    ]

    def read(number: int) -> None:
        prompt, options = asked[number]
        request = generator.submit(prompt, **options)
        barrier.wait()
        got[number] = list(request)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (prompt, options) in enumerate(asked):
        assert got[number] == alone(prompt, **options)


def test_a_filter_that_fails_is_met_before_it_joins():
    def shortened(logits, text):
        del text
        return logits[:-1]

    generator, options = generator_of(), {"max_new_tokens": 20, "sampler": DRAWN}
    neighbour = generator.submit(np.array([65]), **options)
    generator.step(2)
    with pytest.raises(
        ValueError, match=r"sampler: got filters that make float32\[119\] of logits"
    ):
        generator.submit(np.array([66]), sampler=Sampler((jax.tree_util.Partial(shortened),)))
    assert neighbour.result().tolist() == alone(np.array([65]), **options)


def test_a_batch_that_is_lost_says_so_and_the_next_one_works(monkeypatch):
    generator, options = generator_of(slots=1), {"max_new_tokens": 20, "sampler": DRAWN}
    lost = generator.submit(np.array([65]), **options)
    later = generator.submit(np.array([66]), **options)
    with monkeypatch.context() as patch:
        patch.setattr(generator._batch, "_advance", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generator.step()
    with pytest.raises(RuntimeError, match="failed"):
        lost.result()
    assert later.result().size == 20


def test_a_model_that_is_not_finite_says_so():
    """By its texts, its scores, its searches and where a draft proposes to it."""
    model, params = made()
    broken, prompt = jax.tree.map(lambda x: x * np.nan, params), np.array([65])
    text = generator_of((model, broken), slots=1).submit(prompt, max_new_tokens=20)
    told = "^model: got logits that are not finite, expected finite ones$"
    with pytest.raises(ValueError, match=told):
        text.result()
    assert (text.finished, text.tokens) == ("not_finite", [])
    with pytest.raises(ValueError, match=told):
        Scorer(model, broken).score([(prompt, prompt)])
    with pytest.raises(ValueError, match=told):
        BeamSearch(model, broken)([prompt], num_beams=2, max_new_tokens=4)
    with pytest.raises(ValueError, match=told):
        SpeculativeGenerator(model, broken, model, params).generate([prompt], max_new_tokens=4)


@pytest.mark.slow
def test_bfloat16_weights_and_cache():
    """Log-probabilities are nearly those of float32, and not the same."""
    smooth = made(init_std=0.15)
    generator = generator_of(smooth, dtype="bfloat16")
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(generator.params)}
    assert dtypes == {"bfloat16", "float32"}  # norms and biases stay
    prompt = np.array([65])
    (request,) = generator.complete([prompt], max_new_tokens=31, sampler=DRAWN)
    check_log_probs(request, prompt, smooth, 0.03)  # 8 bits of mantissa
    with pytest.raises(AssertionError):
        check_log_probs(request, prompt, smooth, 1e-4)
    assert {layer.k.dtype.name for layer in generator._batch._state.cache} == {"bfloat16"}


def test_bad_requests_are_refused(tokenizer):
    generator, silent = generator_of(None, tokenizer), generator_of()
    for options, message in [
        ({"stop": ("",)}, "expected strings of one character or more"),
        ({"stop": "ab"}, "stop: got 'ab'"),
        ({"sample_index": -1}, "sample_index: got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            generator.submit(np.array([65]), **options)
    with pytest.raises(ValueError, match=r"stop: got .* without a tokenizer"):
        silent.submit(np.array([65]), stop=("a",))
    with pytest.raises(ValueError, match="text: got a generator without a tokenizer"):
        next(silent.submit(np.array([65])).text())
    with pytest.raises(ValueError, match="slots: got 0"):
        Generator(*made(), slots=0)


def test_a_window_slides_over_a_prompt_that_leaves_no_room():
    prompt = np.arange(150) % VOCAB
    generator, options = generator_of(), {"max_new_tokens": 10, "sampler": DRAWN}
    with pytest.raises(ValueError, match="prompt: got 150 tokens, expected at most 72"):
        generator.submit(prompt)
    request = generator.submit(prompt, sliding_window=True, **options)
    assert request.result().tolist() == alone(prompt[-62:], **options)
    half = generator.submit(prompt, sliding_window=True)
    assert half.order.prompt.tolist() == prompt[-36:].tolist()
    whole = generator.submit(prompt[:20], max_new_tokens=5, sliding_window=True)
    assert whole.order.prompt.size == 20
