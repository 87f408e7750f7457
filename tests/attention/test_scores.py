"""Every score change on every implementation against attention written as NumPy loops."""

import dataclasses
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.attention import attend, parse
from gptjax.attention.patterns import Dense, in_order
from gptjax.attention.rules import Rules
from gptjax.attention.scores import SCORES, Alibi, RelativeBias, bind, learned_shapes
from gptjax.attention.scores import parse as parse_scores
from tests.attention.paths import PATHS, use_path
from tests.support.tiers import tiered


@dataclasses.dataclass(frozen=True)
class Case:
    """Shapes and options of one comparison; a text of 300 positions is more than a few blocks."""

    length: int
    num_heads: int
    key_heads: int
    batch: int = 2
    pattern: str = "dense"
    causal: bool = True
    segments: bool = False
    dropout: float = 0.0


GROUPED = Case(21, 4, 2)
ENCODER = Case(19, 6, 3, causal=False, segments=True, dropout=0.25)
LONG = Case(300, 3, 1, batch=1, pattern="banded(window=90)", dropout=0.1)
HEADS = Case(23, 6, 6, pattern="heads(dense,banded(window=4),strided(stride=3))", dropout=0.2)

ALL = "soft_cap(cap=2.0),relative_bias(buckets=6,max_distance=11),alibi"
COMPARISONS = [
    ("soft_cap(cap=1.5)", GROUPED),
    ("alibi", ENCODER),
    ("relative_bias(buckets=8,max_distance=15)", GROUPED),
    ("relative_bias(buckets=8,max_distance=9,bidirectional=True)", ENCODER),
    (ALL, GROUPED),
    (ALL, LONG),
    (ALL, HEADS),
]


def slopes(n):
    """The ALiBi authors' `get_slopes`, a recursion over powers of two."""
    if math.log2(n).is_integer():
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]
    lower = 2 ** math.floor(math.log2(n))
    return slopes(lower) + slopes(2 * lower)[0::2][: n - lower]


