"""What the C library is asked for, and that another library is left alone."""

import ctypes

import pytest

from gptjax.training.memory import keep_freed_memory


def test_glibc_is_told_to_keep_what_is_freed(monkeypatch):
    asked = {}

    class Glibc:
        def __init__(self, name):
            assert name == "libc.so.6"
            self.mallopt = asked.__setitem__

    monkeypatch.setattr(ctypes, "CDLL", Glibc)
    keep_freed_memory()
    # malloc.h: M_MMAP_MAX, M_TRIM_THRESHOLD and M_ARENA_MAX.
    assert asked == {-4: 0, -1: -1, -8: 1}


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_another_library_is_left_alone(monkeypatch, error):
    def missing(name):
        raise error(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    keep_freed_memory()
