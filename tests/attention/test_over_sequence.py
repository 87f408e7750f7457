import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from gptjax.attention import attend, parse, scores
from gptjax.attention.implementations.context_parallel import context_parallel
from tests.attention.sections import ALONE, Sections

LENGTH, SHARES = 24, 4
both_ways = pytest.mark.parametrize("way", ["gather", "ring"])


def _sharding(data, tensor=1, over_heads="tensor"):
    shape, axes = (data, SHARES, tensor), ("data", "sequence", "tensor")
    devices = jax.devices()[: data * SHARES * tensor]
    mesh = jax.make_mesh(shape, axes, axis_types=(AxisType.Auto,) * 3, devices=devices)
    return NamedSharding(mesh, P("data", "sequence", over_heads))


def _arrays(heads=2, key_heads=2, length=LENGTH):
    rng = np.random.default_rng(0)
    shapes = ((2, length, n, 4) for n in (heads, key_heads, key_heads))
    return [jax.device_put(rng.normal(size=shape).astype(np.float32)) for shape in shapes]


def _output_and_gradients(attention, arrays, score=None, **options):
    weights = jax.device_put(
        np.random.default_rng(1).normal(size=arrays[0].shape).astype(np.float32)
    )

    def loss(q, k, v, score):
        out = attention(q, k, v, score=score, **options)
        return jnp.sum(out * weights), out

    gradient = jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)
    (_, out), grads = jax.jit(gradient)(*arrays, score)
    return jax.tree.leaves(jax.device_get((out, grads)))


def _assert_as_on_one_device(sharding, way, arrays, score=None, **options):
    expected = _output_and_gradients(
        functools.partial(attend, impl="reference"), arrays, score, **options
    )
    divided = [jax.device_put(x, sharding) for x in arrays]
    found = _output_and_gradients(context_parallel(sharding, way), divided, score, **options)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_the_ring_computes_every_pattern_in_a_section_of_one_text():
    arrays = _arrays(length=-(-23 * len(ALONE) // SHARES) * SHARES)
    pattern = Sections(tuple(ALONE), 23)
    _assert_as_on_one_device(_sharding(data=1), "ring", arrays, pattern=pattern)


@pytest.mark.slow
def test_the_ring_computes_every_pattern(pattern):
    _assert_as_on_one_device(_sharding(data=1), "ring", _arrays(), pattern=pattern)


@both_ways
def test_segments_scores_groups_and_divided_heads_equal_one_device(way):
    """Segments with padding, and so rows without a key; a learned score whose heads count on."""
    rng = np.random.default_rng(2)
    segments = jax.device_put(np.sort(rng.integers(-1, 3, (2, LENGTH)), axis=1).astype(np.int32))
    table = jax.device_put(rng.normal(size=(32, 4)).astype(np.float32))
    score = scores.bind(scores.parse("relative_bias,alibi"), 4, {"relative_bias": table})
    (pattern,) = parse("heads(dense,fixed(stride=6,summary=2))")
    options = {"pattern": pattern, "segment_ids": segments}
    _assert_as_on_one_device(_sharding(1, tensor=2), way, _arrays(4, 2), score, **options)


@pytest.mark.parametrize("way", [pytest.param("gather", marks=pytest.mark.slow), "ring"])
def test_an_encoder_attends_both_ways_and_rows_are_divided_too(way):
    (pattern,) = parse("banded(window=9)")
    _assert_as_on_one_device(_sharding(2), way, _arrays(), pattern=pattern, causal=False)


def _program(way, spec, **options):
    """The program of the gradient, as text."""
    attention = context_parallel(_sharding(1), way)
    loss = lambda *x: attention(*x, parse(spec)[0], **options).sum()  # noqa: E731
    return str(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(*_arrays()))


def test_keys_go_no_further_than_the_pattern_reaches():
    """3 hops of keys, values and positions forward; backward their gradients too, and home."""
    assert "all_gather" not in (dense := _program("ring", "dense"))
    assert dense.count("ppermute[") == 3 * 3 + 3 * 5 + 2
    near = _program("ring", "banded(window=6)")  # 6 positions a device: one hop
    assert near.count("ppermute[") == 3 + 5 + 2
    assert _program("ring", "block_local(block=6)").count("ppermute[") == 0
    assert "ppermute" not in _program("gather", "dense")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dropout_rate": 0.1}, r"dropout_rate=0\.1 over a divided sequence, expected 0"),
        ({"impl": "fused"}, r"impl='fused'.*: there is no kernel for cpu"),
        ({"length": 22}, r"22 queries and 22 keys over a sequence divided 4 times"),
        (
            {"pattern": "heads(dense,dense,dense)"},
            r"2 heads a device, expected a multiple of the 3",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused(change, message):
    call = {"length": LENGTH, "pattern": "dense"} | change
    arrays = [np.asarray(x)[:, : call["length"]] for x in _arrays(4, 4)]
    options = {name: change[name] for name in ("dropout_rate", "impl") if name in change}
    divided = context_parallel(_sharding(1, tensor=2), "ring")
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(lambda *x: divided(*x, parse(call["pattern"])[0], **options), *arrays)
    assert "\n" not in str(error.value)
