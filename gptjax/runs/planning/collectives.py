"""Collectives of a compiled program: what devices exchange, over which axes of the mesh.

rows = collectives(compiled.as_text(), {"data": 2, "fsdp": 4})

They are read from the program after XLA has divided it. An instruction in a loop counts as often as
the loop goes round. Bytes are those of the array on one device: what an all-gather makes, what an
all-reduce or a reduce-scatter is given, what an all-to-all or a permute sends.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_BITS = {"pred": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64} | {
    f"{sign}{bits}": bits for sign in "su" for bits in (4, 8, 16, 32, 64)
}
_COMMENT = re.compile(r"/\*.*?\*/")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = (\([^=]*?\)|\S+) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_SCATTERS = "all-reduce-scatter"  # a TPU's fusion, which keeps a part of each sum
_CHANNEL = re.compile(r"channel_id=(\d+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


@dataclasses.dataclass(frozen=True, order=True)
class Collective:
    """Collectives of one kind over the same axes, in one run of a program.

    Attributes:
      axes: names of the axes of the mesh, joined by a comma; "?" where groups follow no axes.
      kind: of KINDS.
      count: how often one runs.
      bytes: of the arrays on a device, of all of them together.
      devices: in a group.
    """

    axes: str
    kind: str
    count: int
    bytes: int
    devices: int

    @property
    def sent_bytes(self) -> float:
        """Bytes that a device sends, in rings: the least that there can be."""
        return self.bytes * sent_share(self.kind, self.devices)


def sent_share(kind: str, devices: int) -> float:
    """Bytes that a device sends for each byte of `Collective.bytes`, among so many devices.

    Source: Thakur et al. 2005, Optimization of Collective Communication Operations in MPICH,
    section 4: an all-gather or a reduce-scatter sends (n - 1) / n, an all-reduce is both.
    """
    if kind == "collective-permute":
        return 1.0
    return (2 if kind == "all-reduce" else 1) * (devices - 1) / devices


def collectives(text: str, mesh: Mapping[str, int]) -> list[Collective]:
    """The collectives of a program, largest first.

    Args:
      text: of the compiled program.
      mesh: sizes of its axes in order; partitions are numbered as the mesh has its devices.
    """
    found: Counter[tuple[str, str, int]] = Counter()
    counts: Counter[tuple[str, str, int]] = Counter()
    for times, kind, size, rest in _instructions(text):
        groups = _groups(kind, rest, math.prod(mesh.values()))
        key = _axes(kind, groups, mesh), kind, len(groups[0])
        if len(groups[0]) == 1:
            continue  # nothing is exchanged
        found[key] += times * size
        counts[key] += times
    rows = (
        Collective(axes, kind, counts[axes, kind, devices], size, devices)
        for (axes, kind, devices), size in found.items()
    )
    return sorted(rows, key=lambda row: -row.sent_bytes)


def _instructions(text: str) -> Iterator[tuple[int, str, int, str]]:
    """Of each collective: how often it runs, its kind, the bytes of its array, its attributes."""
    bodies, entry = _computations(text)
    times: Counter[str] = Counter()
    fused: set[str] = set()  # computations within one instruction of a device
    seen: set[tuple[str, str, int]] = set()

    def visit(name: str, count: int) -> None:
        times[name] += count
        for line in bodies[name]:
            trips = _TRIPS.search(line) if " while(" in line else None
            each = count * (int(trips[1]) if trips else 1)
            called = _CALLED.findall(line)
            for branches in _BRANCHES.findall(line):
                called += re.findall(r"[\w.\-]+", branches)
            if " fusion(" in line:
                fused.update(called)
            for other in called:
                visit(other, each)

    visit(entry, 1)
    for name, count in times.items():
        for line in bodies[name]:
            match = _INSTRUCTION.match(line)
            if match is None:
                continue
            shape, op, rest = match.groups()
            kind = op.removesuffix("-start")
            if kind not in KINDS:
                continue
            size, channel = _bytes(kind, op, shape, rest), _CHANNEL.search(rest)
            if name in fused and channel is not None:
                if (channel[1], kind, size) in seen:
                    continue  # a further part of one that a TPU does beside its products
                seen.add((channel[1], kind, size))
            scatters = kind == "all-reduce" and name.startswith(_SCATTERS)
            yield count, "reduce-scatter" if scatters else kind, size, rest


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation, and the name of the first that runs."""
    bodies: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in _COMMENT.sub("", text).splitlines():
        if line.endswith("{") and not line.startswith(" ") and "->" in line:
            words = line.split()
            name = (words[1] if words[0] == "ENTRY" else words[0]).lstrip("%")
            if words[0] == "ENTRY":
                entry = name
            lines = bodies.setdefault(name, [])
        elif line.startswith(" "):
            lines.append(line)
    return bodies, entry


