"""What an exception leaves of a running batch: no text is lost in silence, and the next runs."""

import contextlib
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.inference.beam import BeamSearch
from gptjax.inference.generate import Generator
from gptjax.inference.requests import Request
from gptjax.inference.sampling import Sampler, make_sampler
from gptjax.inference.scoring import Scorer
from gptjax.inference.speculative import SpeculativeGenerator
from gptjax.models.transformer import unstacked
from gptjax.tokenization import load_tokenizer
from tests.inference.models import DRAWN, alone, generator_of, made, model_of, prompts_of

WATCHED = ("inference/batch.py", "inference/generate.py", "inference/requests.py")
OPTIONS = {"max_new_tokens": 20, "sampler": DRAWN}


class Interruption:
    """Raises KeyboardInterrupt in front of the n-th line of the engine that runs."""

    def __init__(self, line: int):
        self.left = line

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _trace(self, frame, event, _):
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self._trace


@pytest.mark.parametrize("every", [61, pytest.param(1, marks=pytest.mark.slow)])
def test_whichever_line_an_interrupt_meets_every_text_ends(every):
    """Texts join a batch that grows, and shrinks; each is written whole, or says that it failed."""
    generator = generator_of()
    prompts, lengths = prompts_of(3, 1, 5, 9, 2), (29, 17, 12, 20, 18)
    options = {"sampler": DRAWN}
    whole = [
        alone(prompt, max_new_tokens=new, **options)
        for prompt, new in zip(prompts, lengths, strict=True)
    ]

    def run() -> list[Request]:
        """Requests so far are in the list, where an interrupt ends it too."""
        requests.clear()
        for prompt, new in zip(prompts, lengths, strict=True):
            requests.append(generator.submit(prompt, max_new_tokens=new, **options))
            if len(requests) in (1, 4):
                generator.step(3)
        while requests[0].writing or requests[-1].writing:
            generator.step(40)
        return requests

    requests: list[Request] = []
    assert [request.tokens for request in run()] == whole  # all programs are there after this
    outcomes, line, done = set(), 1, False
    while not done:
        with contextlib.suppress(KeyboardInterrupt), Interruption(line) as interruption:
            run()
        done = interruption.left > 0
        generator.step(40)  # one that was asked for and not returned is written, too
        while any(request.writing for request in requests):
            generator.step(40)
        for request, expected in zip(requests, whole, strict=False):
            assert request.finished in ("length", "failed"), (line, request.finished)
            assert request.finished == "failed" or request.tokens == expected, line
        outcomes |= {request.finished for request in requests}
        line += every
    assert outcomes == {"length", "failed"} and line > 300


@pytest.mark.parametrize(
    ("part", "neighbour"),
    [
        ("_prefill", "length"),
        ("_arranged", "length"),
        ("_insert", "failed"),
        ("_advance", "failed"),
    ],
)
def test_what_fails_on_the_device_takes_along_what_it_had(monkeypatch, part, neighbour):
    """A text that joins fails; a neighbour does only where the batch's buffers were donated."""
    generator = generator_of()
    running = generator.submit(np.array([1]), **OPTIONS)
    generator.step(2)
    joining, *_ = [generator.submit(np.array([2]), **OPTIONS) for _ in range(3)]
    plain = getattr(generator._batch, part)

    def failing(*arguments, **options):
        plain(*arguments, **options)
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(generator._batch, part, failing)
        with pytest.raises(MemoryError):
            generator.step(1)
    with pytest.raises(RuntimeError, match="its batch failed"):
        joining.result()
    if neighbour == "failed":
        with pytest.raises(RuntimeError, match="its batch failed"):
            list(running)
    else:
        assert running.result().tolist() == alone(np.array([1]), **OPTIONS)
    again = generator.submit(np.array([2]), **OPTIONS)
    assert again.result().tolist() == alone(np.array([2]), **OPTIONS)


def test_a_filter_that_fails_while_it_runs():
    def refuse(length: np.ndarray) -> np.ndarray:
        if length > 4:
            raise ValueError("too long")
        return np.zeros_like(length)

    def fragile(logits, text):
        zero = jax.pure_callback(refuse, text.length, text.length, vmap_method="sequential")
        return logits + zero.astype(jnp.float32)

    generator = generator_of(slots=2)
    beside = generator.submit(np.array([1]), **OPTIONS)
    sampler = Sampler((jax.tree_util.Partial(fragile),))
    with pytest.raises(Exception, match="too long"):
        generator.complete([np.array([2])], max_new_tokens=20, sampler=sampler)
    with pytest.raises(RuntimeError, match="its batch failed"):
        beside.result()
    again = generator.submit(np.array([1]), **OPTIONS)
    assert again.result().tolist() == alone(np.array([1]), **OPTIONS)


def test_a_call_that_is_interrupted_leaves_nothing_in_the_queue(monkeypatch):
    generator = generator_of(slots=1, max_queue=4)
    prompts = prompts_of(*[2] * 5)
    with monkeypatch.context() as patch:
        patch.setattr(generator._batch, "_deliver", lambda _: signal())
        for call in (generator.complete, lambda *a, **o: list(generator.stream(*a, **o))):
            with pytest.raises(KeyboardInterrupt):
                call(prompts, **OPTIONS)
    assert [text.size for text in generator.generate(prompts, **OPTIONS)] == [20] * 5


def signal():
    raise KeyboardInterrupt


def test_a_stream_that_is_left_leaves_the_batch():
    generator = generator_of(slots=1, max_queue=0, chunk=2)
    stream = generator.stream(prompts_of(2), max_new_tokens=30, sampler=DRAWN)
    assert [tokens.size for tokens in next(stream)] == [2]
    del stream
    assert generator.submit(np.array([1]), **OPTIONS).result().size == 20


