"""cuDNN and splash attention without their devices.

Splash attention runs in the interpreter and is lowered for a TPU; the call of cuDNN is lowered for
a GPU, and its mask is computed by XLA instead.
"""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, AxisType, NamedSharding, use_abstract_mesh
from jax.sharding import PartitionSpec as P

from gptjax.attention import attend, parse
from gptjax.attention.algebra import EMPTY, Pattern, in_order
from gptjax.attention.blocks import block_map
from gptjax.attention.implementations import splash as splash_module
from gptjax.attention.implementations.fused import LONGEST_SPLASH, refuses
from gptjax.attention.implementations.implementation import Call
from gptjax.attention.implementations.splash import splash, visits
from gptjax.attention.patterns import Banded, Dense, Fixed, Heads
from gptjax.attention.restarts import is_of_distance
from tests.attention.oracle import EXAMPLES
from tests.attention.sections import ALONE, Sections
from tests.support.tiers import tiered


@pytest.fixture
def tpu(monkeypatch):
    """One TPU, as far as `attend` can see, with small blocks and kernels that are interpreted."""
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    monkeypatch.setattr(splash_module, "LARGEST_BLOCK", 128)
    interpreted = functools.partial(splash, interpret=True)
    monkeypatch.setattr("gptjax.attention.implementations.fused.splash", interpreted)


slow = pytest.mark.slow
DENSE, BANDED, SUMMARIES = Dense(), Banded(9), Fixed(7, summary=3, part=2)


def call(pattern=DENSE, causal=True, **changes):
    """A call that the kernels of both devices can compute."""
    pattern = in_order(pattern) if causal else pattern
    fields = {"platform": "gpu", "capability": "9.0", "devices": 1, "dtype": "bfloat16"}
    sizes = {"num_queries": 300, "num_keys": 300, "head_dim": 64, "value_dim": 64}
    return Call(**(fields | sizes | {"pattern": pattern} | changes))


def draw(num_queries, num_keys=None, num_heads=4, key_heads=2, dtype="float32", batch=2):
    random = np.random.default_rng(0)
    shapes = [(num_queries, num_heads), *[(num_keys or num_queries, key_heads)] * 2]
    return [
        jax.device_put(random.normal(size=(batch, n, h, 8)).astype(jnp.dtype(dtype)))
        for n, h in shapes
    ]


