"""What tests of attention compare with: examples of every registered pattern, and their table.

The predicates of `TABLE` are written anew, on single positions, from the papers' definitions.
"""

import dataclasses
import itertools
import typing

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
    """Whether query i may attend to key j: by the table, or for a new pattern by its own word."""
    name = next(name for name in PATTERNS if PATTERNS.get(name) is type(pattern))
    rule = TABLE.get(name, lambda p, i, j: bool(p(i, j)))
    return rule(pattern, i, j) and (j <= i or pattern.states_order or not causal)