def test_a_stream_that_others_take_further_yields_all_and_fails_aloud(monkeypatch):
    generator = generator_of(chunk=2)
    (prompt,) = prompts_of(2)
    stream = generator.stream([prompt], **OPTIONS)
    head = next(stream)[0].tolist()
    generator.step(40)  # another thread's
    assert head + next(stream)[0].tolist() == alone(prompt, **OPTIONS)
    assert list(stream) == []
    lost = generator.stream([prompt], **OPTIONS)
    next(lost)
    with monkeypatch.context() as patch:
        patch.setattr(generator._batch, "_advance", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generator.step()
    with pytest.raises(RuntimeError, match="its batch failed"):
        list(lost)


def test_a_step_of_nothing_does_nothing():
    generator = generator_of()
    generator.step()
    assert generator.generate([np.array([1])], **OPTIONS)[0].size == 20
    generator.step()


def test_what_has_ended_stays_as_it_ended():
    request = generator_of().submit(np.array([1]), max_new_tokens=5)
    request.cancel()
    request.finish("failed")
    request.add(np.array([3]), np.zeros(1))
    assert (request.finished, list(request)) == ("cancelled", [])


NUMBER = {"slots": 0, "chunk": 0, "piece": 0, "max_queue": -1}


@pytest.mark.parametrize(("name", "value"), NUMBER.items())
def test_numbers_that_would_never_end_are_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name}: got {value}, expected {value + 1} or more$"):
        Generator(*made(), **{name: value})


def test_options_that_fit_no_text_are_refused():
    generator = generator_of()
    for options, message in [
        ({"max_new_tokens": 2.5}, "max_new_tokens: got 2.5, expected an integer of 1 or more"),
        ({"seed": 0.5}, "seed: got 0.5, expected an integer"),
        ({"seed": 2**31}, "seed: got 2147483648, expected less than"),
        ({"stop_token": 120}, "stop_token: got 120, expected 0 to 119"),
        ({"stop_token": 2.5}, "stop_token: got 2.5, expected 0 to 119"),
    ]:
        with pytest.raises(ValueError, match=message):
            generator.submit(np.array([1]), **options)
    texts = generator.generate([np.array([1])], max_new_tokens=np.int64(20), sampler=DRAWN)
    assert texts[0].size == 20


def test_a_search_that_nobody_wants_any_more_ends_within_a_stretch():
    asked, search = [], BeamSearch(*made())

    def unwanted():
        asked.append(None)
        return len(asked) == 3

    whole, cut = (
        search([np.array([1])], num_beams=1, max_new_tokens=38, **options)[0][0].tokens
        for options in ({}, {"unwanted": unwanted})
    )
    assert (len(whole), len(cut), len(asked)) == (38, 0, 3)


def test_stop_tokens_of_searches_are_tokens():
    searches = BeamSearch(*made()), SpeculativeGenerator(*made(), *made()).generate
    for search in searches:
        with pytest.raises(ValueError, match="stop_token: got -3, expected 0 to 119"):
            search([np.array([1])], stop_token=-3)


def test_what_another_model_has_is_refused():
    model, params = made()
    others = {
        r"trunk/layers/attention/key/bias of \(2, 2, 4\), expected \(2, 4, 4\)": {
            "num_kv_heads": 4
        },
        r"trunk/layers/attention/key/bias of \(2, .*, expected \(3, 2, 4\)": {"num_layers": 3},
        "head/kernel of none": {"tied_embeddings": False},
    }
    for name, changes in others.items():
        other = model_of(**changes)
        for make in (
            Generator,
            Scorer,
            BeamSearch,
            functools.partial(SpeculativeGenerator, model, params),
        ):
            with pytest.raises(ValueError, match=f"^params: got {name}.*, as the model's$"):
                make(other, params)
    with pytest.raises(ValueError, match="params: got 2 layers, expected 1"):
        Generator(model_of(num_layers=1), unstacked(params)).generate([np.array([1])])
    with pytest.raises(ValueError, match="dtype: got 'int8', expected float32 or bfloat16"):
        Generator(model, params, dtype="int8")
    with pytest.raises(ValueError, match="got 256 tokens, expected no fewer than the model's 300"):
        Generator(model_of(vocab_size=300), params, load_tokenizer("bytes"))


def test_samplers_that_leave_nothing_to_draw_are_refused():
    for message, options in {
        "logit_bias: got nan for token 2, expected -1e30 to 1e30": {"logit_bias": {2: np.nan}},
        "logit_bias: got -1e.39 for token 2, expected -1e30": {"logit_bias": {2: -1e39}},
        "banned_tokens: got all tokens, expected": {"banned_tokens": [0, 1, 2, 3, 1]},
        "banned_tokens: got all tokens, exp": {"logit_bias": dict.fromkeys(range(4), -np.inf)},
        "banned_tokens: got all tokens but the stop token, which min_new_tokens bans, expected": {
            "banned_tokens": [0, 1],
            "logit_bias": {3: -np.inf},
            "min_new_tokens": 1,
            "stop_token": 2,
        },
        "presence_penalty: got 1e.39, expected -1e30 to 1e30": {"presence_penalty": 1e39},
        "frequency_penalty: got -inf, expected": {"frequency_penalty": -np.inf},
        "repetition_penalty: got 1e-40, expected 1e-30": {"repetition_penalty": 1e-40},
        r"temperature: got 1e-40, expected 0 \(greedy\) or 1e-30": {"temperature": 1e-40},
        "temperature: got 1e.39, expected 0": {"temperature": 1e39},
    }.items():
        with pytest.raises(ValueError, match=message):
            make_sampler(**options, vocab_size=4)
    make_sampler(1e-30, logit_bias={2: -np.inf}, vocab_size=4)
