"""Equal programs of equal models are compiled once for all tests of this folder."""

import functools
import inspect

import jax
import pytest

plain_jit, programs = jax.jit, {}


def shared_jit(function, **options):
    """`jax.jit`, which gives what it gave before for equal functions of equal models."""
    if not isinstance(function, functools.partial):
        return plain_jit(function, **options)
    key = inspect.unwrap(function.func), repr(function.args), repr(function.keywords), repr(options)
    return programs.setdefault(key, plain_jit(function, **options))


@pytest.fixture(scope="module", autouse=True)
def shared_programs():
    """What generators, searches and scorers compile is found again by the next ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", shared_jit)
        yield


@pytest.fixture
def own_programs(monkeypatch):
    """What the test makes compiles programs of its own, so that they can be counted."""
    monkeypatch.setattr(jax, "jit", plain_jit)
