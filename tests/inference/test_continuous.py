"""Requests that join and leave a running batch, against each of them alone."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import ModelConfig
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import Sampler, make_sampler
from gptjax.models.gpt import GPT
from gptjax.tokenization import load_tokenizer
from tests.inference.models import made_of

CONTEXT = 96


@pytest.fixture(scope="module")
def made() -> tuple[GPT, dict]:
    """A model over bytes; one of its layers keeps a ring."""
    model = ModelConfig(
        vocab_size=256,
        context_length=CONTEXT,
        num_layers=2,
        num_heads=2,
        d_model=16,
        attention="dense,sinks(window=4,sinks=2)",
        init_std=0.3,
    )
    return made_of(model)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("bytes")


@pytest.fixture(scope="module")
def alone(made):
    """What each request gives in a batch of its own."""
    generator = Generator(*made, slots=1)
    return lambda prompt, **options: generator.submit(prompt, **options).result().tolist()


def requests_of(count: int, seed: int = 0):
    """(prompt, options) of mixed lengths, samplers and seeds."""
    rng = np.random.default_rng(seed)
    samplers = [make_sampler(0), make_sampler(0.9, top_k=20), make_sampler(1.1), None]
    for i in range(count):
        prompt = rng.integers(0, 256, rng.integers(1, 40))
        options = {"max_new_tokens": int(rng.integers(1, 50)), "sampler": samplers[i % 4]}
        yield prompt, options | {"seed": int(rng.integers(9)), "sample_index": int(rng.integers(3))}


@pytest.mark.parametrize(("slots", "chunk"), [(3, 5), (4, 1)])
def test_results_equal_those_of_single_runs(made, alone, slots, chunk):
    """Requests come while others run; the batch grows, shrinks and changes its room."""
    generator = Generator(*made, slots=slots, chunk=chunk, piece=16)
    submitted = []
    for number, (prompt, options) in enumerate(requests_of(10)):
        submitted.append((generator.submit(prompt, **options), prompt, options))
        if number % 3 == 0:
            generator.step()
    for request, prompt, options in reversed(submitted):
        assert request.result().tolist() == alone(prompt, **options)
        assert request.finished == "length"


def test_a_full_batch_goes_on_as_soon_as_one_text_ends(made, monkeypatch):
    generator = Generator(*made, slots=2)
    steps = []
    plain = generator._batch.advance
    monkeypatch.setattr(
        generator._batch,
        "advance",
        lambda *arguments, **options: steps.append(options) or plain(*arguments, **options),
    )
    texts = generator.complete([np.array([1]), np.array([2]), np.array([3])], max_new_tokens=9)
    assert [len(text.tokens) for text in texts] == [9, 9, 9]
    assert [step["until_one_ends"] for step in steps] == [True, False]


def test_log_probabilities_are_those_of_the_model(made):
    model, params = made
    (request,) = Generator(*made).complete(
        [np.array([65, 66, 67])], max_new_tokens=20, sampler=make_sampler(0.7, top_k=5)
    )
    text = jnp.asarray([[65, 66, 67, *request.tokens]])
    log_probs = jax.nn.log_softmax(model.apply({"params": params}, text)[0])
    expected = [log_probs[2 + i, token] for i, token in enumerate(request.tokens)]
    np.testing.assert_allclose(request.log_probs, expected, atol=1e-4)


def test_best_of_takes_the_most_probable_on_average(made):
    generator = Generator(*made)
    samples = generator.complete([np.array([65])] * 6, max_new_tokens=12, seed=4)
    best = generator.best_of(np.array([65]), 6, max_new_tokens=12, seed=4)
    means = [np.mean(sample.log_probs) for sample in samples]
    assert best.tokens == samples[int(np.argmax(means))].tokens
    assert len({tuple(sample.tokens) for sample in samples}) == 6


def test_tokens_come_while_others_are_written(made, alone):
    generator = Generator(*made, slots=2, chunk=3)
    first = generator.submit(np.array([65]), max_new_tokens=30)
    second = generator.submit(np.array([70, 71]), max_new_tokens=30)
    tokens = iter(first)
    head = [next(tokens) for _ in range(4)]
    assert len(second.tokens) == len(first.tokens) == 6
    assert head + list(tokens) == alone(np.array([65]), max_new_tokens=30)


def test_a_cancelled_text_leaves_and_changes_no_other(made, alone):
    generator = Generator(*made, slots=1, chunk=4)
    gone = generator.submit(np.array([65]), max_new_tokens=40)
    waiting = generator.submit(np.array([66]), max_new_tokens=40)
    stays = generator.submit(np.array([67]), max_new_tokens=10)
    assert len([next(iter(gone))]) == 1
    gone.cancel()
    waiting.cancel()
    assert stays.result().tolist() == alone(np.array([67]), max_new_tokens=10)
    assert (gone.finished, len(gone.tokens)) == ("cancelled", 4)
    assert (waiting.finished, waiting.tokens) == ("cancelled", [])
    assert list(gone) == gone.tokens


def test_a_full_queue_refuses_and_goes_on(made):
    generator = Generator(*made, slots=1, max_queue=2)
    accepted = [generator.submit(np.array([65]), max_new_tokens=3) for _ in range(3)]
    with pytest.raises(ValueError, match="queue: got a request beside 3 that wait"):
        generator.submit(np.array([65]))
    assert [request.result().size for request in accepted] == [3, 3, 3]
    assert generator.submit(np.array([65]), max_new_tokens=2).result().size == 2


def test_a_stop_string_ends_a_text_across_tokens(made, tokenizer, alone):
    """The stop string is three bytes, each a token; what is shown never holds a part of it."""
    generator = Generator(*made, tokenizer, slots=2, chunk=7)
    ascii_only = make_sampler(1.0, banned_tokens=range(128, 256), vocab_size=256)
    options = {"max_new_tokens": 60, "seed": 2, "sampler": ascii_only}
    free = alone(np.array([65]), **options)
    whole = tokenizer.decode(free)
    stop = whole[20:23]
    request = generator.submit(np.array([65]), stop=("never there", stop), **options)
    beside = generator.submit(np.array([66]), **options)
    pieces = list(request.text())
    assert request.finished == "stop"
    assert "".join(pieces) == whole[: whole.index(stop)]
    assert len(pieces) > 1
    assert request.tokens == free[: len(request.tokens)] and len(request.tokens) < 60
    assert tokenizer.decode(request.tokens).endswith(stop)
    assert beside.result().tolist() == alone(np.array([66]), **options)


def test_threads_share_a_generator(made, alone):
    generator = Generator(*made, slots=3, chunk=2)
    asked, got = list(requests_of(4, seed=5)), {}

    def read(number: int) -> None:
        prompt, options = asked[number]
        got[number] = list(generator.submit(prompt, **options))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (prompt, options) in enumerate(asked):
        assert got[number] == alone(prompt, **options)


def test_a_filter_that_fails_is_met_before_it_joins(made, alone):
    def shortened(logits, text):
        del text
        return logits[:-1]

    generator = Generator(*made, slots=2)
    neighbour = generator.submit(np.array([65]), max_new_tokens=10)
    generator.step(2)
    with pytest.raises(
        ValueError, match=r"sampler: got filters that make float32\[255\] of logits"
    ):
        generator.submit(np.array([66]), sampler=Sampler((jax.tree_util.Partial(shortened),)))
    assert neighbour.result().tolist() == alone(np.array([65]), max_new_tokens=10)


def test_a_batch_that_is_lost_says_so_and_the_next_one_works(made, monkeypatch):
    generator = Generator(*made, slots=1)
    lost = generator.submit(np.array([65]), max_new_tokens=5)
    later = generator.submit(np.array([66]), max_new_tokens=5)
    with monkeypatch.context() as patch:
        patch.setattr(generator._batch, "_advance", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generator.step()
    with pytest.raises(RuntimeError, match="failed"):
        lost.result()
    assert later.result().size == 5


def test_bfloat16_weights_and_cache(made):
    model, params = made
    generator = Generator(model, params, dtype="bfloat16")
    dtypes = {leaf.dtype.name for leaf in jax.tree.leaves(generator.params)}
    assert dtypes == {"bfloat16", "float32"}  # norms and biases stay
    exact = Generator(*made).complete([np.array([65])], max_new_tokens=8, sampler=make_sampler(0))
    close = generator.complete([np.array([65])], max_new_tokens=8, sampler=make_sampler(0))
    np.testing.assert_allclose(close[0].log_probs[0], exact[0].log_probs[0], atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop": ("",)}, "expected strings of one character or more"),
        ({"stop": "ab"}, "stop: got 'ab'"),
        ({"sample_index": -1}, "sample_index: got -1"),
    ],
)
def test_bad_requests_are_refused(made, tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        Generator(*made, tokenizer).submit(np.array([65]), **options)
    with pytest.raises(ValueError, match=r"stop: got .* without a tokenizer"):
        Generator(*made).submit(np.array([65]), stop=("a",))
    with pytest.raises(ValueError, match="text: got a generator without a tokenizer"):
        next(Generator(*made).submit(np.array([65])).text())
    with pytest.raises(ValueError, match="slots: got 0"):
        Generator(*made, slots=0)


def test_a_window_slides_over_a_prompt_that_leaves_no_room(made, alone):
    prompt = np.arange(150) % 256
    generator = Generator(*made)
    with pytest.raises(ValueError, match="prompt: got 150 tokens, expected at most 96"):
        generator.submit(prompt)
    request = generator.submit(prompt, max_new_tokens=10, sliding_window=True)
    assert request.result().tolist() == alone(prompt[-86:], max_new_tokens=10)
    half = generator.submit(prompt, sliding_window=True)
    assert half.order.prompt.tolist() == prompt[-48:].tolist()
    whole = generator.submit(prompt[:20], max_new_tokens=5, sliding_window=True)
    assert whole.order.prompt.size == 20
