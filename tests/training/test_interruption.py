import os
import signal

import pytest

from gptjax.training.interruption import Interruption


@pytest.fixture
def outer():
    """The signals that reach whoever listened before."""
    received = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda n, _: received.append(n)) for number in numbers}
    yield received
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_a_request_and_the_second_is_not_caught(outer, number):
    with Interruption() as interruption:
        assert not interruption.requested(0)
        os.kill(os.getpid(), number)
        assert interruption.name == number.name
        assert outer == []
        os.kill(os.getpid(), number)
        assert outer == [number]


def test_a_second_signal_of_the_other_kind_is_not_caught_either(outer):
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.name == "SIGTERM"
        assert outer == [signal.SIGINT]


def test_signals_outside_are_not_caught(outer):
    with Interruption() as interruption:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    assert outer == [signal.SIGTERM]
    assert not interruption.requested(0)


def test_handlers_return_after_an_error(outer):
    with pytest.raises(KeyError), Interruption():
        raise KeyError
    os.kill(os.getpid(), signal.SIGINT)
    assert outer == [signal.SIGINT]
