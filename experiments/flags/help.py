"""What --help shows: what a binary is for, its own flags, and the fields of an experiment.

for line in help_lines(main, config): print(line)
"""

import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags

from gptjax.reports.configurations import Row, explained, explained_rows, shown
from gptjax.settings import expected

FLAGS = flags.FLAGS
_HINTS = {"int": int, "float": float, "bool": bool}  # by absl's names of types; all else is text
_ALWAYS: tuple[Row, ...] = (
    ("--help", "", "", "Shows this text, and nothing is started."),
    (
        "--verbosity",
        "-1",
        "int",
        "With 0 more is logged; with 1 an error shows its traceback, too.",
    ),
)


def help_lines(main: Callable[..., Any], with_experiment: bool, config: Any) -> Iterator[str]:
    """Describes a binary.

    Args:
      main: of the binary, whose module's docstring says what it is for and how it is called.
      with_experiment: whether it takes an experiment with its --config flags.
      config: of the experiment that the command line names; None: it names none.

    Yields:
      Lines of text.
    """
    module = main.__globals__
    yield from inspect.cleandoc(module["__doc__"]).splitlines()
    yield from ("", "Its flags, each with its default and what is allowed:", "")
    for lines in explained_rows([*map(_row, _own_flags(module["__name__"])), *_ALWAYS]):
        yield from lines
    if config is not None:
        yield from ("", f"Fields of --experiment={FLAGS.experiment}, each with its value:")
        yield from explained(config, prefix="--config.")
    elif with_experiment:
        yield from (
            "",
            "Every field of an experiment is a flag, too: --config.SECTION.FIELD=VALUE.",
            "With --experiment=NAME, --help explains them all; docs/configuration.md lists them.",
        )


def _own_flags(module: str) -> list[flags.Flag]:
    """The flags of a binary: --experiment, its own, those shared, and of several processes."""
    own = sys.argv[0] if module == "__main__" else module  # as absl calls the main module
    places = {
        flag.name: place
        for place, defined in FLAGS.flags_by_module_dict().items()
        for flag in defined
        if (place == own or place.startswith("experiments.flags"))
        and flag.name in FLAGS
        and FLAGS[flag.name] is flag
        and not _is_of_experiment(flag.name)
    }
    several = "experiments.flags.processes"
    names = sorted(
        places, key=lambda x: (x != "experiment", places[x] == several, places[x] != own)
    )
    return [FLAGS[name] for name in names]


def _is_of_experiment(name: str) -> bool:
    """Whether a flag is --config of an experiment, or a field of it."""
    section, dot, _ = name.partition(".")
    return section == "config" and bool(dot or dataclasses.is_dataclass(FLAGS["config"].value))


def allowed_by(flag: flags.Flag) -> str:
    """Describes the accepted values of a flag as those of a field are: "int >= 1"."""
    parser: Any = flag.parser
    names = ("low", "lower_bound"), ("high", "upper_bound"), ("choices", "enum_values")
    limits = {ours: getattr(parser, theirs, None) for ours, theirs in names}
    return expected(_HINTS.get(parser.flag_type(), str), limits)


def _row(flag: flags.Flag) -> Row:
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    default = flag.default
    if isinstance(default, list):
        default = ",".join(default)
    words = re.sub(r"(?s)^<.*?>: |;\n.*", "", flag.help)  # less what absl adds
    return name, "" if default is None else shown(default), allowed_by(flag), words