def documents(length, batch=2):
    """Packed documents of unlike lengths, with padding before, between and behind them."""
    ids = np.random.default_rng(1).choice([-1, 0, 1, 2], (batch, 9))
    return jax.device_put(np.repeat(ids, -(-length // 9), axis=1)[:, :length])


def output_and_gradients(impl, arrays, pattern, **options):
    def run(*arrays):
        attention = functools.partial(attend, pattern=pattern, impl=impl, **options)
        out, pull = jax.vjp(attention, *arrays)
        return out, *pull(jnp.cos(out))

    return jax.jit(run)(*arrays)


def check_equal(arrays, pattern, atol=2e-5, **options):
    fused = output_and_gradients("fused", arrays, pattern, **options)
    plain = output_and_gradients("reference", arrays, pattern, **options)
    assert [x.dtype for x in fused] == [x.dtype for x in plain]
    for a, b in zip(fused, plain, strict=True):
        np.testing.assert_allclose(np.float32(a), np.float32(b), atol=atol)
    return fused


PACKED = [p for p in ALONE if refuses(call(p, platform="tpu", segments=True)) is None]


@pytest.mark.slow
@pytest.mark.parametrize("pattern", [*filter(is_of_distance, PACKED)], ids=str)
def test_splash_packs_documents_under_patterns_of_distances(tpu, pattern):
    arrays, segments = draw(140, None, 2, 1), documents(140)
    check_equal(arrays, pattern, causal=False, segment_ids=segments)


@pytest.mark.parametrize(
    ("patterns", "dtype"),
    [
        pytest.param(ALONE, "float32", id="float32"),
        pytest.param(PACKED, "bfloat16", id="bfloat16", marks=slow),
    ],
)
def test_splash_equals_the_reference_in_every_pattern(tpu, patterns, dtype):
    length = 71
    pattern = Sections(tuple(patterns), length)
    arrays = draw(length * len(patterns), None, 2, 1, dtype, batch=1)
    fused, plain = (
        output_and_gradients(impl, arrays, pattern, causal=False) for impl in ("fused", "reference")
    )
    # bfloat16 has 8 bits: what is about 10 agrees to 0.1, sums of terms of size 1 to less.
    atol, rtol = (0.06, 0.01) if dtype == "bfloat16" else (2e-5, 0)
    for a, b in zip(fused, plain, strict=True):
        for i, part in enumerate(patterns):
            here = np.s_[:, i * length : (i + 1) * length]
            assert a.dtype == b.dtype == dtype
            np.testing.assert_allclose(
                np.float32(a[here]), np.float32(b[here]), rtol, atol, err_msg=str(part)
            )


@pytest.mark.parametrize(
    ("pattern", "lengths", "heads", "causal", "dtype"),
    [
        # Many rows without keys.
        (Fixed(150, summary=3, part=2), (200, 200), (2, 1), True, "float32"),
        pytest.param(Banded(40), (70, 260), (3, 3), False, "bfloat16", marks=slow),
        pytest.param(Fixed(300, summary=3, part=2), (60, 60), (1, 1), True, "float32", marks=slow),
        pytest.param(Dense(), (300, 130), (2, 2), False, "float32", marks=slow),
        pytest.param(Heads((Banded(7), Dense())), (60, 60), (4, 2), True, "float32", marks=slow),
    ],
    ids=str,
)
def test_splash_equals_the_reference_in_corners(tpu, pattern, lengths, heads, causal, dtype):
    arrays, atol = draw(*lengths, *heads, dtype), 0.06 if dtype == "bfloat16" else 2e-5
    out, q_bar, *_ = check_equal(arrays, pattern, atol, causal=causal, scale=0.3)
    if isinstance(pattern, Fixed):
        assert not np.any(out[:, : pattern.stride - 3])
        assert not np.any(q_bar[:, : pattern.stride - 3])


@pytest.mark.slow
def test_splash_is_batched_rematerialised_and_scanned(tpu):
    q, k, v = (jnp.stack([x, -x]) for x in draw(40, num_heads=2))

    def loss(impl, q, k, v):
        layer = functools.partial(attend, pattern=Banded(9), impl=impl)
        layer = jax.checkpoint(layer, prevent_cse=False)
        out, _ = jax.lax.scan(lambda q, _: (layer(q, k, v), None), q, None, length=2)
        return (out**2).sum()

    def gradients(impl):
        each = jax.grad(functools.partial(loss, impl), (0, 1))
        return jax.jit(jax.vmap(each, (0, None, 0)))(q, k[0], v)

    for a, b in zip(gradients("fused"), gradients("reference"), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize(
    ("heads", "spec", "key_spec", "collectives"),
    [
        ((8, 4), P("data", None, "model"), P("data", None, "model"), 0),
        # Fewer key heads than devices: each takes those of its queries, gradients are summed.
        ((4, 2), P("data", None, "model"), P("data"), None),
    ],
)
def test_a_mesh_divides_splash(tpu, heads, spec, key_spec, collectives):
    mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    arrays, segments = draw(140, None, *heads), documents(140)
    specs = (spec, key_spec, key_spec)
    divided = [
        jax.device_put(x, NamedSharding(mesh, s)) for x, s in zip(arrays, specs, strict=True)
    ]
    options = {"pattern": Banded(30), "segment_ids": segments}

    def loss(*arrays, **more):
        return (attend(*arrays, **options, **more) ** 2).sum()

    fused = functools.partial(loss, impl="fused", sharding=NamedSharding(mesh, spec))
    program = jax.jit(jax.grad(fused, (0, 1, 2))).lower(*divided).compile()
    plain = jax.jit(jax.grad(functools.partial(loss, impl="reference"), (0, 1, 2)))(*arrays)
    for a, b, s in zip(program(*divided), plain, specs, strict=True):
        assert a.sharding.is_equivalent_to(NamedSharding(mesh, s), 4)
        np.testing.assert_allclose(a, b, atol=2e-5)
    if collectives is not None:
        found = re.findall(r"= \S+ (all-\w+|collective-\w+)\(", program.as_text())
        assert len(found) == collectives


def test_a_sharding_of_positions_is_refused(tpu):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    with pytest.raises(ValueError, match="expected T and D whole"):
        attend(*draw(16), Dense(), impl="fused", sharding=NamedSharding(mesh, P(None, "data")))


@pytest.mark.parametrize(
    "pattern",
    tiered(
        [(Sections(tuple(ALONE), 71),), *((pattern,) for pattern in EXAMPLES)],
        [(Sections(tuple(ALONE), 71),), (EXAMPLES[0],)],
    ),
)
def test_every_pattern_is_lowered_to_the_kernels_of_a_tpu(pattern, tpu, monkeypatch):
    monkeypatch.setattr("gptjax.attention.implementations.fused.splash", splash)
    device = AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu")
    mesh = AbstractMesh((1,), ("data",), (AxisType.Auto,), abstract_device=device)
    arrays = draw(150, num_heads=2, dtype="bfloat16", batch=1)

    def loss(*arrays):
        return attend(*arrays, pattern, impl="fused").astype(jnp.float32).sum()

    with use_abstract_mesh(mesh):
        traced = jax.jit(jax.grad(loss, (0, 1, 2))).trace(*arrays)
        text = traced.lower(lowering_platforms=("tpu",)).as_text()
    # forward, gradients of queries, gradients of keys and values
    assert text.count("@tpu_custom_call") == 3 * len(pattern.per_head())


@pytest.mark.parametrize(
    "spec", ["banded(window=256)", "dense", "fixed(stride=512,summary=8,part=2)"]
)
def test_splash_visits_what_the_block_map_has_and_no_more(spec):
    pattern, length, block = in_order(parse(spec)[0]), 65_536, 512
    by_query, by_key = visits(pattern, length, length, block, block)
    some = block_map(pattern, length, length, block, block) != EMPTY
    rows, columns = np.nonzero(by_query >= 0)
    made = np.zeros_like(some)
    made[rows, by_query[rows, columns]] = True
    np.testing.assert_array_equal(made, some)
    rows, columns = np.nonzero(by_key >= 0)
    made = np.zeros_like(some)
    made[by_key[rows, columns], columns] = True
    np.testing.assert_array_equal(made, some)
    assert by_query.shape[1] == some.sum(1).max() and by_key.shape[0] == some.sum(0).max()


@dataclasses.dataclass(frozen=True)
class Odd(Pattern):
    """A pattern of which only pairs are known."""

    def __call__(self, q_pos, k_pos):
        return (q_pos - k_pos) % 2 == 1


@pytest.mark.parametrize(
    ("of_call", "reason"),
    [
        (call(platform="cpu"), "no kernel for cpu"),
        (call(positions=True), "no explicit positions"),
        (call(score=True), "no score change"),
        (call(dropout=True), "no dropout"),
        (call(lse=True), "log-sum-exp"),
        (call(capability="7.5"), "compute capability 8.0, got '7.5'"),
        (call(capability="gfx90a"), "NVIDIA GPU"),
        (call(dtype="float32"), "bfloat16 and float16, got float32"),
        (call(SUMMARIES), "dense and causally banded patterns, got fixed"),
        (call(BANDED, causal=False), "dense and causally banded patterns, got banded(window=9)"),
        (call(segments=True), "no segment ids"),
        (call(num_keys=200), "equal lengths, got 300 and 200"),
        (call(causal=False, num_keys=200), None),
        (call(head_dim=36, value_dim=36), "multiple of 8 up to 256 on this GPU, got 36"),
        (call(head_dim=192, value_dim=192), None),
        (call(head_dim=192, value_dim=192, capability="8.9"), "up to 128 on this GPU, got 192"),
        (call(value_dim=32), "got 64 and values of 32"),
        (call(BANDED, capability="10.3", dtype="float16"), None),
        (call(platform="tpu", devices=4), "among 4 devices splash attention needs the sharding"),
        (call(platform="tpu", dtype="float16"), "bfloat16 and float32, got float16"),
        (call(platform="tpu", num_keys=LONGEST_SPLASH + 1), f"at most {LONGEST_SPLASH} positions"),
        (call(Odd(), platform="tpu", num_queries=50_000, num_keys=50_000), "look at 1.3e+09 pairs"),
        (call(Odd(), platform="tpu", num_queries=32_768, num_keys=32_768), None),
        (call(BANDED, platform="tpu", num_queries=131_072, num_keys=131_072), None),
        (call(SUMMARIES, platform="tpu"), None),
        (call(SUMMARIES, platform="tpu", segments=True), "may be empty"),
        (call(platform="tpu", segments=True, num_keys=200), "queries may have no key"),
        (call(platform="tpu", segments=True, paired_segments=True), "queries may have no key"),
        (call(BANDED, platform="tpu", segments=True, dtype="float32", value_dim=32), None),
    ],
)
def test_refusals_say_why(of_call, reason):
    got = refuses(of_call)
    assert got is None if reason is None else reason in (got or "") and "\n" not in (got or "")


@pytest.fixture
def gpu(monkeypatch):
    """A Hopper GPU, as far as `attend` can see."""
    hopper = type("Device", (), {"compute_capability": "9.0"})
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [hopper])


CUDNN = [
    pytest.param("dense", True, marks=slow),
    ("dense", False),
    ("banded(window=7)", True),
]


@pytest.mark.parametrize(("spec", "causal"), CUDNN)
def test_a_gpu_is_asked_for_the_mask_in_cudnn(spec, causal, gpu, monkeypatch):
    where = "jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version"
    monkeypatch.setattr(where, lambda: 91_000)

    def loss(*arrays):
        options = {"causal": causal, "impl": "fused", "scale": 0.25}
        return attend(*arrays, parse(spec)[0], **options).astype(jnp.float32).sum()

    traced = jax.jit(jax.grad(loss, (0, 1, 2))).trace(*draw(96, dtype="bfloat16"))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert set(re.findall(r"@(__cudnn\$\w+)", text)) == {
        "__cudnn$fmhaSoftmax",
        "__cudnn$fmhaSoftmaxBackward",
    }
    found = dict(re.findall(r"\\22(mask_type|fmha_scale|sliding_window_length)\\22: ([^,]+)", text))
    assert found == {
        "mask_type": r"\22CAUSAL\22" if causal else r"\22NO_MASK\22",
        "fmha_scale": "0.25",
        "sliding_window_length": "7" if "banded" in spec else "0",
    }


@pytest.mark.parametrize(("spec", "causal"), CUDNN)
def test_what_cudnn_is_asked_for_is_the_pattern(spec, causal, gpu, monkeypatch):
    plain = jax.nn.dot_product_attention

    def by_xla(*arrays, implementation, **options):
        assert implementation == "cudnn"
        arrays = (x.astype(jnp.float32) for x in arrays)
        return plain(*arrays, implementation="xla", **options).astype(jnp.bfloat16)

    monkeypatch.setattr(jax.nn, "dot_product_attention", by_xla)
    arrays = draw(33, dtype="bfloat16")
    check_equal(arrays, parse(spec)[0], atol=0.06, causal=causal, scale=0.3)
