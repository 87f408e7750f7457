"""Measures speed; the last line of output is one JSON object.

python -m experiments.benchmark --suite=train
python -m experiments.benchmark --suite=accelerator --output=runs/h100
python -m experiments.benchmark --suite=translation --pairs=tsv:deu.txt --seconds=900
"""

import inspect
import json
import sys
from collections.abc import Sequence

from absl import flags

from experiments.benchmarks.figures import figure_lines
from experiments.benchmarks.registry import SUITES
from experiments.flags.command_line import run
from experiments.flags.paths import define_path

_SUITE = flags.DEFINE_string("suite", "train", f"Name of the suite: {', '.join(SUITES)}.")

_PAIRS = define_path(
    "pairs",
    None,
    "Sentence pairs of the suite translation, written like --config.translation.pairs.",
)
_SECONDS = flags.DEFINE_integer(
    "seconds", 900, "Seconds for which each side of the suite translation trains.", lower_bound=1
)


_OUTPUT = define_path(
    "output",
    ".",
    "Folder that the suite accelerator writes accelerator.json and accelerator.md to.",
)


def main(argv: Sequence[str]) -> None:
    """Runs a suite, prints its figures for people, then for programs; exits with 1 if one fails."""
    from gptjax.runs.provenance import provenance

    del argv
    suite, options = SUITES.get(_SUITE.value), {}
    for flag in (_PAIRS, _SECONDS, _OUTPUT):
        if flag.present:
            if flag.name not in inspect.signature(suite).parameters:
                raise ValueError(
                    f"--{flag.name}: got {flag.value} with the suite {_SUITE.value}, expected none"
                )
            options[flag.name] = flag.value
    figures = suite(**options)
    print("\n".join(figure_lines(figures)))
    print(json.dumps({"suite": _SUITE.value, **figures, **provenance()}))
    if figures.get("failed"):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
