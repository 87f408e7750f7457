"""Measures speed; the last line of output is one JSON object.

python -m experiments.benchmark --suite=train
"""

import json
from collections.abc import Sequence

from absl import flags

from experiments.benchmarks import SUITES
from experiments.benchmarks.figures import figure_lines
from experiments.flags.command_line import run
from gptjax.runs.provenance import provenance

_SUITE = flags.DEFINE_string("suite", "train", f"One of: {', '.join(SUITES)}.")


def main(argv: Sequence[str]) -> None:
    """Runs a suite, prints its figures for people, then for programs."""
    del argv
    figures = SUITES.get(_SUITE.value)()
    print("\n".join(figure_lines(figures)))
    print(json.dumps({"suite": _SUITE.value, **figures, **provenance()}))


if __name__ == "__main__":
    run(main)