def _bytes(kind: str, op: str, shape: str, rest: str) -> int:
    """Bytes of an instruction's array, of `shape` where the kind is counted by what it makes."""
    arrays = _ARRAY.findall(shape)
    if op.endswith("-start") and kind != "all-reduce":  # operands, as many results, and counters
        arrays = [array for array in arrays if array != ("u32", "")]
        arrays = arrays[len(arrays) // 2 :]
    sizes = [_size(dtype, axes) for dtype, axes in arrays]
    if kind == "reduce-scatter":
        return sum(sizes) * len(_groups(kind, rest, 0)[0])
    return sum(sizes)


def _size(dtype: str, axes: str) -> int:
    return math.prod(map(int, axes.split(","))) * _BITS[dtype] // 8 if axes else _BITS[dtype] // 8


def _groups(kind: str, rest: str, partitions: int) -> list[list[int]]:
    """The devices that exchange with each other, in each of XLA's three ways to write them."""
    if kind == "collective-permute":
        pairs = re.findall(r"\{(\d+),(\d+)\}", rest[rest.index("source_target_pairs=") :])
        return _joined([tuple(map(int, pair)) for pair in pairs])
    given = rest[rest.index("replica_groups=") + len("replica_groups=") :]
    if given.startswith("mesh["):
        named = re.match(r"mesh\[([^\]]*)\](?:, device_ids=\((.*?)\))? \{([^}]*)\}", given)
        assert named is not None and ":" not in named[3], f"a part of an axis: {given}"
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
        order = _iota(named[2]) if named[2] else np.arange(math.prod(sizes.values()))
        chosen = re.findall(r"'(\w+)'", named[3])
        places = [list(sizes).index(name) for name in chosen]
        count = math.prod(sizes[name] for name in chosen)
        ids = order.reshape(*sizes.values())
        return np.moveaxis(ids, places, range(-len(places), 0)).reshape(-1, count).tolist()
    iota = re.match(r"\[([\d,]+)\]<=(\S+)", given)
    if iota is not None:
        return _iota(iota[2]).reshape(_ints(iota[1])).tolist()
    listed = re.match(r"\{((?:\{[\d,]*\},?)*)\}", given)
    assert listed is not None, given
    groups = [
        [int(x) for x in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", listed[1])
    ]
    return groups or [list(range(partitions))]


def _iota(text: str) -> np.ndarray:
    """Numbers of devices from 0 on, in the shape and the order of "[2,4]T(1,0)"."""
    written = re.match(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", text)
    assert written is not None, text
    ids = np.arange(math.prod(_ints(written[1]))).reshape(_ints(written[1]))
    return ids if written[2] is None else ids.transpose(_ints(written[2]))


def _ints(text: str) -> list[int]:
    return [int(x) for x in text.split(",")]


def _joined(pairs: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Rings of the devices that `pairs` connect."""
    groups: list[set[int]] = []
    for pair in pairs:
        near = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if group not in near] + [set(pair).union(*near)]
    return [sorted(group) for group in groups]


def _axes(kind: str, groups: Sequence[Sequence[int]], mesh: Mapping[str, int]) -> str:
    """The axes along which the devices of a group differ; a permute may go to every other one."""
    places = np.array(np.unravel_index(np.array(groups[0]), tuple(mesh.values())))
    differ = [name for name, along in zip(mesh, places, strict=True) if len(set(along)) > 1]
    whole = math.prod(mesh[name] for name in differ) == len(groups[0])
    whole = whole or kind == "collective-permute"
    return ",".join(differ) if whole else "?"
