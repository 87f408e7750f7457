"""What of a registry runs here, and what the rest needs.

for row in listed(registry, {}): print(row.name, row.lack or "runs")
print(summary(rows))
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from gptjax.evals.openai_evals import samples
from gptjax.evals.openai_evals.classes import lack
from gptjax.evals.openai_evals.registry import Entry, Registry


@dataclasses.dataclass(frozen=True)
class Row:
    """An eval of a registry.

    Attributes:
      name: its full name.
      class_name: the name of its class, without the module.
      known: whether the class runs here.
      lack: what is missing; None: it runs.
    """

    name: str
    class_name: str
    known: bool
    lack: str | None


def listed(registry: Registry, datasets: Mapping[str, str]) -> list[Row]:
    """All evals of a registry, by name.

    Args:
      registry: see there.
      datasets: files of the data sets that hf:// names.
    """
    rows = []
    for entry in sorted(registry.runnable(), key=lambda entry: entry.key):
        class_name = entry.class_name or ""
        need = lack(class_name)
        missing = _samples_lack(entry, datasets) if need is None else f"needs {need}"
        rows.append(Row(entry.key, class_name.rpartition(":")[2], need is None, missing))
    return rows


def summary(rows: Sequence[Row]) -> list[str]:
    """Lines that count the rows, by class, and in all."""
    classes: dict[str, list[Row]] = {}
    for row in rows:
        classes.setdefault(row.class_name, []).append(row)
    lines = []
    for name, its in sorted(classes.items(), key=lambda each: (-len(each[1]), each[0])):
        ready = sum(row.lack is None for row in its)
        state = f"{ready} with samples" if its[0].known else its[0].lack
        lines.append(f"{len(its):5} {name}: {state}")
    known, ready = sum(row.known for row in rows), sum(row.lack is None for row in rows)
    share = f" ({known / len(rows):.0%})" if rows else ""
    lines.append(
        f"{known} of {len(rows)} evals{share} have a class that runs here; {ready} of these have "
        "their samples on this machine"
    )
    return lines


def _samples_lack(entry: Entry, datasets: Mapping[str, str]) -> str | None:
    """What an eval's samples lack; None: they are there."""
    args = entry.args
    for name in ("samples_jsonl", "few_shot_jsonl"):
        if args.get(name):
            try:
                path = samples.located(args[name], entry.root)
            except ValueError:
                return f"no samples: {args[name]}"
            if path.is_file() and _is_pointer(path):
                return f"no samples: {args[name]} is a pointer of Git LFS"
    if "dataset" in args or "subset" in args:
        name = str(args.get("dataset", "hf://lambada")).removeprefix("hf://").partition("?")[0]
        if name not in datasets:
            return f"no samples: --datasets={name}=PATH"
    return None


def _is_pointer(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(30).startswith(b"version https://git-lfs")
