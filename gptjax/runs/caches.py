"""Caches of tokens and compiled programs, kept between runs.

enable_compilation_cache()
"""

import os
import tempfile
from pathlib import Path


def provide_home() -> None:
    """Gives a process whose user has no home one in the folder for temporary files, as $HOME.

    So it is in a container that runs under a mere number. Libraries ask for a home, too.
    """
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = str(_temporary())


def cache_directory() -> Path:
    """Directory of cached tokens and compiled programs: $GPTJAX_CACHE, or ~/.cache/gptjax.

    Where there is no home, or it cannot be written, they are in the folder for temporary files.
    """
    if given := os.environ.get("GPTJAX_CACHE"):
        return Path(given).expanduser()
    provide_home()
    kept = Path.home() / ".cache" / "gptjax"
    nearest = next(each for each in (kept, *kept.parents) if each.exists())
    return kept if os.access(nearest, os.W_OK) else _temporary()


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"gptjax-{os.getuid()}"


def enable_compilation_cache() -> None:
    """Keeps compiled programs on disk, so that a second start takes seconds."""
    import jax  # here alone: what names the folders loads none

    jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # Else the folder's path is part of every key, and a cache that moves is empty.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
