"""Changes with which a run fits into the memory of its devices, each tried by a dry run.

found = fitting(config, dry_run(config, device_memory_gib=80, devices=8), devices=8)

What computes the same comes first: more microbatches and, on several devices, a mesh that divides
the parameters. Then comes what the kind of run has to offer (`Kind.savings`), one after another,
and at last twice as many devices.
"""

import contextlib
import copy
import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from gptjax.config import ExperimentConfig, ParallelismConfig, resolve
from gptjax.runs.kind import kind_of
from gptjax.runs.planning.choices import MOST_DEVICES
from gptjax.runs.planning.dry_run import estimated_bytes, held

Changes = dict[str, Any]  # values by the paths of fields


@dataclasses.dataclass(frozen=True)
class Fit:
    """A way to run.

    Attributes:
      devices: how many it takes.
      changes: the new values, by the paths of their fields.
      prices: what each costs, by the same paths.
      estimated_total_bytes: on each device, as a dry run estimates them.
    """

    devices: int
    changes: Changes
    prices: Mapping[str, str]
    estimated_total_bytes: int


def fitting(config: ExperimentConfig, figures: Mapping[str, Any], devices: int) -> Fit | None:
    """The first change of a resolved `config` that fits into the memory of each device.

    Args:
      config: of any kind.
      figures: its own dry run, with `device_memory_bytes`.
      devices: how many there are; where nothing fits on them, twice as many are tried, and so on.

    Returns:
      None where nothing that is tried fits on up to MOST_DEVICES.
    """
    search = _Search(config, figures)
    while devices <= MOST_DEVICES:
        found = search.on(devices)
        if found is not None:
            return found
        devices *= 2
    return None


class _Search:
    """Tries changes of one configuration; what was tried once is known."""

    def __init__(self, config: ExperimentConfig, figures: Mapping[str, Any]):
        self._config, self._memory = config, figures["device_memory_bytes"]
        as_given = math.prod(figures["mesh"].values()), frozenset()
        self._held_bytes: dict[Any, float] = {}
        self._estimated: dict[Any, float] = {as_given: figures["estimated_total_bytes"]}
        given = config.training.accumulate
        more = (n for n in _divisors(config.training.batch_size) if n > given)
        self._counts = [given, *more]

    def on(self, devices: int) -> Fit | None:
        """What fits on so many devices."""
        for mesh in _meshes(self._config.parallelism, devices):
            if self._held(mesh, devices) == math.inf:
                continue
            found = self._on_mesh(mesh, devices)
            if found is not None:
                return found
            if mesh:
                break  # the others divide the parameters no more than this one
        return None

    def _on_mesh(self, mesh: Changes, devices: int) -> Fit | None:
        savings = list(kind_of(self._config).savings(self._config))
        levels = [mesh]
        for path, value, _ in savings:
            levels.append(levels[-1] | {path: value})
        prices = {path: price for path, _, price in savings} | {
            "training.accumulate": "the same results to rounding, but for dropout's random bits",
            **dict.fromkeys(mesh, "the same results to 1e-5"),
        }
        for level in levels:
            changes = self._in_microbatches(level, devices)
            if changes is None and level is levels[0]:
                ends = reversed(self._ends(levels[-1], devices))
                if not any(self._fits(changes, devices) for changes in ends):
                    return None  # nor does anything between the two
            elif changes is not None:
                prices = {path: prices[path] for path in changes}
                return Fit(devices, changes, prices, int(self._bytes(changes, devices)))
        return None

    def _ends(self, level: Changes, devices: int) -> list[Changes]:
        """`level` in as few microbatches as are given, and in as many as can be had."""
        counts = (level | {"training.accumulate": count} for count in reversed(self._counts[1:]))
        most = (changes for changes in counts if self._held(changes, devices) < math.inf)
        return [level, *itertools.islice(most, 1)]

    def _in_microbatches(self, level: Changes, devices: int) -> Changes | None:
        """`level` in the fewest microbatches with which it fits, or None.

        Bytes are close to a constant and a part in proportion to the rows of a microbatch: two
        numbers of microbatches tell both, and from which number on a try is worth it.
        """
        few, *others = self._ends(level, devices)
        if self._fits(few, devices):
            return few
        if not others or not self._fits(others[0], devices):
            return None
        most = others[0]["training.accumulate"]
        low, high = self._bytes(others[0], devices), self._bytes(few, devices)
        of_batch = (high - low) / (1 / self._counts[0] - 1 / most)
        for count in self._counts[1:]:
            changes = level | {"training.accumulate": count}
            expected = low + of_batch * (1 / count - 1 / most)
            if expected <= self._memory and self._fits(changes, devices):
                return changes
        raise AssertionError("the most microbatches fit")

    def _fits(self, changes: Changes, devices: int) -> bool:
        return self._bytes(changes, devices) <= self._memory

    def _held(self, changes: Changes, devices: int) -> float:
        """Bytes held throughout; infinite where the run cannot be had, or not on all devices."""
        key = devices, frozenset(changes.items())
        if key not in self._held_bytes:
            total = math.inf
            with contextlib.suppress(ValueError):
                of_run = held(_changed(self._config, changes), devices)
                if of_run.mesh.size == devices:
                    total = sum(of_run.bytes.values())
            self._held_bytes[key] = total
        return self._held_bytes[key]

    def _bytes(self, changes: Changes, devices: int) -> float:
        """Estimated bytes; those that are held alone where they are too many already."""
        key = devices, frozenset(changes.items())
        if key not in self._estimated:
            total = self._held(changes, devices)
            if total <= self._memory:
                config = _changed(self._config, changes)
                total = estimated_bytes(config, held(config, devices))
            self._estimated[key] = total
        return self._estimated[key]


def _meshes(given: ParallelismConfig, devices: int) -> Iterator[Changes]:
    """Divisions over so many devices: as given, then parameters as often as they can be divided."""
    yield {}
    rest, remainder = divmod(devices, given.tensor * given.sequence)
    if devices == 1 or remainder:
        return
    for further in _divisors(rest):
        wanted = {
            "strategy": "mesh",
            "data": given.data and 1,
            "fsdp": rest // further,
            "tensor": given.tensor * further,
        }
        changed = {name: x for name, x in wanted.items() if x != getattr(given, name)}
        if changed:
            yield {f"parallelism.{name}": x for name, x in changed.items()}


def _changed(config: ExperimentConfig, changes: Changes) -> ExperimentConfig:
    config = copy.deepcopy(config)
    for path, value in changes.items():
        section, name = path.split(".")
        setattr(getattr(config, section), name, value)
    return resolve(config)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
