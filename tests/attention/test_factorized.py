import functools
import itertools

import jax
import numpy as np
import pytest

from gptjax.attention import attend, attend_with_lse, parse
from gptjax.attention.costs import executed_pairs
from gptjax.attention.implementations.factorized import Factor, factors
from gptjax.attention.patterns import in_order
from gptjax.attention.rules import Rules
from tests.attention.paths import use_path
from tests.support.tiers import tiered

SPECS = [
    "strided(stride=8,part=2)",
    "strided(stride=8)",
    "fixed(stride=8,summary=3,part=2)",
    "fixed(stride=8,summary=2,offset=1)",
]
LENGTH = 96
OTHERS = ["sinks(window=1,sinks=4)|strided(stride=8)", "fixed(stride=8,summary=2)|banded(window=3)"]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("causal", [True, False], ids=["decoder", "encoder"])
def test_factors_share_no_pair_and_miss_none(spec, causal, monkeypatch):
    use_path("blockwise scanned", monkeypatch)
    pattern = in_order(parse(spec)[0]) if causal else parse(spec)[0]
    _, parts = factors(pattern, LENGTH)
    assert len(parts) == (1 if "part=2" in spec else 2)
    # Each pair of the text is named by its number, which the rearrangement carries along.
    q = np.arange(LENGTH)[None, None, None, :, None]
    k = np.arange(LENGTH)[None, None, :, None]
    found, rules = np.zeros((LENGTH, LENGTH), int), Rules(pattern, 1.0, 0.0)
    for part in parts:
        q_part, k_part, _, made = part.rearranged(
            jax.device_put(q), jax.device_put(k), jax.device_put(k), rules
        )
        q_part, k_part = np.asarray(q_part), np.asarray(k_part)
        allowed = made.pattern(*np.ogrid[: q_part.shape[-2], : k_part.shape[-2]])
        allowed = np.broadcast_to(allowed, (q_part.shape[-2], k_part.shape[-2]))
        for row in range(len(q_part)):
            pairs = np.ix_(q_part[row, 0, 0, :, 0], k_part[row, 0, :, 0])
            found[pairs] += allowed
        np.testing.assert_array_equal(part.restored(q_part), q)
    whole = pattern(*np.ogrid[:LENGTH, :LENGTH])
    np.testing.assert_array_equal(found, np.broadcast_to(whole, found.shape))


@pytest.mark.parametrize(
    ("spec", "causal", "path"),
    tiered(
        itertools.product([*SPECS, *OTHERS], [True, False], ["blockwise", "blockwise scanned"]),
        [
            (SPECS[0], True, "blockwise"),
            (SPECS[1], False, "blockwise scanned"),
            (OTHERS[0], True, "blockwise"),
        ],
    ),
)
def test_factors_joined_equal_the_whole(spec, causal, path, monkeypatch):
    impl, (pattern,) = use_path(path, monkeypatch), parse(spec)
    random = np.random.default_rng(0)
    q, k, v, out_bar = (
        jax.device_put(random.normal(size=(2, LENGTH, heads, 4)).astype(np.float32))
        for heads in (4, 2, 2, 4)
    )
    lse_bar = jax.device_put(random.normal(size=q.shape[:3]).astype(np.float32))
    segments = np.sort(random.integers(0, 4, (2, LENGTH)))
    segments[1, -5:] = -1
    options = {"segment_ids": jax.device_put(segments)} if causal else {}

    @functools.partial(jax.jit, static_argnums=0)
    def run(impl, *arrays):
        call = functools.partial(attend_with_lse, pattern=pattern, causal=causal, impl=impl)
        made, pull = jax.vjp(lambda *x: call(*x, **options), *arrays)
        return *made, *pull((out_bar, lse_bar))

    for ours, desired in zip(run(impl, q, k, v), run("reference", q, k, v), strict=True):
        np.testing.assert_allclose(ours, desired, atol=2e-5)


@pytest.mark.parametrize("spec", tiered([(spec,) for spec in [*SPECS, *OTHERS]], [(OTHERS[1],)]))
def test_a_text_need_not_be_a_multiple_of_the_stride(spec, monkeypatch):
    impl, (pattern,) = use_path("blockwise scanned", monkeypatch), parse(spec)
    length = LENGTH - 3
    padded, parts = factors(in_order(pattern), length)
    assert padded == LENGTH and not (len(parts) == 1 and type(parts[0]) is Factor)
    q = jax.device_put(np.random.default_rng(0).normal(size=(2, length, 2, 4)).astype(np.float32))
    segments = jax.device_put(np.arange(length) // 40)  # one row for all of the batch
    made = [
        jax.jit(
            jax.grad(
                lambda x, i=i: (attend(x, x, x, pattern, impl=i, segment_ids=segments) ** 2).sum()
            )
        )(q)
        for i in (impl, "reference")
    ]
    np.testing.assert_allclose(*made, atol=5e-5)


def test_what_gains_nothing_stays_whole():
    for spec, length in (("strided(stride=200)", 256), ("fixed(stride=64,summary=64)", 64)):
        assert len(factors(in_order(parse(spec)[0]), length)[1]) == 1
    for spec in ("dense", "banded(window=128)", "strided(stride=128,part=1)"):
        assert len(factors(in_order(parse(spec)[0]), 4096)[1]) == 1


@pytest.mark.parametrize("length", [12_288, 12_301])
def test_the_sparse_transformers_patterns_visit_a_fraction_of_the_blocks(length):
    dense = executed_pairs(parse("dense")[0], length)
    for spec, share in (
        ("strided(stride=128)", 0.08),
        ("fixed(stride=128,summary=32)", 0.3),
        ("strided(stride=128)|sinks(window=1,sinks=4)", 0.1),
    ):
        assert executed_pairs(parse(spec)[0], length) < share * dense
        assert executed_pairs(parse(spec)[0], length, factorized=False) == dense


def test_factors_do_not_disturb_scores_and_dropout():
    q = np.ones((1, LENGTH, 1, 4), "float32")
    options = {"dropout_rate": 0.5, "dropout_rng": jax.random.key(0)}
    call = functools.partial(attend, pattern=parse(SPECS[1])[0], **options)
    made = [jax.jit(functools.partial(call, impl=i))(q, q, q) for i in ("blockwise", "reference")]
    np.testing.assert_allclose(*made, atol=1e-6)
