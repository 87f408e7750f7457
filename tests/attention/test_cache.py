import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.attention import attend, cached_attend, init_cache
from gptjax.attention.patterns import Dense

LENGTHS = np.array([11, 6])  # two prompts of a batch, the second padded
TOTAL = 17


@pytest.mark.parametrize("impl", ["auto", "blockwise"])
def test_prompt_then_chunks_then_tokens_equal_the_full_forward(pattern, impl):
    random = np.random.default_rng(0)
    q, k, v = (
        jnp.asarray(random.normal(size=(2, TOTAL, heads, 8)), jnp.float32) for heads in (4, 2, 2)
    )
    full = attend(q, k, v, pattern, impl="reference")
    step = jax.jit(lambda *x: cached_attend(*x[:4], pattern, x[4], impl=impl))
    cache = init_cache(2, 24, num_kv_heads=2, head_dim=8, dtype=jnp.float32)
    done = np.zeros(2, int)
    for size in (LENGTHS, np.array([3, 3]), *[np.array([1, 1])] * 3):
        offsets = np.arange(size.max())
        positions = np.where(offsets < size[:, None], done[:, None] + offsets, -1)
        chunk = [x[np.arange(2)[:, None], np.maximum(positions, 0)] for x in (q, k, v)]
        out, cache = step(*chunk, cache, jnp.asarray(positions))
        for b in range(2):
            np.testing.assert_allclose(
                out[b, : size[b]], full[b, done[b] : done[b] + size[b]], atol=1e-5
            )
        done += size
    np.testing.assert_array_equal((np.asarray(cache.positions) >= 0).sum(1), done)


def test_padding_and_positions_past_the_end_leave_the_cache_as_it_was():
    cache = init_cache(1, 4, num_kv_heads=1, head_dim=2, dtype=jnp.float32)
    new = jnp.ones((1, 3, 1, 2))
    q = jnp.ones((1, 3, 1, 2))
    _, cache = cached_attend(q, new, new, cache, Dense(), jnp.array([[-1, 2, 4]]))
    np.testing.assert_array_equal(cache.positions, [[-1, -1, 2, -1]])
    np.testing.assert_array_equal(cache.k[0, :, 0, 0], [0, 0, 1, 0])


def test_a_cache_goes_through_a_scan_over_layers():
    one = init_cache(2, 8, num_kv_heads=2, head_dim=4, dtype=jnp.float32)
    stacked = jax.tree.map(lambda x: jnp.stack([x] * 3), one)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 2, 4)), jnp.float32)

    def layer(x, cache):
        return cached_attend(x, x, x, cache, Dense(), jnp.arange(5))

    out, caches = jax.jit(lambda x, c: jax.lax.scan(layer, x, c))(x, stacked)
    for _ in range(3):
        x = attend(x, x, x, Dense(), impl="reference")
    np.testing.assert_allclose(out, x, atol=1e-6)
    assert caches.k.shape == (3, 2, 8, 2, 4)
