"""Caches of tokens and compiled programs, kept between runs.

enable_compilation_cache()
"""

import os
from pathlib import Path

import jax


def cache_directory() -> Path:
    """Directory of cached tokens and compiled programs: $GPTJAX_CACHE, or ~/.cache/gptjax."""
    return Path(os.environ.get("GPTJAX_CACHE") or Path.home() / ".cache" / "gptjax")


def enable_compilation_cache() -> None:
    """Keeps compiled programs on disk, so that a second start takes seconds."""
    jax.config.update("jax_compilation_cache_dir", str(cache_directory() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # Else the folder's path is part of every key, and a cache that moves is empty.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
