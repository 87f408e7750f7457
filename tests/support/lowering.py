"""Less time to lower programs, which takes longer than to run what tests compute.

lowering = Lowering()
lowering.shorten()
lowering.renew()  # after each file
"""

import functools
import threading
from typing import Any


class Lowering(threading.local):
    """The MLIR context of a thread, in which it lowers all programs of a file.

    JAX makes one for each program, or for each ten from 0.12 on: it takes 4 ms of the 20 that a
    small program takes.
    """

    def __init__(self) -> None:
        self._context: Any = None

    def shorten(self) -> None:
        """Has JAX lower in one context, and trace what it draws random bits by once a shape."""
        from jax._src.interpreters import mlir

        make = mlir.make_ir_context

        def held() -> Any:
            self._context = self._context or make()
            return self._context

        mlir.make_ir_context = held
        _trace_threefry_once()

    def renew(self) -> None:
        """Forgets what has been lowered."""
        self._context = None


def _trace_threefry_once() -> None:
    """The rule of a CPU traces 20 rounds for random bits of each shape, in each program anew."""
    import jax
    from jax._src.random import threefry2x32
    from jax.extend.core import jaxpr_as_fun
    from jax.interpreters import mlir

    rule = functools.partial(threefry2x32._threefry2x32_lowering, use_rolled_loops=True)

    @functools.cache
    def traced(*avals: Any) -> Any:
        return jaxpr_as_fun(jax.make_jaxpr(rule)(*(jax.ShapeDtypeStruct(*x) for x in avals)))

    def hashed(*given: Any) -> Any:
        return traced(*((x.shape, x.dtype) for x in given))(*given)

    lowered = mlir.lower_fun(hashed, multiple_results=True)
    mlir.register_lowering(threefry2x32.threefry2x32_p, lowered, platform="cpu")
