"""Parts of a suite within a budget of seconds: none is lost in silence.

outcome = run_parts(parts, budget=480.0)
outcome.figures, outcome.failed, outcome.left_out
"""

import dataclasses
import gc
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Part:
    """One measurement.

    Attributes:
      name: dotted.
      seconds: that it may take, compilation included; it is left out where fewer remain.
      run: returns its figures.
      missing: why it cannot be run here; None: it can.
    """

    name: str
    seconds: float
    run: Callable[[], dict[str, Any]]
    missing: str | None = None


@dataclasses.dataclass
class Outcome:
    """What became of all parts; a part's name is in one of the three.

    Attributes:
      figures: of those that ran.
      failed: what was said by those that could not end.
      left_out: why the others did not begin.
      seconds: of all together.
    """

    figures: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    failed: dict[str, str] = dataclasses.field(default_factory=dict)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


def run_parts(
    parts: Iterable[Part], budget: float, clock: Callable[[], float] = time.monotonic
) -> Outcome:
    """Runs parts in order, as long as the budget lasts; says on standard error what it does.

    A part that fails does not end the others: its device may be out of memory for it alone.
    """
    outcome, began = Outcome(), clock()
    for part in parts:
        left = budget - (clock() - began)
        if part.missing is not None:
            outcome.left_out[part.name] = part.missing
        elif left < part.seconds:
            outcome.left_out[part.name] = (
                f"no time: it may take {part.seconds:,.0f} s, and {max(left, 0.0):,.0f} s are left"
            )
        else:
            print(f"{part.name}: {left:,.0f} s are left", file=sys.stderr, flush=True)
            try:
                outcome.figures[part.name] = part.run()
            except Exception as error:  # whatever a device, a kernel or a rival says
                text = " ".join(str(error).split())[:400]
                outcome.failed[part.name] = f"{type(error).__name__}: {text}"
            gc.collect()  # of a part's arrays
    outcome.seconds = clock() - began
    return outcome
