"""The proof: every pattern on every path, in every setting, against attention as NumPy loops.

`make test` runs every pattern on every path and cases in which every two settings meet beside the
pattern; `make test-all` those in which every two do; `make proof` the full product, in which calls
are jitted, eager and sharded in turn.
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
from gptjax.pytrees import pytree
from tests.attention import oracle
from tests.attention.covering import covering
from tests.attention.paths import PATHS, use_path
from tests.attention.sections import every_pattern
from tests.support.tiers import tiered

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
        metafunc.parametrize("case", cases, ids=str)
    else:
        few = few_cases()
        all_pairs = covering([*DIMENSIONS.values(), CALLS])
        cases = [(Case(*x),) for x in dict.fromkeys(few + all_pairs)]
        metafunc.parametrize("case", tiered(cases, cases[: len(few)]), ids=str)


def few_cases():
    """Each pattern on the path that knows its closed form, each two of the other settings."""
    settings = covering([*list(DIMENSIONS.values())[1:], ["jitted", "sharded"]])
    few = [(*x[:1], *x[1]) for x in zip(oracle.EXAMPLES, settings, strict=False)]
    plain = ("plain", "float32", False, "none")
    met = {pattern for pattern, path, *_ in few if path == "blockwise"}
    few += [(x, "blockwise", *plain, "jitted") for x in oracle.EXAMPLES if x not in met]
    # An eager call compiles each of its operations alone: on one path, which is the shortest.
    return [*few, (Banded(7), "reference", *plain, "eager")]


@pytree
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
    q, k, v, out_bar = (
        jax.device_put(random.normal(size=s).astype(jnp.dtype(case.dtype))) for s in sizes
    )
    lse_bar = jax.device_put(random.normal(size=sizes[0][:3]).astype(np.float32))
    options = {"causal": causal}
    if case.packed:
        segments = np.sort(random.integers(0, 4, (2, length)))
        segments[:, :3] = segments[0, -4:] = -1  # padding
        options["segment_ids"] = jax.device_put(segments)
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

        @jax.jit
        def kept(key):
            seed = jax.random.bits(key, (2,), "uint32")
            tile = Rules(Dense(), 1.0, 0.25, seed=seed).tile(0, length, 0, length)
            return tile.keep(2, key_heads, heads // key_heads)

        keep = np.asarray(kept(options["dropout_rng"])).reshape(keep.shape)
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
        arrays, bars = jax.device_put(
            jax.device_get((arrays, bars)), NamedSharding(mesh, P("data"))
        )
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


@pytest.mark.parametrize("path", [path for path in PATHS if path != "blockwise"])
def test_a_path_computes_every_pattern_in_a_section_of_one_text(path, monkeypatch):
    impl, (pattern, allowed) = use_path(path, monkeypatch), every_pattern(21)
    random, length = np.random.default_rng(0), allowed.shape[-1]
    q, k, v, out_bar = (random.normal(size=(1, length, 1, 8)).astype("float32") for _ in range(4))
    lse_bar = random.normal(size=(1, length, 1)).astype("float32")

    @jax.jit
    def run(*arrays):
        call = functools.partial(attend_with_lse, pattern=pattern, impl=impl)
        made, pull = jax.vjp(call, *arrays)
        return *made, *pull((out_bar, lse_bar))

    desired = oracle.attention(q, k, v, out_bar, lse_bar, allowed, np.ones(allowed.shape))
    for actual, target in zip(run(q, k, v), desired[:5], strict=True):
        np.testing.assert_allclose(actual, target, atol=3e-5)


def one_more(self, q_pos, k_pos):
    return abs(q_pos - k_pos) <= self.window


def without_a_block(*arguments):
    kinds = np.array(without_a_block.map(*arguments))
    kinds[tuple(np.argwhere(kinds != EMPTY)[0])] = EMPTY
    return kinds


def leaking(self):
    return self.rules.pattern(self.q_values(None), self.k_values(None))


MUTATIONS = {
    "off by one": (Banded, "__call__", one_more),
    "dropped block": (blockwise_module, "block_map", without_a_block),
    "leaked segment": (Tile, "mask", leaking),
}


@pytest.mark.parametrize(
    ("mutation", "path"),
    tiered(
        # The reference has no blocks to drop.
        [x for x in itertools.product(MUTATIONS, PATHS) if x != ("dropped block", "reference")],
        [
            ("off by one", "reference"),
            ("dropped block", "blockwise"),
            ("leaked segment", "blockwise scanned"),
        ],
    ),
)
def test_the_proof_notices_a_mutation(mutation, path, monkeypatch):
    owner, name, mutant = MUTATIONS[mutation]
    case = Case(Banded(7), path, "plain", "float32", True, "none", "jitted")
    use_path(path, monkeypatch)
    check(case)
    without_a_block.map = blockwise_module.block_map
    monkeypatch.setattr(owner, name, mutant)
    with pytest.raises(AssertionError, match="Not equal"):
        check(case)
