import contextlib
import fnmatch
import json

import numpy as np
import pytest

from experiments.benchmarks import attention as suite
from experiments.benchmarks.attention import CPU_TARGETS, AttentionSizes, measure_attention
from gptjax.attention import PATTERNS, parse
from gptjax.attention.registered_patterns import registered_patterns

TINY = AttentionSizes(
    dense=300, sparse=600, growth=(300, 600), window=64, large=64, small=4, heads=2, head_dim=8
)
SPARSE = parse("banded(window=64),strided(stride=64,part=2)")


@contextlib.contextmanager
def no_torch(module, **arguments):
    raise ValueError("not here")
    yield


@contextlib.contextmanager
def some_torch(module, **arguments):
    yield lambda: 1.0, "torch 0.0"


def one_second_each(programs, rounds):
    return {name: [1.0] * rounds for name in programs}


def leaves(figures, path=""):
    for name, value in figures.items():
        here = f"{path}{name}"
        if isinstance(value, dict) and "target" not in value:
            yield from leaves(value, f"{here}.")
        else:
            yield here, value


@pytest.fixture(scope="module", params=[some_torch, pytest.param(no_torch, marks=pytest.mark.slow)])
def figures(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "torch_program", request.param)
        patch.setattr(suite, "interleaved", one_second_each)
        patch.setattr(suite, "registered_patterns", lambda large, small: [*parse("dense"), *SPARSE])
        return request.param, measure_attention(TINY)


@pytest.mark.slow
def test_figures_stand_beside_their_targets(figures):
    torch, values = figures
    found = dict(leaves(json.loads(json.dumps(values))))
    for key in CPU_TARGETS:
        judged = [value for path, value in found.items() if fnmatch.fnmatchcase(path, key)]
        with_torch = "sdpa" in key or "flex" in key
        assert bool(judged) == (torch is some_torch or not with_torch)
        assert all(set(value) == {"value", "target", "met"} for value in judged)
    reasons = [value for path, value in found.items() if path.endswith((".sdpa", ".flex"))]
    assert reasons == (["not here"] * 3 if torch is no_torch else [])


def test_figures_of_programs_that_take_a_second_each(figures):
    _, values = figures
    pairs, per_pair = 300 * 301 / 2, 2 * 8  # of two heads of eight
    for direction, flops in (("forward", 4), ("forward_backward", 12)):
        useful = dict(leaves(values["dense"][direction]))["useful_over_matmul_peak"]
        useful = useful if direction == "forward" else useful["value"]
        assert useful == pytest.approx(flops * pairs * per_pair)
        share = values["sparse"][direction]["share_of_dense"]
        assert list(share) == [str(pattern) for pattern in SPARSE]
        over = values["sparse"][direction]["over_share_of_dense"]
        assert over["strided(stride=64,part=2)"] == {
            "value": pytest.approx(1),
            "target": "at most 1.5",
            "met": True,
        }
        assert over["banded(window=64)"]["value"] == pytest.approx(1 / share["banded(window=64)"])
        assert values["growth"][direction]["over_proportion"]["value"] == 0.5
    memory = values["dense"]["forward_backward"]
    assert memory["xla_bytes"] > 2 * 300**2 * 4 * 2 > 0  # a score and a weight a pair
    assert values["growth"]["forward_backward"]["bytes"]["value"] > 8 * 600 * 16 * 4


def test_every_registered_pattern_is_measured():
    patterns = registered_patterns(large=64, small=4)
    assert {type(pattern) for pattern in patterns} == {PATTERNS.get(name) for name in PATTERNS}
    texts = [str(pattern) for pattern in patterns]
    assert len(set(texts)) == len(texts)
    assert {f"strided(stride=64,part={part})" for part in (1, 2, "both")} <= set(texts)
    assert np.all(
        [parse(text) == (pattern,) for text, pattern in zip(texts, patterns, strict=True)]
    )
