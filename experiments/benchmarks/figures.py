r"""Figures of a suite: numbers by name, in groups, some beside a target; for programs and people.

figures = judged({"dense": {"speedup": 5.1}}, {"dense.speedup": ("at least", 4)})
print("\n".join(lines(figures)))
"""

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any, Literal

Target = tuple[Literal["at least", "at most"], float]


def with_targets(figures: Mapping[str, Any], targets: Mapping[str, Target], path: str = "") -> Any:
    """The figures, those with a target as {"value", "target", "met"}.

    Args:
      figures: numbers, texts and mappings of them.
      targets: by dotted path, in which a star stands for anything.
      path: of `figures`, with a dot at its end.
    """
    made: dict[str, Any] = {}
    for name, value in figures.items():
        here = f"{path}{name}"
        found = [targets[key] for key in targets if fnmatch.fnmatchcase(here, key)]
        if isinstance(value, Mapping):
            made[name] = with_targets(value, targets, f"{here}.")
        elif found:
            relation, bound = found[0]
            met = value >= bound if relation == "at least" else value <= bound
            made[name] = {"value": value, "target": f"{relation} {bound:,.4g}", "met": met}
        else:
            made[name] = value
    return made


def figure_lines(figures: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """A line a group, then one a figure: its name, value and, where it has one, its target."""
    if path:
        yield path
    for name, value in figures.items():
        if not isinstance(value, Mapping):
            yield f"  {name:58} {value if isinstance(value, str) else f'{value:,.4g}'}"
        elif "target" in value:
            verdict = "met" if value["met"] else "MISSED"
            yield f"  {name:58} {value['value']:<10,.4g} {value['target']}: {verdict}"
        else:
            yield from figure_lines(value, f"{path}.{name}" if path else name)
