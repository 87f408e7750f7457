"""The proof: every pattern on every path, in every setting, against attention as NumPy loops.

`make test` runs cases in which every pair of settings meets, `make proof` their full product, in
which calls are jitted, eager and sharded in turn.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from gptjax.attention import attend_with_lse
from gptjax.attention.blocks import EMPTY
from gptjax.attention.implementations import blockwise as blockwise_module
from gptjax.attention.patterns import Banded, Dense
from gptjax.attention.rules import Rules, Tile
from tests.attention import oracle
from tests.attention.covering import covering
from tests.attention.paths import PATHS, use_path

# name: queries and keys, query heads, key heads, whether it decodes
SHAPES = {
    "plain": (21, 2, 2, True),
    "grouped": (32, 6, 3, True),
    "encoder, multi-query": (35, 3, 1, False),
}
DIMENSIONS = {
    "pattern": oracle.EXAMPLES,
    "path": PATHS,
    "shape": list(SHAPES),
    "dtype": ["float32", "bfloat16"],
    "packed": [False, True],
    "extra": ["none", "dropout", "score"],
}
CALLS = ["jitted", "eager", "sharded"]


@dataclasses.dataclass(frozen=True)
class Case:
    pattern: object
    path: str
    shape: str
    dtype: str
    packed: bool
    extra: str
    call: str

    def __str__(self):
        return "-".join(map(str, dataclasses.astuple(self)[1:])) + f"-{self.pattern}"


def pytest_generate_tests(metafunc):
    if "case" not in metafunc.fixturenames:
        return
    if metafunc.config.getoption("proof"):
        product = enumerate(itertools.product(*DIMENSIONS.values()))
        # The fastest dimension has as many values as CALLS: a shift each round mixes the two.
        cases = [Case(*x, CALLS[(i + i // len(CALLS)) % len(CALLS)]) for i, x in product]
    else:
        cases = [Case(*x) for x in covering([*DIMENSIONS.values(), CALLS])]
    metafunc.parametrize("case", cases, ids=str)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bend:
    """`oracle.Bend` as a score of ours, learned."""

    cap: jax.Array
    slopes: jax.Array

    def __call__(self, scores, head, q_pos, k_pos):
        distance = (q_pos - k_pos).astype(jnp.float32)
        return self.cap * jnp.tanh(scores / self.cap) - self.slopes[head] * distance


def draw(case):
    """Arguments of `attend`, and cotangents of its output and log-sum-exp."""
    length, heads, key_heads, causal = SHAPES[case.shape]
    random = np.random.default_rng(length)
    sizes = [(2, length, h, 8) for h in (heads, key_heads, key_heads, heads)]
    q, k, v, out_bar = (jnp.asarray(random.normal(size=s), case.dtype) for s in sizes)
    lse_bar = jnp.asarray(random.normal(size=sizes[0][:3]), jnp.float32)
    options = {"causal": causal}
    if case.packed:
        segments = np.sort(random.integers(0, 4, (2, length)))
        segments[:, :3] = segments[0, -4:] = -1  # padding
        options["segment_ids"] = jnp.asarray(segments)
    if case.extra == "dropout":
        options |= {"dropout_rate": 0.25, "dropout_rng": jax.random.key(length)}
    if case.extra == "score":
        options["score"] = Bend(jnp.float32(2.0), jnp.linspace(0, 0.3, heads))
    return (q, k, v), options, (out_bar, lse_bar)


@functools.lru_cache(maxsize=64)
def expected(case):
    """What the oracle says; `case` without what may make no difference: path and call."""
    length, heads, key_heads, causal = SHAPES[case.shape]
    arrays, options, bars = draw(case)
    segments = options.get("segment_ids")
    allowed = oracle.effective(
        case.pattern,
        heads,
        length,
        length,
        causal=causal,
        segments=None if segments is None else np.asarray(segments),
    )
    keep, bend = np.ones((2, heads, length, length)), None
    if case.extra == "dropout":
        seed = jax.random.bits(options["dropout_rng"], (2,), "uint32")
        tile = Rules(Dense(), 1.0, 0.25, seed=seed).tile(0, length, 0, length)
        keep = np.asarray(tile.keep(2, key_heads, heads // key_heads)).reshape(keep.shape)
    if case.extra == "score":
        bend = oracle.Bend(2.0, np.linspace(0, 0.3, heads))
    return oracle.attention(*arrays, *bars, allowed, keep, bend)


def computed(case):
    arrays, options, bars = draw(case)
    score = options.pop("score", None)

    def run(q, k, v, score, *bars):
        def call(q, k, v, score):
            return attend_with_lse(
                q, k, v, case.pattern, impl=case.path.split()[0], score=score, **options
            )

        (out, lse), pull = jax.vjp(call, q, k, v, score)
        return out, lse, *pull(bars)

    if case.call == "sharded":
        mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
        arrays, bars = jax.device_put((arrays, bars), NamedSharding(mesh, P("data")))
    if case.call != "eager":
        run = jax.jit(run)
    return run(*arrays, score, *bars)


def check(case):
    out, lse, q_bar, k_bar, v_bar, score_bar = computed(case)
    *desired, cap_bar, slopes_bar = expected(dataclasses.replace(case, path="", call=""))
    # bfloat16 has 8 bits: inputs of size 1 in sums of about 20 terms agree to a few hundredths.
    atol = 0.08 if case.dtype == "bfloat16" else 3e-5
    assert {x.dtype for x in (out, q_bar, k_bar, v_bar)} == {jnp.dtype(case.dtype)}
    for actual, target in zip((out, lse, q_bar, k_bar, v_bar), desired, strict=True):
        np.testing.assert_allclose(np.asarray(actual, np.float64), target, atol=atol)
    if case.extra == "score":
        # Sums over all pairs of about a thousand terms.
        np.testing.assert_allclose(score_bar.cap, cap_bar, atol=20 * atol)
        np.testing.assert_allclose(score_bar.slopes, slopes_bar, atol=50 * atol)


def test_output_and_gradients_equal_the_oracle(case, monkeypatch):
    use_path(case.path, monkeypatch)
    check(case)


def one_more(self, q_pos, k_pos):
    return abs(q_pos - k_pos) <= self.window


def without_a_block(*arguments):
    kinds = np.array(without_a_block.map(*arguments))
    kinds[tuple(np.argwhere(kinds != EMPTY)[0])] = EMPTY
    return kinds


def leaking(self):
    return self.rules.pattern(self.q_values(None), self.k_values(None))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("owner", "name", "mutant"),
    [
        (Banded, "__call__", one_more),
        (blockwise_module, "block_map", without_a_block),
        (Tile, "mask", leaking),
    ],
    ids=["off by one", "dropped block", "leaked segment"],
)
def test_the_proof_notices_a_mutation(owner, name, mutant, path, monkeypatch):
    if path == "reference" and mutant is without_a_block:
        return  # it has no blocks to drop
    case = Case(Banded(7), path, "plain", "float32", True, "none", "jitted")
    use_path(path, monkeypatch)
    check(case)
    without_a_block.map = blockwise_module.block_map
    monkeypatch.setattr(owner, name, mutant)
    jax.clear_caches()
    with pytest.raises(AssertionError, match="Not equal"):
        check(case)
