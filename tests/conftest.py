"""The environment of every test, set before jax is imported; child processes inherit it.

Eight virtual CPU devices, strict dtype promotion, and no silent rank promotion. Compiled programs
are kept in the user's cache folder, so that a second run of the suite is a fraction of the first.
Compiling small programs is most of the suite's time: LLVM optimises nothing, and before jaxlib 0.11
XLA's fusions are emitted by the plainer of its two ways, which takes two fifths of the time.
"""

import gc
import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

USER_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

MOST_MAPPINGS = 45_000

XLA_FLAGS = ["--xla_backend_optimization_level=0"]
if tuple(map(int, metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    XLA_FLAGS.append("--xla_cpu_use_fusion_emitters=false")  # gone later; an unknown flag is fatal

os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": " ".join(XLA_FLAGS),
    "JAX_NUM_CPU_DEVICES": "8",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_COMPILATION_CACHE_DIR": str(USER_CACHE / "gptjax" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",  # else the folder's path is part of every key
}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of sample data sets beside the repository, or where GPTJAX_SHARED_DATA says."""
    folder = Path(os.environ.get("GPTJAX_SHARED_DATA", SHARED_DATA))
    if not folder.is_dir():
        pytest.skip(f"no sample data at {folder}; set GPTJAX_SHARED_DATA to have this test run")
    return folder


gc.disable()  # while modules are imported it would look at all of them, again and again


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spares the garbage collector what lives to the end: a tenth of the suite's time."""
    del session
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Collects once what tests have left, where pytest does so five times for seconds each."""
    del session
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Lets go of compiled programs between files, before the process has too many memory mappings.

    Each program takes some ten, and Linux allows 65,530 (vm.max_map_count): XLA crashes at more.
    The tests of one file add 10,000 at most. What a file leaves, programs above all, the garbage
    collector need not look at again, which took seconds each time.
    """
    if nextitem is None or nextitem.path == item.path:
        return
    gc.collect()  # of this file's objects alone: those of earlier ones are frozen
    gc.freeze()
    if sys.platform != "linux":
        return
    with open("/proc/self/maps") as maps:
        if sum(1 for _ in maps) < MOST_MAPPINGS:
            return
    import jax  # after the environment above

    jax.clear_caches()
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --proof, as `make proof` runs it."""
    parser.addoption("--proof", action="store_true", help="attention: the full product of cases")
