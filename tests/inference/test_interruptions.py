"""What an exception leaves of a running batch: no text is lost in silence, and the next runs."""

import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import ExperimentConfig, ModelConfig, resolve
from gptjax.inference.beam import BeamSearch
from gptjax.inference.generate import Generator
from gptjax.inference.requests import Request
from gptjax.inference.sampling import Sampler, make_sampler
from gptjax.inference.speculative import SpeculativeGenerator
from gptjax.models.gpt import GPT
from gptjax.models.transformer import unstacked
from gptjax.tokenization import load_tokenizer
from tests.inference.models import made_of, random_prompts

MODEL = ModelConfig(
    vocab_size=32,
    context_length=64,
    num_layers=2,
    num_heads=2,
    d_model=16,
    attention="dense,sinks(window=4,sinks=2)",
    init_std=0.3,
)
WATCHED = ("inference/batch.py", "inference/generate.py", "inference/requests.py")


@pytest.fixture(scope="module")
def made() -> tuple[GPT, dict]:
    return made_of(MODEL)


def model_of(**changes) -> GPT:
    return GPT(resolve(ExperimentConfig(model=dataclasses.replace(MODEL, **changes))).model)


@pytest.fixture(scope="module")
def alone(made):
    generator = Generator(*made, slots=1)
    return lambda prompt, **options: generator.submit(prompt, **options).result().tolist()


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


def test_whichever_line_an_interrupt_meets_every_text_ends(made, alone):
    """Texts join a batch that grows, and shrinks; each is written whole, or says that it failed."""
    generator = Generator(*made, slots=8, piece=8)
    prompts, lengths = random_prompts(32, 3, 20, 1, 5, 9, 2), (30, 9, 12, 5, 7, 6)
    whole = [alone(prompt, max_new_tokens=n) for prompt, n in zip(prompts, lengths, strict=True)]
    outcomes, line, done = set(), 1, False
    while not done:
        requests: list[Request] = []
        with Interruption(line) as interruption:
            try:
                for prompt, count in zip(prompts, lengths, strict=True):
                    requests.append(generator.submit(prompt, max_new_tokens=count))
                    if len(requests) in (2, 3):
                        generator.step(3)
                while requests[0].writing:
                    generator.step(40)
            except KeyboardInterrupt:
                pass
        done = interruption.left > 0
        for _ in range(20):
            generator.step(40)
        for request, expected in zip(requests, whole, strict=False):
            assert request.finished in ("length", "failed"), (line, request.finished)
            assert request.finished == "failed" or request.tokens == expected, line
        outcomes |= {request.finished for request in requests}
        line += 13  # each one takes a minute
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
def test_what_fails_on_the_device_takes_along_what_it_had(
    made, alone, monkeypatch, part, neighbour
):
    """A text that joins fails; a neighbour does only where the batch's buffers were donated."""
    generator = Generator(*made, slots=4)
    running = generator.submit(np.array([1]), max_new_tokens=20)
    generator.step(2)
    joining = generator.submit(np.array([2]), max_new_tokens=20)
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
        assert running.result().tolist() == alone(np.array([1]), max_new_tokens=20)
    again = generator.submit(np.array([2]), max_new_tokens=20)
    assert again.result().tolist() == alone(np.array([2]), max_new_tokens=20)


def test_a_filter_that_fails_while_it_runs(made, alone):
    def refuse(length: np.ndarray) -> np.ndarray:
        if length > 4:
            raise ValueError("too long")
        return np.zeros_like(length)

    def fragile(logits, text):
        zero = jax.pure_callback(refuse, text.length, text.length, vmap_method="sequential")
        return logits + zero.astype(jnp.float32)

    generator = Generator(*made, slots=2)
    beside = generator.submit(np.array([1]), max_new_tokens=20)
    sampler = Sampler((jax.tree_util.Partial(fragile),))
    with pytest.raises(Exception, match="too long"):
        generator.complete([np.array([2])], max_new_tokens=20, sampler=sampler)
    with pytest.raises(RuntimeError, match="its batch failed"):
        beside.result()
    again = generator.submit(np.array([1]), max_new_tokens=20)
    assert again.result().tolist() == alone(np.array([1]), max_new_tokens=20)


def test_a_call_that_is_interrupted_leaves_nothing_in_the_queue(made, monkeypatch):
    generator = Generator(*made, slots=1, max_queue=4)
    prompts = random_prompts(32, *[2] * 5)
    with monkeypatch.context() as patch:
        patch.setattr(generator._batch, "_deliver", lambda _: signal())
        for call in (generator.complete, lambda *a, **o: list(generator.stream(*a, **o))):
            with pytest.raises(KeyboardInterrupt):
                call(prompts, max_new_tokens=6)
    assert [text.size for text in generator.generate(prompts, max_new_tokens=6)] == [6] * 5


def signal():
    raise KeyboardInterrupt


