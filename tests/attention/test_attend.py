"""Every registered pattern on every implementation against attention written as NumPy loops."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from gptjax.attention import IMPLEMENTATIONS, attend, attend_with_lse, parse
from gptjax.attention import blockwise as blockwise_module
from gptjax.attention.patterns import Banded, Dense
from gptjax.attention.rules import Rules

# blockwise has two ways of its own: short texts unroll, long ones scan over padded blocks.
PATHS = [*IMPLEMENTATIONS, "blockwise scanned"]


@pytest.fixture
def path(request, monkeypatch):
    """The implementation of a path; blocks are small, so that short arrays have many."""
    monkeypatch.setattr(blockwise_module, "UNROLLED_BLOCK", 16)
    if request.param != "blockwise scanned":
        return request.param
    monkeypatch.setattr(blockwise_module, "UNROLLED_LENGTH", 0)
    monkeypatch.setattr(blockwise_module, "SMALL_BLOCK", 8)
    monkeypatch.setattr(blockwise_module, "LARGE_BLOCK", 16)
    return "blockwise"


every_path = pytest.mark.parametrize("path", PATHS, indirect=True)


@dataclasses.dataclass(frozen=True)
class Case:
    """Shapes and options of one comparison; `segments` adds packed documents and padding."""

    num_queries: int
    num_keys: int
    num_heads: int
    key_heads: int
    dtype: str = "float32"
    causal: bool = True
    segments: bool = False
    dropout: float = 0.0
    positions: bool = False


CASES = {
    "odd length": Case(21, 21, 2, 2),
    "grouped, packed": Case(35, 35, 6, 3, segments=True),
    "bfloat16, encoder, multi-query": Case(19, 26, 3, 1, dtype="bfloat16", causal=False),
    "dropout": Case(24, 24, 2, 1, dropout=0.25),
    "positions, empty slots": Case(9, 30, 2, 2, positions=True),
}


def draw(case, seed=0):
    """Arguments of `attend`, and cotangents of its output and log-sum-exp."""
    random = np.random.default_rng(seed)
    batch, head_dim = 2, 8
    q_shape = (batch, case.num_queries, case.num_heads, head_dim)
    k_shape = (batch, case.num_keys, case.key_heads, head_dim)
    q, k, v, out_bar = (
        jnp.asarray(random.normal(size=s), case.dtype) for s in (q_shape, k_shape, k_shape, q_shape)
    )
    lse_bar = jnp.asarray(random.normal(size=q_shape[:3]), jnp.float32)
    options = {"causal": case.causal}
    if case.segments:
        segments = np.sort(random.integers(0, 4, (batch, case.num_queries)))
        segments[:, :3] = segments[0, -4:] = -1
        options["segment_ids"] = jnp.asarray(segments)
    if case.dropout:
        options |= {"dropout_rate": case.dropout, "dropout_rng": jax.random.key(seed)}
    if case.positions:
        options["q_positions"] = jnp.arange(case.num_queries) + 8
        options["k_positions"] = jnp.stack([jnp.arange(case.num_keys) - 9] * batch)
    return (q, k, v), options, (out_bar, lse_bar)


def keep_factors(case, options):
    """The dropout factors [B, H, T, S] that the rules of the call state."""
    shape = (2, case.num_heads, case.num_queries, case.num_keys)
    if not case.dropout:
        return np.ones(shape)
    seed = jax.random.bits(options["dropout_rng"], (2,), "uint32")
    tile = Rules(Dense(), 1.0, case.dropout, seed=seed).tile(0, case.num_queries, 0, case.num_keys)
    groups = case.num_heads // case.key_heads
    return np.asarray(tile.keep(2, case.key_heads, groups)).reshape(shape)


def allowed(pattern, options, b, i, j):
    """Whether query i of sequence b may attend to key j, from the contract alone."""
    if "q_positions" in options:
        i, j = int(options["q_positions"][i]), int(options["k_positions"][b, j])
        if j < 0:
            return False
    elif "segment_ids" in options:
        segments = np.asarray(options["segment_ids"])[b]
        if segments[i] != segments[j] or segments[i] < 0:
            return False
    in_order = j <= i or pattern.states_order or not options["causal"]
    return bool(pattern(i, j)) and in_order


def oracle(arrays, pattern, options, keep, bars):
    """Output, log-sum-exp and the gradients of q, k, v, one query at a time, in float64."""
    q, k, v, out_bar, lse_bar = (np.asarray(x, np.float64) for x in (*arrays, *bars))
    scale, groups = q.shape[-1] ** -0.5, q.shape[2] // k.shape[2]
    out, lse = np.zeros_like(q), np.full(q.shape[:3], -np.inf)
    q_bar, k_bar, v_bar = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for b, i in np.ndindex(q.shape[:2]):
        js = [j for j in range(k.shape[1]) if allowed(pattern, options, b, i, j)]
        if not js:
            continue
        for h in range(q.shape[2]):
            g = h // groups
            exps = np.exp([scale * q[b, i, h] @ k[b, j, g] for j in js])
            lse[b, i, h] = np.log(exps.sum())
            weights = exps / exps.sum()
            kept = weights * keep[b, h, i, js]
            out[b, i, h] = sum(p * v[b, j, g] for p, j in zip(kept, js, strict=True))
            for p, w, j in zip(weights, kept, js, strict=True):
                v_bar[b, j, g] += w * out_bar[b, i, h]
                w_bar = keep[b, h, i, j] * (out_bar[b, i, h] @ v[b, j, g])
                s_bar = p * (w_bar - out_bar[b, i, h] @ out[b, i, h] + lse_bar[b, i, h])
                q_bar[b, i, h] += scale * s_bar * k[b, j, g]
                k_bar[b, j, g] += scale * s_bar * q[b, i, h]
    return out, lse, q_bar, k_bar, v_bar


@functools.cache
def expected(pattern, case_name):
    case = CASES[case_name]
    arrays, options, bars = draw(case)
    return oracle(arrays, pattern, options, keep_factors(case, options), bars)


@every_path
@pytest.mark.parametrize("case_name", CASES)
def test_output_and_gradients_equal_the_oracle(pattern, path, case_name):
    arrays, options, bars = draw(CASES[case_name])

    @jax.jit
    def run(q, k, v):
        call = functools.partial(attend_with_lse, pattern=pattern, impl=path, **options)
        (out, lse), pull = jax.vjp(call, q, k, v)
        return out, lse, *pull(bars)

    got = run(*arrays)
    assert [x.dtype for x in (got[0], *got[2:])] == [arrays[0].dtype] * 4
    # bfloat16 has 8 bits: inputs of size 1 in sums of about 20 terms agree to a few hundredths.
    atol = 0.06 if CASES[case_name].dtype == "bfloat16" else 3e-5
    for actual, desired in zip(got, expected(pattern, case_name), strict=True):
        np.testing.assert_allclose(np.asarray(actual, np.float64), desired, atol=atol)


@every_path
def test_gradient_is_nonzero_exactly_where_the_pattern_attends(pattern, path):
    length = 27
    (q, k, v), _, _ = draw(Case(length, length, 1, 1))
    q, k, v = q[:1], k[:1], v[:1]

    @jax.jit
    def jacobian(*arrays):
        total = lambda *x: attend(*x, pattern, impl=path).sum((0, 2, 3))  # noqa: E731
        return jax.vmap(jax.vjp(total, *arrays)[1])(jnp.eye(length))

    _, k_bar, v_bar = jacobian(q, k, v)
    pairs = np.ndindex(length, length)
    may = np.array([allowed(pattern, {"causal": True}, 0, *pair) for pair in pairs])
    may = may.reshape(length, length)
    assert (np.any(np.asarray(v_bar), axis=(1, 3, 4)) == may).all()
    # A softmax over one key has no gradient to that key: only "zero elsewhere" holds for k.
    assert not np.any(np.asarray(k_bar), axis=(1, 3, 4))[~may].any()


@every_path
def test_queries_without_keys_give_zeros_and_zero_gradients(path):
    arrays, _, _ = draw(Case(12, 12, 2, 2))
    nobody = jnp.full((2, 12), -1)

    @jax.jit
    def run(*arrays):
        call = functools.partial(attend_with_lse, pattern=Dense(), segment_ids=nobody, impl=path)
        out, pull = jax.vjp(call, *arrays)
        return *out, pull(jax.tree.map(jnp.ones_like, out))

    out, lse, gradients = run(*arrays)
    assert not np.any(out) and not any(np.any(x) for x in gradients)
    assert (lse == -jnp.inf).all()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bend:
    """A learned score change that uses all it is given."""

    cap: jax.Array
    slopes: jax.Array

    def __call__(self, scores, head, q_pos, k_pos):
        distance = (q_pos - k_pos).astype(jnp.float32)
        return self.cap * jnp.tanh(scores / self.cap) - self.slopes[head] * distance


@every_path
def test_learned_scores_get_gradients(path):
    arrays, _, (out_bar, _) = draw(Case(21, 21, 4, 2))
    score = Bend(jnp.float32(2.0), jnp.array([0.0, 0.1, 0.2, 0.3]))

    def plain(q, k, v, score):
        k, v = jnp.repeat(k, 2, axis=2), jnp.repeat(v, 2, axis=2)
        scores = jnp.einsum("bthd,bshd->bhts", q, k) / 8**0.5
        i, j = jnp.arange(21)[None, None, :, None], jnp.arange(21)[None, None, None, :]
        scores = score(scores, jnp.arange(4).reshape(1, 4, 1, 1), i, j)
        weights = jax.nn.softmax(jnp.where(j <= i, scores, -jnp.inf))
        return jnp.einsum("bhts,bshd->bthd", weights, v)

    def gradients(call):
        return jax.jit(jax.grad(lambda *x: (call(*x) * out_bar).sum(), (0, 1, 2, 3)))(
            *arrays, score
        )

    ours = gradients(lambda q, k, v, score: attend(q, k, v, Dense(), score=score, impl=path))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-5), ours, gradients(plain))


@every_path
def test_eager_rematerialised_and_scanned_calls_equal_the_jitted_one(path):
    (q, k, v), options, (out_bar, _) = draw(Case(15, 15, 2, 2, dropout=0.2))
    layer = functools.partial(attend, pattern=Banded(5), impl=path, **options)

    def twice(layer):
        return lambda q: jax.lax.scan(lambda q, _: (layer(q, k, v), None), q, None, length=2)[0]

    def gradient(call):
        return jax.grad(lambda q: (call(q) * out_bar).sum())

    unrolled = jax.jit(gradient(lambda q: layer(layer(q, k, v), k, v)))(q)
    rematerialised = jax.jit(gradient(twice(jax.checkpoint(layer, prevent_cse=False))))(q)
    np.testing.assert_allclose(rematerialised, unrolled, atol=1e-6)
    np.testing.assert_allclose(layer(q, k, v), jax.jit(layer)(q, k, v), atol=1e-6)


@every_path
def test_sharded_batch_and_heads_equal_one_device(path):
    (q, k, v), options, _ = draw(Case(20, 20, 8, 4, segments=True, dropout=0.2))
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    call = functools.partial(attend, pattern=Dense(), impl=path, **options)
    gradient = jax.jit(jax.grad(lambda q, k, v: (call(q, k, v) ** 2).sum(), (0, 1, 2)))
    split = NamedSharding(mesh, P("data", None, "model"))
    sharded = gradient(*(jax.device_put(x, split) for x in (q, k, v)))
    for a, b in zip(sharded, gradient(q, k, v), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_dropout_drops_the_stated_share_and_differs_between_heads_rows_and_keys():
    seed = jnp.array([1, 2], jnp.uint32)
    rules = Rules(Dense(), 1.0, 0.1, seed=seed)
    keep = np.asarray(rules.tile(0, 64, 0, 64).keep(2, 2, 2))
    assert np.isin(keep, [0, np.float32(1 / 0.9)]).all()
    # 32,768 draws: the standard deviation of the share is 0.0017.
    assert abs((keep == 0).mean() - 0.1) < 0.007
    for axis in range(5):
        same = (keep == np.roll(keep, 1, axis)).mean()
        assert abs(same - (0.9**2 + 0.1**2)) < 0.02, axis
    np.testing.assert_array_equal(rules.tile(8, 16, 24, 32).keep(2, 2, 2), keep[..., 8:24, 24:56])


@pytest.mark.parametrize("spec", ["dense", "banded(window=100)"])
def test_nothing_of_the_size_of_the_score_matrix_is_made(spec):
    length = 2048
    q = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)
    pattern = parse(spec)[0]

    def shapes(impl):
        loss = lambda q: attend(q, q, q, pattern, impl=impl).sum()  # noqa: E731
        return str(jax.make_jaxpr(jax.grad(loss))(q))

    square = re.compile(rf"{length},{length}\]")
    assert square.search(shapes("reference")) and not square.search(shapes("blockwise"))


def test_log_sum_exp_joins_attention_over_parts():
    (q, k, v), _, _ = draw(Case(16, 16, 2, 2))
    whole = attend(q, k, v, Dense(), causal=False)
    parts = [attend_with_lse(q, k[:, s], v[:, s], Dense(), causal=False) for s in np.s_[:7, 7:]]
    shares = jax.nn.softmax(jnp.stack([lse for _, lse in parts]), axis=0)[..., None]
    np.testing.assert_allclose(
        sum(s * o for s, (o, _) in zip(shares, parts, strict=True)), whole, atol=1e-6
    )
