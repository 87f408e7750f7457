"""Models of each kind of positions, scores and heads: decoded in chunks, and packed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.models.gpt import GPT
from gptjax.models.transformer import init_decoding, unstacked
from tests.support.tiers import tiered

RELATIVE = "relative_bias(buckets=6,max_distance=8)"
VARIANTS = {
    "grouped heads": {"num_heads": 4, "num_kv_heads": 2, "d_head": 6, "d_value": 5},
    "sinusoidal": {
        "positions": "sinusoidal",
        "score": "soft_cap(cap=2.0)",
        "attention": "dense,banded(window=3)",
        "num_layers": 3,
    },
    "rotary, one key head": {
        "positions": "rotary",
        "norm": "post",
        "num_kv_heads": 1,
        "d_value": 9,
        "tied_embeddings": False,
    },
    "yarn": {
        "positions": "rotary",
        "rotary_scaling": "yarn",
        "rotary_factor": 2.0,
        "score": f"soft_cap(cap=1.0),{RELATIVE}",
        "attention": "dense",
        "num_layers": 2,
    },
    "no positions": {"positions": "none", "score": f"{RELATIVE},alibi"},
}
ONE = {"attention": "banded(window=3)", "num_layers": 1}


@pytest.fixture(
    params=[
        *tiered([(name,) for name in VARIANTS], [(x,) for x in VARIANTS if x != "grouped heads"])
    ]
)
def variant(request, make_config):
    return make_config(**ONE | VARIANTS[request.param])


def test_decoding_in_chunks_equals_the_full_forward_pass(variant, init, tokens, logits):
    """A prompt, a chunk, then tokens; the stacked parameters for the former or for the latter."""
    params = init(variant)
    split = unstacked(params)
    assert unstacked(split) is split

    @jax.jit
    def step(params, tokens, positions, cache):
        return GPT(variant).apply(
            {"params": params}, tokens, positions=positions, cache=cache, method=GPT.decode
        )

    cache, parts = init_decoding(variant, 2, 12, jnp.float32), []
    stacked_first = variant.positions in ("learned", "rotary")
    for start, stop in ((0, 5), (5, 10), (10, 11), (11, 12)):
        positions = np.tile(np.arange(start, stop), (2, 1))
        given = params if stacked_first == (stop <= 10) else split
        part, cache = step(given, tokens[:, start:stop], positions, cache)
        parts.append(part)
    full = logits(variant, params, tokens)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), full, rtol=1e-4, atol=1e-5)


def test_packed_documents_equal_separate_ones(variant, init, tokens, logits):
    params, tokens = init(variant), np.asarray(tokens)
    positions = np.array([[*range(5), *range(6), 0], [*range(12)]], np.int32)
    segments = np.array([[0] * 5 + [1] * 6 + [-1], [4] * 12], np.int32)
    packed = logits(variant, params, tokens, positions=positions, segment_ids=segments)
    apart = np.zeros((2, 12), np.int32)  # each at the start of a row of its own
    apart[0, :5], apart[1, :6] = tokens[0, :5], tokens[0, 5:11]
    alone, plain = (logits(variant, params, rows) for rows in (apart, tokens))
    for together, separate in (
        (packed[0, :5], alone[0, :5]),
        (packed[0, 5:11], alone[1, :6]),
        (packed[1], plain[1]),
    ):
        np.testing.assert_allclose(together, separate, rtol=1e-5, atol=1e-5)