def test_a_stream_that_is_left_leaves_the_batch(made):
    generator = Generator(*made, slots=1, max_queue=0, chunk=2)
    stream = generator.stream(random_prompts(32, 2), max_new_tokens=30)
    assert [tokens.size for tokens in next(stream)] == [2]
    del stream
    assert generator.submit(np.array([1]), max_new_tokens=3).result().size == 3


def test_a_stream_that_others_take_further_yields_all_and_fails_aloud(made, alone, monkeypatch):
    generator = Generator(*made, slots=2, chunk=2)
    (prompt,) = random_prompts(32, 2)
    stream = generator.stream([prompt], max_new_tokens=9)
    head = next(stream)[0].tolist()
    generator.step(40)  # another thread's
    assert head + next(stream)[0].tolist() == alone(prompt, max_new_tokens=9)
    assert list(stream) == []
    lost = generator.stream([prompt], max_new_tokens=9)
    next(lost)
    with monkeypatch.context() as patch:
        patch.setattr(generator._batch, "_advance", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            generator.step()
    with pytest.raises(RuntimeError, match="its batch failed"):
        list(lost)


def test_a_step_of_nothing_does_nothing(made):
    generator = Generator(*made)
    generator.step()
    assert generator.generate([np.array([1])], max_new_tokens=2)[0].size == 2
    generator.step()


def test_what_has_ended_stays_as_it_ended(made):
    request = Generator(*made).submit(np.array([1]), max_new_tokens=5)
    request.cancel()
    request.finish("failed")
    request.add(np.array([3]), np.zeros(1))
    assert (request.finished, list(request)) == ("cancelled", [])


NUMBER = {"slots": 0, "chunk": 0, "piece": 0, "max_queue": -1}


@pytest.mark.parametrize(("name", "value"), NUMBER.items())
def test_numbers_that_would_never_end_are_refused(made, name, value):
    with pytest.raises(ValueError, match=f"^{name}: got {value}, expected {value + 1} or more$"):
        Generator(*made, **{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 2.5}, "max_new_tokens: got 2.5, expected an integer of 1 or more"),
        ({"seed": 0.5}, "seed: got 0.5, expected an integer"),
        ({"seed": 2**31}, "seed: got 2147483648, expected less than"),
        ({"stop_token": 32}, "stop_token: got 32, expected 0 to 31"),
        ({"stop_token": 2.5}, "stop_token: got 2.5, expected 0 to 31"),
    ],
)
def test_options_that_fit_no_text_are_refused(made, options, message):
    generator = Generator(*made)
    with pytest.raises(ValueError, match=message):
        generator.submit(np.array([1]), **options)
    assert generator.generate([np.array([1])], max_new_tokens=np.int64(2))[0].size == 2


def test_stop_tokens_of_searches_are_tokens(made):
    searches = BeamSearch(*made), SpeculativeGenerator(*made, *made).generate
    for search in searches:
        with pytest.raises(ValueError, match="stop_token: got -3, expected 0 to 31"):
            search([np.array([1])], stop_token=-3)


def test_what_another_model_has_is_refused(made):
    model, params = made
    others = {
        r"trunk/layers/attention/key/bias of \(2, 2, 8\), expected \(2, 4, 4\)": {"num_heads": 4},
        r"trunk/layers/attention/key/bias of \(2, .*, expected \(3, 2, 8\)": {"num_layers": 3},
        "head/kernel of none": {"tied_embeddings": False},
    }
    for name, changes in others.items():
        other = model_of(**changes)
        for make in (Generator, BeamSearch, functools.partial(SpeculativeGenerator, model, params)):
            with pytest.raises(ValueError, match=f"^params: got {name}.*, as the model's$"):
                make(other, params)
    with pytest.raises(ValueError, match="params: got 2 layers, expected 1"):
        Generator(model_of(num_layers=1), unstacked(params)).generate([np.array([1])])
    with pytest.raises(ValueError, match="dtype: got 'int8', expected float32 or bfloat16"):
        Generator(model, params, dtype="int8")
    with pytest.raises(ValueError, match="got 256 tokens, expected no fewer than the model's 300"):
        Generator(model_of(vocab_size=300), params, load_tokenizer("bytes"))


def test_samplers_that_leave_nothing_to_draw_are_refused():
    with pytest.raises(ValueError, match="logit_bias: got nan for token 2, expected a number"):
        make_sampler(logit_bias={2: np.nan}, vocab_size=4)
    with pytest.raises(ValueError, match="banned_tokens: got all tokens"):
        make_sampler(banned_tokens=[0, 1, 2, 3, 1], vocab_size=4)
    with pytest.raises(ValueError, match=r"temperature: got 1e-40, expected 0 \(greedy\) or 1e-30"):
        make_sampler(1e-40)
    make_sampler(1e-30, logit_bias={2: -np.inf}, vocab_size=4)
