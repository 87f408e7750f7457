"""Provenance of a figure, written beside it.

write_json(path, {**figures, **provenance()})
"""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def provenance() -> dict[str, Any]:
    """Commit, versions and hardware of this process."""
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    devices = jax.devices()
    return {
        "commit": git.stdout.strip() or None,
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
        "hardware": {
            "devices": f"{len(devices)} x {devices[0].device_kind}",
            "machine": platform.machine(),
            "cpu_cores": len(os.sched_getaffinity(0)),
        },
    }
