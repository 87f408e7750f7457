"""What `attend` refuses, which implementation it picks, and how it divides heads."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.attention import attend, attend_with_lse
from gptjax.attention.algebra import in_order
from gptjax.attention.dispatch import choose
from gptjax.attention.implementations.implementation import Call
from gptjax.attention.patterns import Banded, BlockLocal, Dense, Heads, Sinks, Strided
from gptjax.pytrees import pytree


def call(pattern, length, platform, **changes):
    fields = {"capability": "9.0" if platform == "gpu" else "", "devices": 1, "dtype": "bfloat16"}
    sizes = {"num_queries": length, "num_keys": length, "head_dim": 64, "value_dim": 64}
    return Call(in_order(pattern), platform, **(fields | sizes | changes))


STRIDED = Strided(32)


@pytest.mark.parametrize(
    ("of_call", "choice", "reason"),
    [
        (call(Dense(), 64, "cpu"), "reference", "too short"),
        (call(Dense(), 65, "cpu"), "blockwise", "skips empty blocks"),
        (call(Dense(), 1024, "cpu", positions=True), "reference", "explicit positions"),
        (call(Dense(), 2048, "cpu", positions=True), "blockwise", "recomputes weights"),
        (call(Dense(), 2048, "gpu"), "fused", "one kernel"),
        (call(Banded(256), 2048, "gpu"), "fused", "one kernel"),
        (call(STRIDED, 2048, "gpu"), "blockwise", "fused: cuDNN masks dense"),
        (call(Dense(), 2048, "gpu", dtype="float32"), "blockwise", "fused: cuDNN takes bfloat16"),
        (call(Dense(), 2048, "gpu", score=True), "blockwise", "fused: its kernels know no score"),
        (call(Dense(), 64, "gpu"), "reference", "too short"),
        (call(STRIDED, 2048, "tpu"), "fused", "one kernel"),
        (call(STRIDED, 2048, "tpu", dtype="float32", segments=True), "fused", "one kernel"),
        (call(STRIDED, 2048, "tpu", devices=8), "blockwise", "fused: among 8 devices"),
        (call(STRIDED, 2048, "tpu", dropout=True), "blockwise", "fused: its kernels have no drop"),
        (call(Dense(), 1024, "tpu", positions=True), "reference", "explicit positions"),
    ],
)
def test_auto_says_once_what_it_chose_and_why(of_call, choice, reason, monkeypatch):
    said = []
    monkeypatch.setattr(
        "gptjax.attention.dispatch.logging.info", lambda text, *a: said.append(text % a)
    )
    choose.cache_clear()
    assert [choose(of_call), choose(of_call)] == [choice] * 2
    assert len(said) == 1 and f"{choice} for {of_call}: " in said[0] and reason in said[0]


def test_an_expression_is_the_pattern_that_it_stands_for():
    q = np.random.default_rng(0).normal(size=(1, 6, 2, 4)).astype(np.float32)
    compiled = jax.jit(attend, static_argnums=3)
    got = compiled(q, q, q, "banded(window=2)|sinks(window=1,sinks=1)")
    np.testing.assert_array_equal(got, compiled(q, q, q, Banded(2) | Sinks(1, 1)))
    assert not np.array_equal(got, compiled(q, q, q, "dense"))
    with pytest.raises(ValueError, match=r"^attention 'dense,dense': got 2 patterns, expected one"):
        attend(q, q, q, "dense,dense")
    with pytest.raises(ValueError, match=r"unknown attention pattern 'bnded' \(did you mean 'band"):
        attend_with_lse(q, q, q, "bnded(window=2)")


def test_auto_asks_about_the_call_it_has(monkeypatch):
    calls = []
    monkeypatch.setattr(
        "gptjax.attention.dispatch.choose", lambda of_call: calls.append(of_call) or "reference"
    )
    q, k = jnp.ones((2, 5, 4, 8)), jnp.ones((2, 3, 2, 8))
    jax.eval_shape(functools.partial(attend, pattern=Banded(2)), q, k, k[..., :6])
    plain = Call(in_order(Banded(2)), "cpu", "", jax.device_count(), 5, 3, 8, 6, "float32")
    assert calls == [plain]
    assert str(plain) == f"{in_order(Banded(2))}, 5 queries x 3 keys, float32, on cpu"

    calls.clear()
    ids = jnp.zeros((2, 5), int), jnp.zeros((2, 3), int)
    dropout = {"dropout_rate": 0.5, "dropout_rng": jax.random.key(0)}

    @jax.eval_shape
    def _():
        attend(q, k, k, Dense(), causal=False, segment_ids=ids, k_positions=jnp.arange(3))
        attend(q, q, q, Dense(), segment_ids=ids[0], score=Slopes(jnp.ones(4)))
        attend_with_lse(q, q, q, Dense(), **dropout)

    flags = ("positions", "segments", "paired_segments", "score", "dropout", "lse")
    assert [{f for f in flags if getattr(c, f)} for c in calls] == [
        {"positions", "segments", "paired_segments"},
        {"segments", "score"},
        {"dropout", "lse"},
    ]
    assert calls[0].pattern == Dense()


@pytest.mark.parametrize("entry", [attend, attend_with_lse])
def test_a_named_implementation_that_cannot_compute_a_call_says_who_can(entry):
    q = jnp.ones((1, 6, 2, 8), jnp.bfloat16)
    with pytest.raises(ValueError) as error:
        entry(q, q, q, Banded(3), impl="fused")
    pattern = in_order(Banded(3))
    assert str(error.value) == (
        f"attend: got impl='fused' for {pattern}, 6 queries x 6 keys, bfloat16, on cpu: there is "
        "no kernel for cpu; expected one of: reference, blockwise"
    )


@pytree
@dataclasses.dataclass(frozen=True)
class Slopes:
    """A learned score change that differs between heads."""

    slopes: jax.Array

    def __call__(self, scores, head, q_pos, k_pos):
        return scores - self.slopes[head] * (q_pos - k_pos).astype(jnp.float32)


@pytest.mark.parametrize(
    ("num_heads", "key_heads", "num_patterns", "impl"),
    [
        (6, 2, 2, "reference"),  # one by two heads of a part, the other by one
        pytest.param(5, 1, 2, "blockwise", marks=pytest.mark.slow),  # parts of unlike sizes
        (2, 1, 3, "blockwise"),  # a pattern that no head has
        pytest.param(8, 4, 2, "blockwise", marks=pytest.mark.slow),  # all key heads shared alike
        pytest.param(4, 2, 3, "reference", marks=pytest.mark.slow),
        pytest.param(2, 2, 1, "reference", marks=pytest.mark.slow),
    ],
)
def test_heads_attend_as_in_calls_of_one_pattern(num_heads, key_heads, num_patterns, impl):
    patterns = (Banded(4), BlockLocal(5), Dense())[:num_patterns]
    random = np.random.default_rng(0)
    sizes = [(2, 13, h, 8) for h in (num_heads, key_heads, key_heads, num_heads)]
    *arrays, bar = (jax.device_put(random.normal(size=s).astype(np.float32)) for s in sizes)
    score = Slopes(jnp.linspace(0.1, 1, num_heads))
    options = {"dropout_rate": 0.3, "dropout_rng": jax.random.key(1), "impl": impl}

    def loss(attention, *arrays):
        *arrays, score = arrays
        out, lse = attention(*arrays, score=score, **options)
        return (out * bar).sum() + (jnp.sin(lse) * bar[..., 0]).sum(), (out, lse)

    def one_by_one(*arrays, **options):
        calls = [attend_with_lse(*arrays, pattern, **options) for pattern in patterns]
        picked = [[x[:, :, h] for x in calls[h % num_patterns]] for h in range(num_heads)]
        return tuple(jnp.stack(x, axis=2) for x in zip(*picked, strict=True))

    def run(attention):
        run = jax.value_and_grad(functools.partial(loss, attention), (0, 1, 2, 3), has_aux=True)
        return jax.jit(run)(*arrays, score)

    mixed = run(functools.partial(attend_with_lse, pattern=Heads(patterns)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-5), mixed, run(one_by_one))


def arguments(**changes):
    shapes = {"q": (2, 5, 4, 8), "k": (2, 5, 2, 8), "v": (2, 5, 2, 8)} | changes
    dtypes = shapes.pop("dtypes", ["float32"] * 3)
    arrays = {
        name: jax.device_put(np.zeros(shapes.pop(name), jnp.dtype(dtype)))
        for name, dtype in zip("qkv", dtypes, strict=True)
    }
    return arrays | {"pattern": Dense()} | shapes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": (2, 5, 3, 8), "v": (2, 5, 3, 8)}, "got 4 query heads and 3 key heads"),
        ({"k": (2, 5, 0, 8), "v": (2, 5, 0, 8)}, "got 4 query heads and 0 key heads"),
        ({"v": (2, 6, 2, 8)}, "expected q [B, T, H, D]"),
        ({"k": (2, 5, 2, 4), "v": (2, 5, 2, 4)}, "expected q [B, T, H, D]"),
        ({"k": (1, 5, 2, 8), "v": (1, 5, 2, 8)}, "expected q [B, T, H, D]"),
        ({"q": (5, 4, 8)}, "got q (5, 4, 8)"),
        ({"dtypes": ["int32"] * 3}, "got q int32, k int32, v int32, expected one floating dtype"),
        ({"dtypes": ["float32", "bfloat16", "bfloat16"]}, "got q float32, k bfloat16, v bfloat16"),
        ({"impl": "blokwise"}, "did you mean 'blockwise'?); expected one of: auto, reference,"),
        ({"dropout_rate": 1.0}, "expected 0 <= rate < 1"),
        ({"dropout_rate": 0.1}, "expected dropout_rng"),
        ({"segment_ids": np.zeros((2, 4), int)}, "got segment_ids (2, 4)"),
        ({"segment_ids": (np.zeros((2, 5), int), np.zeros((2, 4), int))}, "segment_ids (2, 4)"),
        ({"q_positions": np.zeros(3, int)}, "got q_positions (3,)"),
        ({"k_positions": np.zeros((3, 5), int)}, "got k_positions (3, 5)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        attend(**arguments(**changes))
    assert "\n" not in str(error.value)
