"""A filled table as plain values: its cells, and what is to be said of the claims.

summary = summarise(table, "mini", seeds=3, filled=filled, costs=costs)
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gptjax.studies.equal_budget.summary import t_interval
from gptjax.studies.paper_tables.filling import Filled
from gptjax.studies.paper_tables.table import Claim, Place, Table


def summarise(
    table: Table,
    form: str,
    seeds: int,
    filled: Mapping[Place, Filled],
    costs: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """A table with our values, as JSON values.

    Args:
      table: what was filled.
      form: "mini" or "full".
      seeds: runs of each model.
      filled: each cell by its place.
      costs: parameters, FLOPs and seconds of each model that was trained.
    """
    cells = [
        {
            "row": one.cell.row,
            "column": one.cell.column,
            "unit": table.units[one.cell.column],
            "published": one.cell.published,
            "ours": one.ours,
            "values": one.values,
            "low": one.low,
            "high": one.high,
            "interval": one.interval,
            "model": one.cell.model,
            "how": one.how,
            "why": one.why,
        }
        for one in filled.values()
    ]
    return {
        "table": table.name,
        "title": table.title,
        "source": table.source,
        "notes": table.notes,
        "form": form,
        "seeds": seeds,
        "cells": cells,
        "claims": [_judged(claim, filled, seeds) for claim in table.claims]
        if form == "mini"
        else [],
        "models": {
            key: {"command": table.models[key].command(), **costs.get(key, {})}
            for key in table.models
        },
        "failed": any(str(one.why).startswith("not ") for one in filled.values()),
    }


class _Recorded(dict[Place, float]):
    """Values that know which of them were asked for."""

    def __init__(self, pairs: Iterable[tuple[Place, float]]):
        super().__init__(pairs)
        self.used: set[Place] = set()

    def __getitem__(self, place: Place) -> float:
        self.used.add(place)
        return super().__getitem__(place)


def _judged(claim: Claim, filled: Mapping[Place, Filled], seeds: int) -> dict[str, Any]:
    """The effect of a claim over seeds, and what is to be said of it."""
    effects, used = [], set[Place]()
    for number in range(seeds):
        values = _Recorded(
            (place, one.values[min(number, len(one.values) - 1)])
            for place, one in filled.items()
            if one.values
        )
        try:
            effects.append(float(claim.effect(values)))
        except KeyError:
            return {"claim": claim.text, "unit": claim.unit, "verdict": "not measured"}
        used |= values.used
    over = t_interval(effects)
    mean, half = over["mean"], over["half_width"]
    assert mean is not None
    row = {"claim": claim.text, "unit": claim.unit, "effects": effects, "effect": mean}
    once = any(len(filled[place].values) < seeds for place in used)
    if half is None or once or half == 0:
        several = "of one measurement" if once or half is None else "the same for all seeds"
        return {**row, "verdict": f"{several}: {'as claimed' if mean > 0 else 'not as claimed'}"}
    low, high = mean - half, mean + half
    verdict = "holds" if low > 0 else "does not hold" if high < 0 else "cannot be told from chance"
    return {**row, "low": low, "high": high, "verdict": verdict}
