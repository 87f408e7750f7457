"""What `attend` refuses, which implementation it picks, and how it divides heads."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.attention import attend
from gptjax.attention.patterns import Banded, Dense


def test_auto_says_once_what_it_chose(monkeypatch):
    said = []
    monkeypatch.setattr(
        "gptjax.attention.dispatch.logging.info", lambda text, *a: said.append(text % a)
    )
    q = jax.ShapeDtypeStruct((1, 113, 1, 8), jnp.float32)
    for _ in range(2):
        jax.eval_shape(functools.partial(attend, pattern=Banded(5)), q, q, q)
    assert len(said) == 1
    assert re.search(r"blockwise for banded\(window=5\)&Causal, 113 queries x 113 keys, float32, on cpu", said[0])


def arguments(**changes):
    shapes = {"q": (2, 5, 4, 8), "k": (2, 5, 2, 8), "v": (2, 5, 2, 8)} | changes
    arrays = {name: jnp.zeros(shapes.pop(name)) for name in "qkv"}
    return arrays | {"pattern": Dense()} | shapes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": (2, 5, 3, 8), "v": (2, 5, 3, 8)}, "got 4 query heads and 3 key heads"),
        ({"v": (2, 6, 2, 8)}, "expected q [B, T, H, D]"),
        ({"k": (2, 5, 2, 4), "v": (2, 5, 2, 4)}, "expected q [B, T, H, D]"),
        ({"impl": "blokwise"}, "did you mean 'blockwise'"),
        ({"dropout_rate": 1.0}, "expected 0 <= rate < 1"),
        ({"dropout_rate": 0.1}, "expected dropout_rng"),
        ({"segment_ids": np.zeros((2, 4), int)}, "got segment_ids (2, 4)"),
        ({"q_positions": np.zeros(3, int)}, "got q_positions (3,)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        attend(**arguments(**changes))
    assert "\n" not in str(error.value)
