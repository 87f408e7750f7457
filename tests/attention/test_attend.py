"""The contract of `attend` beyond the proof: shapes, positions, gradients, transformations."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from gptjax.attention import attend, attend_with_lse, parse
from gptjax.attention.patterns import Banded, Dense, Pattern
from gptjax.attention.rules import Rules
from gptjax.pytrees import STATIC, pytree
from tests.attention import oracle
from tests.attention.paths import EVERY_PAIR, PATHS, use_path
from tests.support.tiers import tiered


@pytest.fixture
def path(request, monkeypatch):
    """The implementation of a path."""
    return use_path(request.param, monkeypatch)


every_path = pytest.mark.parametrize("path", PATHS, indirect=True)
in_short = pytest.mark.parametrize(
    "path", tiered([(path,) for path in PATHS], [("blockwise",)]), indirect=True
)
every_pattern_and_path = pytest.mark.parametrize(
    ("pattern", "path"), EVERY_PAIR, indirect=["path"], ids=str
)


def draw(num_queries, num_keys, heads, key_heads, batch=2):
    """q, k, v and a cotangent of the output."""
    random = np.random.default_rng(0)
    shapes = [
        (num_queries, heads),
        (num_keys, key_heads),
        (num_keys, key_heads),
        (num_queries, heads),
    ]
    return [jax.device_put(random.normal(size=(batch, *s, 8)).astype(np.float32)) for s in shapes]


def check(pattern, arrays, allowed, **options):
    """Output and gradients of an `attend` call against the oracle."""
    *arrays, out_bar = arrays
    call = functools.partial(attend, pattern=pattern, **options)
    out, pull = jax.vjp(jax.jit(call), *arrays)
    keep = np.ones((*out.shape[:1], out.shape[2], out.shape[1], arrays[1].shape[1]))
    lse_bar = np.zeros(out.shape[:3])
    desired = oracle.attention(*arrays, out_bar, lse_bar, allowed, keep)
    for actual, target in zip((out, *pull(out_bar)), (desired[0], *desired[2:5]), strict=True):
        np.testing.assert_allclose(actual, target, atol=3e-5)


@every_pattern_and_path
def test_an_encoder_may_have_fewer_queries_than_keys(pattern, path):
    allowed = oracle.effective(pattern, 2, 19, 26, causal=False)
    check(pattern, draw(19, 26, 2, 1), allowed, causal=False, impl=path)


@every_pattern_and_path
def test_explicit_positions_with_empty_slots(pattern, path):
    q_positions = np.arange(9) + 8
    k_positions = np.stack([np.arange(30) - 9, np.roll(np.arange(30), 7) - 9])
    all_positions = oracle.effective(pattern, 2, 40, 40)[0]
    allowed = all_positions[:, q_positions[None, :, None], k_positions[:, None, :]].swapaxes(0, 1)
    allowed = allowed & (k_positions >= 0)[:, None, None]
    positions = {
        "q_positions": jax.device_put(q_positions),
        "k_positions": jax.device_put(k_positions),
    }
    check(pattern, draw(9, 30, 2, 2), allowed, impl=path, **positions)


@every_pattern_and_path
def test_gradient_is_nonzero_exactly_where_the_pattern_attends(pattern, path):
    """Also between packed documents: the second sequence holds two, and padding."""
    length, heads = 27, len(pattern.per_head())
    q, k, v, _ = draw(length, length, heads, heads)
    segments = np.stack([np.zeros(length, int), np.repeat([0, 1, -1], [10, 14, 3])])

    @jax.jit
    def jacobian(*arrays):
        call = functools.partial(attend, pattern=pattern, impl=path)
        total = lambda *x: call(*x, segment_ids=jax.device_put(segments)).sum((0, 3)).T  # noqa: E731
        return jax.vmap(jax.vmap(jax.vjp(total, *arrays)[1]))(
            jnp.eye(heads * length).reshape(heads, length, heads, length)
        )

    _, k_bar, v_bar = (np.asarray(x).any(-1) for x in jacobian(q, k, v))  # [H, T, B, S, K]
    own = np.arange(heads)
    may = oracle.effective(pattern, heads, length, length, segments=segments)
    assert (v_bar[own, :, :, :, own].transpose(2, 0, 1, 3) == may).all()
    # A softmax over one key has no gradient to that key: only "zero elsewhere" holds for k.
    assert not (k_bar[own, :, :, :, own].transpose(2, 0, 1, 3) & ~may).any()


@every_path
def test_queries_without_keys_give_zeros_and_zero_gradients(path):
    arrays = draw(12, 12, 2, 2)[:3]
    nobody = np.full((2, 12), -1)

    @jax.jit
    def run(*arrays):
        call = functools.partial(attend_with_lse, pattern=Dense(), segment_ids=nobody, impl=path)
        out, pull = jax.vjp(call, *arrays)
        return *out, pull(jax.tree.map(jnp.ones_like, out))

    out, lse, gradients = jax.device_get(run(*arrays))
    assert not np.any(out) and not any(np.any(x) for x in gradients)
    assert (lse == -jnp.inf).all()


@in_short
def test_rematerialised_and_scanned_calls_equal_the_unrolled_one(path):
    q, k, v, out_bar = draw(15, 15, 2, 2)
    dropout = {"dropout_rate": 0.2, "dropout_rng": jax.random.key(0)}
    layer = functools.partial(attend, pattern=Banded(5), impl=path, **dropout)

    def twice(layer):
        return lambda q: jax.lax.scan(lambda q, _: (layer(q, k, v), None), q, None, length=2)[0]

    def gradient(call):
        return jax.grad(lambda q: (call(q) * out_bar).sum())

    unrolled = jax.jit(gradient(lambda q: layer(layer(q, k, v), k, v)))(q)
    rematerialised = jax.jit(gradient(twice(jax.checkpoint(layer, prevent_cse=False))))(q)
    np.testing.assert_allclose(rematerialised, unrolled, atol=1e-6)


@in_short
def test_vmapped_calls_equal_a_loop(path):
    arrays = [np.stack([x, x[:, ::-1]]) for x in map(np.asarray, draw(21, 21, 4, 2)[:3])]
    call = functools.partial(attend, pattern=Banded(5), impl=path)
    gradient = jax.grad(lambda *x: (call(*x) ** 2).sum(), (0, 1, 2))
    mapped, gradient = jax.device_get(jax.jit(jax.vmap(gradient))(*arrays)), jax.jit(gradient)
    for i in range(2):
        for a, b in zip(mapped, gradient(*(x[i] for x in arrays)), strict=True):
            np.testing.assert_allclose(a[i], b, atol=2e-5)


@in_short
def test_sharded_batch_and_heads_equal_one_device(path):
    q, k, v, _ = draw(20, 20, 8, 4)
    options = {"dropout_rate": 0.2, "dropout_rng": jax.random.key(0)}
    options["segment_ids"] = np.repeat([[0, 1, 2, -1]], 5, axis=1).repeat(2, axis=0)
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    call = functools.partial(attend, pattern=Dense(), impl=path, **options)
    gradient = jax.jit(jax.grad(lambda q, k, v: (call(q, k, v) ** 2).sum(), (0, 1, 2)))
    split = NamedSharding(mesh, P("data", None, "model"))
    sharded = gradient(*jax.device_put(tuple(map(np.asarray, (q, k, v))), split))
    for a, b in zip(sharded, gradient(q, k, v), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_dropout_drops_the_stated_share_and_differs_between_heads_rows_and_keys():
    seed = jnp.array([1, 2], jnp.uint32)
    rules = Rules(Dense(), 1.0, 0.1, seed=seed)
    kept = jax.jit(lambda *rectangle: rules.tile(*rectangle).keep(2, 2, 2), static_argnums=(1, 3))
    keep = np.asarray(kept(0, 64, 0, 64))
    assert np.isin(keep, [0, np.float32(1 / 0.9)]).all()
    # 32,768 draws: the standard deviation of the share is 0.0017.
    assert abs((keep == 0).mean() - 0.1) < 0.007
    for axis in range(5):
        same = (keep == np.roll(keep, 1, axis)).mean()
        assert abs(same - (0.9**2 + 0.1**2)) < 0.02, axis
    np.testing.assert_array_equal(kept(8, 16, 24, 32), keep[..., 8:24, 24:56])


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
    q, k, v, _ = map(np.asarray, draw(16, 16, 2, 2))
    call = jax.jit(functools.partial(attend_with_lse, pattern=Dense(), causal=False))
    whole = call(q, k, v)[0]
    parts = jax.device_get([call(q, k[:, s], v[:, s]) for s in np.s_[:8, 8:]])
    weights = [np.exp(lse)[..., None] for _, lse in parts]
    joined = sum(w * out for w, (out, _) in zip(weights, parts, strict=True)) / sum(weights)
    np.testing.assert_allclose(joined, whole, atol=1e-6)


@in_short
def test_a_pattern_is_its_predicate_alone(path):
    """Also of a pattern that is not registered and has no closed form."""

    @dataclasses.dataclass(frozen=True)
    class Even(Pattern):
        def __call__(self, q_pos, k_pos):
            return (q_pos - k_pos) % 2 == 0

    i, j = np.ogrid[:21, :21]
    allowed = np.broadcast_to(((i - j) % 2 == 0) & (j <= i), (1, 2, 21, 21))
    check(Even(), draw(21, 21, 2, 1), allowed, impl=path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment_ids": (np.zeros((2, 5), int), None)}, "expected both or neither"),
        ({"score": lambda scores, head, q_pos, k_pos: scores}, "expected a registered pytree"),
    ],
)
def test_half_a_pair_of_segments_and_a_score_jax_cannot_see_are_refused(options, message):
    q, k, v, _ = draw(5, 5, 2, 2)
    with pytest.raises(ValueError, match=message):
        attend(q, k, v, Dense(), **options)


@pytree
@dataclasses.dataclass(frozen=True)
class Fading:
    """A learned change that is not finite at what is to come, unless it is told otherwise."""

    slope: jax.Array
    safe: bool = dataclasses.field(metadata=STATIC)

    def __call__(self, scores, head, q_pos, k_pos):
        distance = (q_pos - k_pos).astype(jnp.float32)
        distance = jnp.maximum(distance, 0) if self.safe else distance
        return scores - self.slope * jnp.log(1 + distance)


@pytest.mark.parametrize(
    "path", tiered([(path,) for path in PATHS], [("reference",), ("blockwise",)])
)
def test_what_is_not_finite_where_nobody_may_attend_leaves_gradients_alone(path, monkeypatch):
    impl = use_path(path, monkeypatch)
    x = jax.device_put(np.random.default_rng(0).normal(size=(1, 80, 2, 4)).astype(np.float32))
    segments = jax.device_put(np.repeat([[0, 1, -1]], 30, axis=1)[:, :80])

    @functools.partial(jax.jit, static_argnums=1)
    def gradients(slope, safe):
        def total(slope, x):
            score = Fading(slope, safe)
            out = attend(x, x, x, Banded(9), impl=impl, score=score, segment_ids=segments)
            return jnp.sum(jnp.square(out))

        return jax.grad(total, (0, 1))(slope, x)

    for ours, desired in zip(gradients(0.7, False), gradients(0.7, True), strict=True):
        assert np.abs(desired).max() > 0
        np.testing.assert_allclose(ours, desired, rtol=1e-5, atol=1e-6)
