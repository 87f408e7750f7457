"""What tests of attention compare with: patterns as a table, attention as NumPy loops in float64.

The predicates of `TABLE` are written anew, on single positions, from the papers' definitions. A
pattern that is registered without a row there is tested with its own word for its predicate.
"""

import dataclasses
import itertools
import typing

import numpy as np

from gptjax.attention import PATTERNS
from gptjax.attention.patterns import Heads, Strided

SIZES = (7, 3, 2)  # of the first, the second, ... field


def examples():
    """One pattern of each registered class, and one more for each choice of its Literal fields."""
    made = []
    for name in PATTERNS:
        kind = PATTERNS.get(name)
        if kind is Heads:
            made.append(Heads((Strided(7, part=1), Strided(7, part=2))))
            continue
        hints = typing.get_type_hints(kind)
        sizes = iter(SIZES)
        values = {
            f.name: next(sizes)
            for f in dataclasses.fields(kind)
            if f.default is dataclasses.MISSING
        }
        literals = [f for f in dataclasses.fields(kind) if hasattr(hints[f.name], "__args__")]
        for options in itertools.product(*(hints[f.name].__args__ for f in literals)):
            choice = dict(zip((f.name for f in literals), options, strict=True))
            made.append(kind(**values, **choice))
    return made


EXAMPLES = examples()


def _part(pattern, first, second):
    return {1: first, 2: second, "both": first or second}[pattern.part]


def _fixed(p, i, j):
    summary = p.stride - p.summary * (p.offset + 1) <= j % p.stride
    summary = summary and j % p.stride < p.stride - p.summary * p.offset
    return _part(p, i // p.stride == j // p.stride, summary)


TABLE = {
    "dense": lambda p, i, j: True,
    "banded": lambda p, i, j: abs(i - j) < p.window,
    "block_local": lambda p, i, j: i // p.block == j // p.block,
    "strided": lambda p, i, j: _part(
        p, abs(i - j) <= p.stride, abs(i - j) in range(0, 10**6, p.stride)
    ),
    "fixed": _fixed,
    "dilated": lambda p, i, j: abs(i - j) in [n * p.dilation for n in range(p.window)],
    "sinks": lambda p, i, j: abs(i - j) < p.window or j < p.sinks,
    "longformer": lambda p, i, j: abs(i - j) < p.window or min(i, j) < p.global_tokens,
    "logsparse": lambda p, i, j: abs(i - j) < p.window or abs(i - j) in [2**n for n in range(20)],
    "prefix": lambda p, i, j: j <= i or (i < p.length and j < p.length),
    "block_causal": lambda p, i, j: j // p.block <= i // p.block,
}


def attends(pattern, i, j, *, causal):
    """Whether query i may attend to key j."""
    name = next(name for name in PATTERNS if PATTERNS.get(name) is type(pattern))
    rule = TABLE.get(name, lambda p, i, j: bool(p(i, j)))
    return rule(pattern, i, j) and (j <= i or pattern.states_order or not causal)


def effective(pattern, heads, num_queries, num_keys, *, causal=True, segments=None):
    """Who may attend in a batch: bool [B, H, T, S]; segments [B, T] or None."""
    cycle = pattern.per_head()
    batch = 1 if segments is None else len(segments)
    allowed = np.zeros((batch, heads, num_queries, num_keys), bool)
    for h, i, j in np.ndindex(heads, num_queries, num_keys):
        allowed[:, h, i, j] = attends(cycle[h % len(cycle)], i, j, causal=causal)
    if segments is not None:  # each as if alone, its positions from 0
        for b, i, j in np.ndindex(batch, num_queries, num_keys):
            first = list(segments[b]).index(segments[b][i])
            together = segments[b][i] == segments[b][j] >= 0
            for h in range(heads):
                pattern = cycle[h % len(cycle)]
                allowed[b, h, i, j] = together and attends(
                    pattern, i - first, j - first, causal=causal
                )
    return allowed


@dataclasses.dataclass
class Bend:
    """A score change in NumPy, cap * tanh(s / cap) - slope * (i - j), with its derivatives."""

    cap: float
    slopes: np.ndarray

    def __call__(self, scores, h, i, js):
        bent = np.tanh(scores / self.cap)
        distance = i - np.asarray(js)
        slope_bar = np.zeros((len(js), len(self.slopes)))
        slope_bar[:, h] = -distance
        cap_bar = bent - scores / self.cap * (1 - bent**2)
        return self.cap * bent - self.slopes[h] * distance, 1 - bent**2, cap_bar, slope_bar


def attention(q, k, v, out_bar, lse_bar, allowed, keep, bend=None):
    """Output, log-sum-exp, and the gradients of q, k, v, and of the score's cap and slopes.

    One query of one head at a time, in float64; `allowed` and `keep` (dropout's factors) are
    [B, H, T, S].
    """
    q, k, v, out_bar, lse_bar = (np.asarray(x, np.float64) for x in (q, k, v, out_bar, lse_bar))
    scale, groups = q.shape[-1] ** -0.5, q.shape[2] // k.shape[2]
    out, lse = np.zeros_like(out_bar), np.full(q.shape[:3], -np.inf)
    q_bar, k_bar, v_bar = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    cap_bar, slopes_bar = 0.0, np.zeros(1 if bend is None else len(bend.slopes))
    for b, i, h in np.ndindex(q.shape[:3]):
        js = np.flatnonzero(allowed[b % len(allowed), h, i])
        if not len(js):
            continue
        keys, values = k[b, js, h // groups], v[b, js, h // groups]
        scores = scale * keys @ q[b, i, h]
        slope, cap_slope, slopes_slope = 1.0, 0.0, np.zeros((len(js), 1))
        if bend is not None:
            scores, slope, cap_slope, slopes_slope = bend(scores, h, i, js)
        weights = np.exp(scores)
        lse[b, i, h] = np.log(weights.sum())
        weights /= weights.sum()
        kept = weights * keep[b, h, i, js]
        out[b, i, h] = kept @ values
        v_bar[b, js, h // groups] += np.outer(kept, out_bar[b, i, h])
        weights_bar = keep[b, h, i, js] * (values @ out_bar[b, i, h])
        bar = weights * (weights_bar - out_bar[b, i, h] @ out[b, i, h] + lse_bar[b, i, h])
        cap_bar += (bar * cap_slope).sum()
        slopes_bar += bar @ slopes_slope
        q_bar[b, i, h] = scale * (bar * slope) @ keys
        k_bar[b, js, h // groups] += scale * np.outer(bar * slope, q[b, i, h])
    return out, lse, q_bar, k_bar, v_bar, cap_bar, slopes_bar
