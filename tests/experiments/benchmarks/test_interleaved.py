import pytest

from experiments.benchmarks.interleaved import interleaved, medians, ratio


def test_programs_run_in_turn():
    order = []

    def program(name, seconds):
        times = iter(seconds)

        def run():
            order.append(name)
            return next(times)

        return run

    # A machine that is three times slower in the second round.
    programs = {"a": program("a", [2, 6, 2]), "b": program("b", [1, 3, 4])}
    seconds = interleaved(programs, rounds=3)
    assert order == ["a", "b"] * 3
    assert medians(seconds) == {"a_seconds": 2, "b_seconds": 3}
    assert ratio(seconds, "a", "b") == pytest.approx(2)
