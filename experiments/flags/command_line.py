"""Command line of every binary: flags, config overrides, and errors as one line with exit code 2.

if __name__ == "__main__":
    run(main)                       # plain absl flags
    run(main, with_experiment=True) # --experiment=NAME and --config.section.field=VALUE too
    run(main, with_experiment=True, kind="pretrain")  # of experiments of one kind
"""

import difflib
import os
import select
import signal
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from experiments.configs import EXPERIMENTS
from gptjax.config import ExperimentConfig, resolve
from gptjax.registry import unknown_name
from gptjax.runs.kind import kind_of
from gptjax.settings import expected, fields, limits_of

FLAGS = flags.FLAGS


class _FieldParser(flags.ArgumentParser):
    """Lets optional fields be `none`, and says what a field expects."""

    def __init__(self, inner: flags.ArgumentParser, hint: Any, limits: typing.Mapping[str, Any]):
        self._inner, self._hint, self._limits = inner, hint, limits

    def parse(self, argument: Any) -> Any:
        if argument == "none" and type(None) in typing.get_args(self._hint):
            return None
        try:
            return self._inner.parse(argument)
        except (TypeError, ValueError) as error:
            raise ValueError(f"expected {expected(self._hint, self._limits)}") from error

    def flag_type(self) -> str:
        return self._inner.flag_type()


def _check_override_names(argv: Sequence[str], config: ExperimentConfig) -> set[str]:
    """The fields that the command line gives; refuses those that there are not."""
    leaves = list(fields(config))
    sections, given = list(dict.fromkeys(leaf.partition(".")[0] for leaf in leaves)), set()
    for argument in argv:
        name, _, value = argument.removeprefix("--").removeprefix("no").partition("=")
        if not argument.startswith("--") or name.partition(".")[0] != "config":
            continue
        path = name.partition(".")[2]
        section = path.partition(".")[0]
        if not section:
            raise ValueError(f"--config: got {value!r}, expected --config.section.field=value")
        if section not in sections:
            raise unknown_name("config section", section, sections)
        if path not in leaves:
            fields_there = [leaf for leaf in leaves if leaf.startswith(f"{section}.")]
            raise unknown_name("config field", path, fields_there)
        given.add(path)
    return given


def _drop_replaced(config: ExperimentConfig, given: set[str]) -> None:
    """Drops what the experiment says in place of a field that is given."""
    for path in given:
        section = path.rpartition(".")[0]
        beside, value = limits_of(config, path)[1].get("instead_of"), fields(config)[path]
        if beside is not None and value is not None and f"{section}.{beside}" not in given:
            setattr(getattr(config, section), beside, None)


def _names(kind: str | None) -> list[str]:
    """The experiments of a kind of run; all of them where it is None."""
    return [name for name in EXPERIMENTS if kind in (None, EXPERIMENTS.get(name)().kind)]


def _parse_experiment(argv: Sequence[str], kind: str | None) -> list[str]:
    """Defines --config from --experiment, one of `kind` if there is one, then parses all."""
    early = flags.FlagValues()
    flags.DEFINE_string("experiment", None, "", flag_values=early)
    early([flag for flag in argv if not flag.startswith("--help")], known_only=True)
    name = early["experiment"].value
    if name is None:
        if any(flag.startswith("--help") for flag in argv):
            return FLAGS(argv)
        raise ValueError(f"--experiment: got none, expected one of: {', '.join(_names(kind))}")
    config = EXPERIMENTS.get(name)()
    if kind not in (None, config.kind):
        raise ValueError(
            f"--experiment: got {name!r} of kind {config.kind}, expected one of: "
            f"{', '.join(_names(kind))}"
        )
    given = _check_override_names(argv, config)
    config_flags.DEFINE_config_dataclass("config", config, sys_argv=list(argv))
    for path in fields(config):
        if f"config.{path}" in FLAGS:
            flag = FLAGS[f"config.{path}"]
            flag.parser = _FieldParser(flag.parser, *limits_of(config, path))
    rest = FLAGS(argv)
    _drop_replaced(FLAGS.config, given)
    return rest


def _explain(error: Exception) -> str:
    if isinstance(error, flags.UnrecognizedFlagError):
        near = difflib.get_close_matches(error.flagname, [*list(FLAGS), "config"], n=1, cutoff=0.5)
        section, _, rest = error.flagname.partition(".")
        if rest:
            near = difflib.get_close_matches(section, ["config"], n=1, cutoff=0.5)
            near = [f"{near[0]}.{rest}"] if near else []
        hint = f" (did you mean --{near[0]}?)" if near else ""
        return f"unknown flag --{error.flagname}{hint}; --help lists the flags"
    return " ".join(str(error).split()) or type(error).__name__


def _reader_has_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more, as after `| head`."""
    poll = select.poll()
    poll.register(sys.stdout, 0)  # errors are told in any case
    return bool(poll.poll(0))


def run(
    main: Callable[[Sequence[str]], None],
    *,
    with_experiment: bool = False,
    kind: str | None = None,
) -> None:
    """Parses the command line and calls `main`; a user's error is one line and exit code 2.

    An experiment must be of `kind`, where one is given.

    A `ValueError` or `OSError` is a user's error; --verbosity=1 shows its traceback too. All other
    exceptions are ours and keep theirs. Where the reader of the output leaves, as `| head` does,
    the exit code is the shell's for that, 141, and nothing is said.
    """
    if with_experiment:
        flags.DEFINE_string("experiment", None, "A name that `python -m experiments.list` shows.")

    def parse(argv: Sequence[str]) -> list[str]:
        rest = _parse_experiment(argv, kind) if with_experiment else FLAGS(argv)
        if len(rest) > 1:
            raise ValueError(f"unexpected argument {rest[1]!r}; expected flags, as --name=value")
        if with_experiment:
            config = resolve(FLAGS.config)
            kind_of(config).check(config)
        if FLAGS["verbosity"].using_default_value:
            FLAGS.verbosity = logging.WARNING  # absl would make it INFO
        return rest

    def fail(error: Exception) -> typing.NoReturn:
        logging.vlog(1, "traceback:", exc_info=error)
        print(f"error: {_explain(error)}", file=sys.stderr)
        sys.exit(2)

    def guarded_parse(argv: Sequence[str]) -> list[str]:
        try:
            return parse(argv)
        except (flags.Error, KeyError, ValueError) as error:
            fail(error)

    def guarded_main(argv: Sequence[str]) -> None:
        try:
            main(argv)
            sys.stdout.flush()  # what is left meets a closed pipe here, not while Python ends
        except (ValueError, OSError) as error:
            if isinstance(error, BrokenPipeError) and _reader_has_left():
                # Python flushes once more while it ends, and would complain.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(128 + signal.SIGPIPE)
            fail(error)
        except KeyboardInterrupt:
            sys.exit(130)

    app.run(guarded_main, flags_parser=guarded_parse)
