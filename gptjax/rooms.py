"""Public names of a room, each of which is imported when it is first asked for.

    if TYPE_CHECKING:
        from gptjax.runs.workdir import WorkDirectory

    __all__ = ["WorkDirectory"]
    __getattr__, __dir__ = public_names(__name__)

So a module without JAX loads none because its room has names of modules that do, and a command
loads what it uses alone. The imports stand once, where type checkers read them, too.
"""

import ast
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any


def public_names(room: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and the `__dir__` of a package (PEP 562).

    Args:
      room: its `__name__`; its source says `from MODULE import NAME` of each of its names.
    """
    package = sys.modules[room]

    @functools.cache
    def places() -> Mapping[str, str]:
        tree = ast.parse(inspect.getsource(package))
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        return {each.name: str(node.module) for node in imports for each in node.names}

    def get(name: str) -> Any:
        if name not in package.__all__:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(places()[name]), name)
        setattr(package, name, value)  # asked for once
        return value

    return get, lambda: sorted({*vars(package), *package.__all__})
