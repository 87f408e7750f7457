"""The engine's thread: who joins, who leaves, who fails, and that no one waits for a reader."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gptjax.inference.requests import QueueFull
from tests.support.chat_models import chat_model

pytest.importorskip("starlette", reason="needs the extra serve")
from gptjax.serving.engine import Engine

PROMPT = np.arange(1, 9, dtype=np.int32)


@pytest.fixture(scope="module")
def model():
    return chat_model(slots=2, max_queue=1)


@pytest.fixture
def engine(model):
    ended = []
    engine = Engine(model.generator, ended.append)
    engine.ended_jobs = ended
    engine.start()
    yield engine
    engine.stop()


def held(engine, monkeypatch) -> threading.Event:
    """An event until which the batch takes no step."""
    go, step = threading.Event(), engine._generator.step

    def waiting(steps):
        go.wait()
        step(steps)

    monkeypatch.setattr(engine._generator, "step", waiting)
    return go


def test_readers_in_threads_and_in_a_loop_see_the_same_text(engine, model):
    async def read():
        job = await asyncio.to_thread(engine.submit, PROMPT, max_new_tokens=9, seed=1)
        return "".join([piece async for piece in job.pieces()])

    job = engine.submit(PROMPT, max_new_tokens=9, seed=1)
    assert asyncio.run(read()) == "".join(job.text())
    engine.stop()  # a reader may have the last text before the engine's thread says so
    assert job.finished == "length" and job.first > job.submitted
    assert {len(each.tokens) for each in engine.ended_jobs} == {9}


def test_a_reader_that_does_not_read_holds_nobody_up(engine):
    unread = engine.submit(PROMPT, max_new_tokens=20, seed=1)
    read = engine.submit(PROMPT, max_new_tokens=20, seed=2)
    assert len("".join(read.text()).encode()) > 0 and read.finished == "length"
    assert unread.finished in (None, "length")
    assert len("".join(unread.text())) > 0 and len(unread.tokens) == 20


def test_asking_waits_for_no_step(engine, model, monkeypatch):
    """A text that is asked for during a step is in the next one, and told of its tokens then."""
    stepping, go, step = threading.Event(), threading.Event(), engine._generator._batch.advance

    def held_step(*arguments, **options):
        stepping.set()
        go.wait()
        step(*arguments, **options)

    monkeypatch.setattr(engine._generator._batch, "advance", held_step)
    first = engine.submit(PROMPT, max_new_tokens=3, seed=1)
    stepping.wait()
    second = engine.submit(PROMPT, max_new_tokens=3, seed=2)
    assert (first.tokens, second.tokens, engine.running) == ([], [], 2)
    go.set()
    for job in (first, second):
        list(job.text())
        assert (job.finished, len(job.tokens)) == ("length", 3)


def refused(order) -> bool:
    return order.done() and order.exception() is not None


def together(engine, go, count, **options):
    """Outcomes of so many orders, all of which are there before the batch takes a second step."""
    with ThreadPoolExecutor(count) as pool:
        orders = [pool.submit(engine.submit, PROMPT, seed=i, **options) for i in range(count)]
        while engine.running + sum(refused(order) for order in orders) < count:
            time.sleep(0.001)
        go.set()
    return [order.exception() or order.result() for order in orders]


def test_a_cancelled_text_gives_its_place_to_the_next(engine, monkeypatch):
    """Both places are taken, and a third text waits, until the first one has gone."""
    gone, step = threading.Event(), engine._generator.step
    monkeypatch.setattr(engine._generator, "step", lambda count: (step(1), gone.wait()))
    first = engine.submit(PROMPT, max_new_tokens=60)
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(engine.submit, PROMPT, max_new_tokens=9, seed=i) for i in (1, 2)]
        while engine.running < 3:
            time.sleep(0.001)
        first.cancel()
        gone.set()
    for order in others:
        list(order.result().text())
        assert order.result().finished == "length"
    assert first.finished == "cancelled" and len(first.tokens) <= 1


def test_a_full_queue_refuses_and_takes_again(engine, monkeypatch):
    go = held(engine, monkeypatch)
    outcomes = together(engine, go, 9, max_new_tokens=4)
    full = [each for each in outcomes if isinstance(each, QueueFull)]
    jobs = [each for each in outcomes if not isinstance(each, Exception)]
    assert len(full) == 6 and len(jobs) == 3  # two places and one that waits
    for job in jobs:
        list(job.text())
    again = engine.submit(PROMPT, max_new_tokens=4)
    list(again.text())
    assert again.finished == "length"


def test_a_batch_that_fails_says_so_and_the_next_one_runs(engine, model, monkeypatch):
    batch = model.generator._batch
    advance, failures = batch._advance, iter([RuntimeError("out of memory")])

    def failing(*arguments):
        for error in failures:
            raise error
        return advance(*arguments)

    monkeypatch.setattr(batch, "_advance", failing)
    lost = engine.submit(PROMPT, max_new_tokens=4)
    with pytest.raises(RuntimeError, match="this text was not finished: its batch failed"):
        list(lost.text())
    assert lost.finished == "failed" and not lost.tokens
    good = engine.submit(PROMPT, max_new_tokens=4)
    list(good.text())
    assert good.finished == "length"


def test_bad_orders_raise_where_they_were_given_and_stop_ends_all(engine, monkeypatch):
    with pytest.raises(ValueError, match="max_new_tokens: got 0"):
        engine.submit(PROMPT, max_new_tokens=0)
    go = held(engine, monkeypatch)
    (job,) = together(engine, threading.Event(), 1, max_new_tokens=80)
    stopping = threading.Thread(target=engine.stop)
    stopping.start()
    go.set()
    stopping.join()
    assert job.finished is not None
    with pytest.raises(RuntimeError, match="it was stopped"):
        engine.submit(PROMPT)
