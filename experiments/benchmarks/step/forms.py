"""The rate of a matrix product in each of the forms that a program may give it.

rates = product_rates(Product(1, 4096, 1536, 384, "forward"))
max(rates, key=rates.get)   # "x @ w"
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.interleaved import TimedProgram, interleaved
from experiments.benchmarks.step.operations import Product

ROUNDS = 3
# Products of a program, of operands of their own, as those of several layers; large ones are alone.
AT_ONCE, LARGE_FLOP = 3, 2e10

Form = Callable[[jax.Array, jax.Array], jax.Array]


def product_rates(product: Product, rounds: int = ROUNDS) -> dict[str, float]:
    """GFLOP a second of the product in each form, float32, by interleaved rounds.

    Forms differ in which operands are stored transposed and in what is cut in two, since two
    products of a batch run on two cores.
    """
    count = AT_ONCE if product.flop < LARGE_FLOP else 1
    even = product.rows % 2 == product.contracted % 2 == 0
    programs = {
        name: _timed(product, form, left, right, count)
        for name, (form, left, right) in FORMS.items()
        if even or "in two" not in name
    }
    seconds = interleaved(programs, rounds)
    flop = product.flop * count
    return {name: flop / statistics.median(taken) / 1e9 for name, taken in seconds.items()}


def _timed(product: Product, form: Form, left: bool, right: bool, count: int) -> TimedProgram:
    """A program of the form; `left`, `right`: whether the operand is stored transposed."""
    random = np.random.default_rng(0)

    def stored(rows: int, columns: int, transposed: bool) -> jax.Array:
        shape = (columns, rows) if transposed else (rows, columns)
        return jnp.asarray(random.standard_normal(shape, np.float32))

    pairs = [
        (
            stored(product.rows, product.contracted, left),
            stored(product.contracted, product.columns, right),
        )
        for _ in range(count)
    ]
    program = jax.jit(lambda pairs: [form(x, w) for x, w in pairs])
    jax.block_until_ready(program(pairs))

    def run() -> float:
        began = time.perf_counter()
        jax.block_until_ready(program(pairs))
        return time.perf_counter() - began

    return run


def _contracting(left: int, right: int) -> Form:
    return lambda x, w: jax.lax.dot_general(x, w, (((left,), (right,)), ((), ())))


def _rows_in_two(x: jax.Array, w: jax.Array) -> jax.Array:
    halves = x.reshape(2, -1, x.shape[1])
    return jnp.einsum("pmk,pkn->pmn", halves, jnp.broadcast_to(w, (2, *w.shape)))


def _contracted_in_two(x: jax.Array, w: jax.Array) -> jax.Array:
    halves = x.reshape(2, -1, x.shape[1]), w.reshape(2, -1, w.shape[1])
    return jnp.einsum("pkm,pkn->pmn", *halves).sum(0)


# By name: the form, and whether its left and its right operand are stored transposed.
FORMS: dict[str, tuple[Form, bool, bool]] = {
    "x @ w": (_contracting(1, 0), False, False),
    "x @ w.T": (_contracting(1, 1), False, True),
    "x.T @ w": (_contracting(0, 0), True, False),
    "x.T @ w.T": (_contracting(0, 1), True, True),
    "x @ w, rows in two": (_rows_in_two, False, False),
    "x.T @ w, contracted in two": (_contracted_in_two, True, False),
}
