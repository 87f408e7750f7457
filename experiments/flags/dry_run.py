"""Flags of a dry run, and what it says: whether a run fits, and if it does not, what would.

python -m experiments.train --experiment=gpt2_small --dry_run --device_memory_gib=80 --devices=8
"""

import json
import math
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from gptjax.config import ExperimentConfig
from gptjax.runs.planning.choices import MOST_DEVICES, TARGETS

if TYPE_CHECKING:
    from gptjax.runs.planning.fitting import Fit

FLAGS = flags.FLAGS
_DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Whether to report memory and FLOPs of the run, on any mesh, and train nothing. Where the run "
    "does not fit, a command that fits is printed.",
)
_DEVICE_MEMORY_GIB = flags.DEFINE_float(
    "device_memory_gib",
    None,
    "With --dry_run: memory of a device in GiB, which the need is compared with.",
    lower_bound=0.0,
)
_DEVICES = flags.DEFINE_integer(
    "devices",
    None,
    "With --dry_run: number of devices that the run may use. Without it, those of its mesh.",
    lower_bound=1,
    upper_bound=MOST_DEVICES,
)


_COMPILE_FOR = flags.DEFINE_enum(
    "compile_for",
    None,
    TARGETS,
    "With --dry_run: the device whose program is compiled, in place of a CPU's. It need not be at "
    "hand, but JAX's plugin for it: libtpu, or jax[cuda12].",
)


def is_dry_run() -> bool:
    """Whether --dry_run is given."""
    return _DRY_RUN.value


def dry_run_as_flags_say(config: ExperimentConfig) -> None:
    """Prints the figures of a resolved `config`, what would fit, and all of it as one JSON line.

    Raises:
      ValueError: as `dry_run`.
    """
    from gptjax.runs.planning.dry_run import dry_run, dry_run_lines
    from gptjax.runs.planning.fitting import fitting

    figures = dry_run(config, _DEVICE_MEMORY_GIB.value, _DEVICES.value, _COMPILE_FOR.value)
    print("\n".join(dry_run_lines(figures)), flush=True)
    row = {"experiment": FLAGS.experiment, **figures}
    if figures["estimated_to_fit"] is False:
        devices = _DEVICES.value or math.prod(figures["mesh"].values())
        fit = fitting(config, figures, devices)
        command = None if fit is None else _command(sys.argv[1:], fit.changes)
        print("\n".join(_lines(fit, command)))
        row["proposal"] = fit and {
            "devices": fit.devices,
            "estimated_total_bytes": fit.estimated_total_bytes,
            "command": command,
        }
    print(json.dumps(row))


def _lines(fit: "Fit | None", command: str | None) -> Iterator[str]:
    from gptjax.runs.planning.dry_run import GIB

    if fit is None:
        yield f"nothing that was tried fits, on up to {MOST_DEVICES:,} devices"
        return
    gib = fit.estimated_total_bytes / GIB
    on = "1 device" if fit.devices == 1 else f"{fit.devices:,} devices"
    yield f"on {on} it should fit, with {gib:,.3f} GiB on each, as"
    for path, value in fit.changes.items():
        yield f"  {f'{path}={value}':42} {fit.prices[path]}"
    yield f"  {command}"


def _command(given: Sequence[str], changes: Mapping[str, Any]) -> str:
    """The command line without the dry run, with a work directory, and new values of fields."""
    new = {f"config.{path}": str(value) for path, value in changes.items()}
    dropped = {"dry_run", "device_memory_gib", "devices", "compile_for", *new}
    kept, arguments = [], iter(given)
    for argument in arguments:
        name, equals, _ = argument.lstrip("-").partition("=")
        if name not in dropped:
            kept.append(argument)
        elif not equals and name != "dry_run":
            next(arguments)  # the value of --name value
    if FLAGS["workdir"].value is None:
        kept.append(f"--workdir=runs/{FLAGS.experiment.rpartition(':')[2]}")
    return shlex.join(
        ["python", "-m", "experiments.train", *kept, *(f"--{name}={x}" for name, x in new.items())]
    )