def bucket(change, distance):
    """T5's bucket of one distance query - key."""
    count, first = change.buckets, 0
    if change.bidirectional:
        count //= 2
        first = count if distance < 0 else 0
        distance = abs(distance)
    distance = max(distance, 0)
    if distance < count // 2:
        return first + distance
    share = math.log(distance / (count // 2)) / math.log(change.max_distance / (count // 2))
    return first + min(count // 2 + int(share * (count - count // 2) + 1e-9), count - 1)


def change_one(change, score, head, i, j, num_heads, table):
    """A changed score, its derivative, and the place in the learned table that it came from."""
    if change == SCORES.get("alibi")():
        return score - slopes(num_heads)[head] * abs(i - j), 1, None
    if isinstance(change, SCORES.get("relative_bias")):
        place = bucket(change, i - j), head
        return score + table[place], 1, place
    bent = math.tanh(score / change.cap)
    return change.cap * bent, 1 - bent**2, None


def draw(case, changes):
    random = np.random.default_rng(0)
    shapes = [(case.batch, case.length, heads, 8) for heads in (case.num_heads, case.key_heads)]
    q, k, v, out_bar = (
        jax.device_put(random.normal(size=shapes[i]).astype(np.float32)) for i in (0, 1, 1, 0)
    )
    learned = {
        name: jax.device_put(random.normal(size=shape).astype(np.float32))
        for name, shape in learned_shapes(changes, case.num_heads).items()
    }
    options = {"causal": case.causal}
    if case.segments:
        segments = np.sort(random.integers(0, 3, (case.batch, case.length)))
        segments[:, :2] = -1
        options["segment_ids"] = jax.device_put(segments)
    if case.dropout:
        options |= {"dropout_rate": case.dropout, "dropout_rng": jax.random.key(1)}
    return q, k, v, learned, out_bar, options


def keep_factors(case):
    shape = (case.batch, case.num_heads, case.length, case.length)
    if not case.dropout:
        return np.ones(shape)

    @jax.jit
    def kept(key):
        seed = jax.random.bits(key, (2,), "uint32")
        tile = Rules(Dense(), 1.0, case.dropout, seed=seed).tile(0, case.length, 0, case.length)
        return tile.keep(case.batch, case.key_heads, case.num_heads // case.key_heads)

    return np.asarray(kept(jax.random.key(1))).reshape(shape)


def oracle(case, changes, q, k, v, learned, out_bar, options):
    """Output, and gradients of q, k, v and the learned table, pair by pair in float64."""
    q, k, v, out_bar = (np.asarray(x, np.float64) for x in (q, k, v, out_bar))
    keep, groups = keep_factors(case), case.num_heads // case.key_heads
    table = np.asarray(learned.get("relative_bias", [[0]]), np.float64)
    table_bar = np.zeros_like(table)
    out, q_bar, k_bar, v_bar = (np.zeros_like(x) for x in (q, q, k, v))
    patterns = parse(case.pattern)[0].per_head()
    if case.causal:
        patterns = tuple(map(in_order, patterns))
    segments = np.asarray(options.get("segment_ids", np.zeros((case.batch, case.length), int)))
    for b, h, i in np.ndindex(case.batch, case.num_heads, case.length):
        g, allowed = h // groups, patterns[h % len(patterns)]
        js = [
            j for j in range(case.length) if allowed(i, j) and segments[b, i] == segments[b, j] >= 0
        ]
        if not js:
            continue
        scores, slants, places = [], [], []
        for j in js:
            score, slant, places_here = q[b, i, h] @ k[b, j, g] / math.sqrt(8), 1.0, []
            for change in changes:
                score, factor, place = change_one(change, score, h, i, j, case.num_heads, table)
                slant *= factor
                places_here += [place] if place else []
            scores.append(score)
            slants.append(slant)
            places.append(places_here)
        weights = np.exp(scores - np.max(scores))
        weights /= weights.sum()
        kept = weights * keep[b, h, i, js]
        out[b, i, h] = kept @ v[b, js, g]
        v_bar[b, js, g] += kept[:, None] * out_bar[b, i, h]
        w_bar = keep[b, h, i, js] * (v[b, js, g] @ out_bar[b, i, h])
        s_bar = weights * (w_bar - weights @ w_bar)
        for j, bar, slant, places_here in zip(js, s_bar, slants, places, strict=True):
            for place in places_here:
                table_bar[place] += bar
            q_bar[b, i, h] += bar * slant * k[b, j, g] / math.sqrt(8)
            k_bar[b, j, g] += bar * slant * q[b, i, h] / math.sqrt(8)
    return out, q_bar, k_bar, v_bar, table_bar


@pytest.mark.parametrize(
    ("text", "case", "path"),
    tiered(
        [(*comparison, path) for comparison, path in itertools.product(COMPARISONS, PATHS)],
        [
            ("soft_cap(cap=1.5)", GROUPED, "blockwise"),
            ("alibi", ENCODER, "blockwise scanned"),
            ("relative_bias(buckets=8,max_distance=15)", GROUPED, "reference"),
            ("relative_bias(buckets=8,max_distance=9,bidirectional=True)", ENCODER, "blockwise"),
            (ALL, GROUPED, "blockwise scanned"),
            (ALL, HEADS, "reference"),
        ],
    ),
)
def test_output_and_gradients_equal_the_oracle(text, case, path, monkeypatch):
    impl = use_path(path, monkeypatch)
    changes = parse_scores(text)
    q, k, v, learned, out_bar, options = draw(case, changes)

    @jax.jit
    def run(*arrays):
        def call(q, k, v, learned):
            score = bind(changes, case.num_heads, learned)
            return attend(q, k, v, parse(case.pattern)[0], score=score, impl=impl, **options)

        out, pull = jax.vjp(call, *arrays)
        return out, *pull(out_bar)

    *got, learned_bar = run(q, k, v, learned)
    got.append(learned_bar.get("relative_bias", np.zeros((1, 1))))
    expected = oracle(case, changes, q, k, v, learned, out_bar, options)
    for ours, theirs in zip(got, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=5e-5)


def test_every_registered_change_is_compared():
    compared = {type(change) for text, _ in COMPARISONS for change in parse_scores(text)}
    assert compared == {SCORES.get(name) for name in SCORES}


def test_changes_apply_in_the_order_in_which_they_are_written():
    def scores(text):
        bound = bind(parse_scores(text), 1)
        assert bound is not None
        position, head = np.arange(2), np.zeros((1, 1, 1, 1, 1), int)
        given = np.full((1, 1, 1, 2, 2), 5.0, "float32"), head
        places = position[None, None, None, :, None], position[None, None, None, None]
        return np.asarray(jax.jit(lambda *x: bound(*x))(*given, *places))

    capped_first, capped_last = scores("soft_cap(cap=2.0),alibi"), scores("alibi,soft_cap(cap=2.0)")
    assert capped_first.max() - capped_first.min() == pytest.approx(1 / 256, rel=1e-3)
    assert capped_last.max() - capped_last.min() < 1e-3


both_implementations = pytest.mark.parametrize(
    "impl", [pytest.param("reference", marks=pytest.mark.slow), "blockwise"]
)


@both_implementations
def test_a_batch_of_tables_under_vmap_equals_one_after_another(impl):
    changes = parse_scores(ALL)
    q, k, v, learned, _, _ = draw(GROUPED, changes)
    table = np.asarray(learned["relative_bias"])
    tables = np.stack([table, 2 * table])

    def gradient(table):
        def loss(table):
            score = bind(changes, 4, {"relative_bias": table})
            return jnp.square(attend(q, k, v, Dense(), score=score, impl=impl)).sum()

        return jax.grad(loss)(table)

    together = jax.jit(jax.vmap(gradient))(tables)
    apart = np.stack([jax.jit(gradient)(table) for table in tables])
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)


@both_implementations
def test_bfloat16_queries_have_float32_scores_and_gradients(impl):
    changes = parse_scores(ALL)
    q, k, v, learned, _, _ = draw(GROUPED, changes)

    @jax.jit
    def run(q, k, v, learned):
        def call(learned):
            out = attend(q, k, v, Dense(), score=bind(changes, 4, learned), impl=impl)
            return jnp.square(out.astype(jnp.float32)).sum(), out.dtype

        gradient, dtype = jax.grad(call, has_aux=True)(learned)
        assert dtype == q.dtype
        return gradient["relative_bias"]

    exact = run(q, k, v, learned)
    half = run(*(x.astype(jnp.bfloat16) for x in (q, k, v)), learned)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, exact, atol=0.03 * np.abs(exact).max())


@pytest.mark.parametrize("num_heads", [1, 2, 3, 6, 8, 12, 20])
def test_alibi_slopes_are_the_papers(num_heads):
    ours = Alibi.slopes(num_heads)
    np.testing.assert_allclose(ours, slopes(num_heads), rtol=1e-12)
    if num_heads == 8:
        np.testing.assert_array_equal(ours, [2.0**-i for i in range(1, 9)])


@pytest.mark.slow
@pytest.mark.parametrize("num_heads", [1, 2, 3, 6, 8, 12, 20])
def test_alibi_slopes_are_blooms(num_heads):
    ours = Alibi.slopes(num_heads)
    torch = pytest.importorskip("torch")
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    # Bloom adds slope * j, ours less slope * (i - j): the same but for a constant of each row.
    theirs = bloom.build_alibi_tensor(torch.ones(1, 5), num_heads, torch.float32)[:, 0].numpy()
    np.testing.assert_allclose(ours[:, None] * np.arange(5), theirs, rtol=1e-5)


all_kinds_of_buckets = pytest.mark.parametrize(
    ("buckets", "max_distance", "bidirectional"),
    [(*sizes, way) for sizes in [(32, 128), (8, 20), (64, 1000)] for way in (True, False)],
)


@all_kinds_of_buckets
def test_buckets_equal_a_loop_over_distances(buckets, max_distance, bidirectional):
    change = RelativeBias(buckets, max_distance, bidirectional)
    distance = np.arange(-2 * max_distance, 2 * max_distance)
    desired = [bucket(change, one) for one in distance.tolist()]
    np.testing.assert_array_equal(change.bucket(distance), desired)


@pytest.mark.slow
@all_kinds_of_buckets
def test_buckets_are_t5s(buckets, max_distance, bidirectional):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    distance = np.arange(-2 * max_distance, 2 * max_distance)
    theirs = t5.T5Attention._relative_position_bucket(
        torch.tensor(-distance), bidirectional, buckets, max_distance
    )
    ours = RelativeBias(buckets, max_distance, bidirectional).bucket(distance)
    np.testing.assert_array_equal(ours, theirs.numpy())


def test_none_is_no_score():
    assert parse_scores(" none ") == ()
    assert bind((), 8) is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("aliby", "score 'aliby', column 1: unknown score change 'aliby' (did you mean 'alibi'?)"),
        ("alibi,soft_cap", "column 7: got 'soft_cap', expected soft_cap(cap: float)"),
        ("soft_cap(cap=0)", "column 1: soft_cap: got cap=0, expected more than 0"),
        ("soft_cap(cap=high)", "column 10: got 'cap=high)', expected soft_cap(cap: float)"),
        ("alibi|alibi", "column 1: got 'alibi|alibi', expected one name"),
        ("alibi,none", "unknown score change 'none'"),
        ("alibi,alibi", "got a change more than once, expected it once"),
        ("relative_bias(buckets=7)", "got buckets=7, expected a multiple of 2"),
        ("relative_bias(buckets=6,bidirectional=True)", "got buckets=6, expected a multiple of 4"),
        ("relative_bias(max_distance=16)", "got max_distance=16, expected more than 16"),
    ],
)
def test_a_bad_specification_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse_scores(text)
    assert "\n" not in str(error.value)


def test_arrays_that_do_not_fit_are_refused():
    changes = parse_scores("relative_bias(buckets=4,max_distance=8)")
    expected = "expected {'relative_bias': (4, 2)}"
    for learned in (None, {"relative_bias": jnp.zeros((4, 3))}):
        with pytest.raises(ValueError, match=re.escape(expected)):
            bind(changes, 2, learned)
