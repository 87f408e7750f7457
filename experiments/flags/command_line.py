"""Command line of every binary: flags, config overrides, and errors as one line with exit code 2.

if __name__ == "__main__":
    run(main)                       # plain absl flags
    run(main, with_experiment=True) # --experiment=NAME and --config.section.field=VALUE too
    run(main, positional=("eval",)) # the flag --eval may be given as an argument alone, too
"""

import dataclasses
import difflib
import io
import os
import re
import select
import signal
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from absl import app, flags, logging

from experiments.flags.help import allowed_by, help_lines
from gptjax.config import ExperimentConfig, resolve
from gptjax.interrupted import Interrupted
from gptjax.runs.caches import provide_home
from gptjax.settings import check_field, drop_replaced, expected, fields, limits_of

FLAGS = flags.FLAGS
HELP = ("--help", "-help", "-h", "-?", "--helpshort")

T = TypeVar("T")


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
    given = set()
    for argument in argv:
        name, _, value = re.sub("^--?(no)?", "", argument).partition("=")
        if not argument.startswith("-") or name.partition(".")[0] != "config":
            continue
        path = name.partition(".")[2]
        if not path:
            raise ValueError(f"--config: got {value!r}, expected --config.section.field=value")
        check_field(config, path)
        given.add(path)
    return given


def _experiment_in(argv: Sequence[str]) -> str | None:
    early = flags.FlagValues()
    flags.DEFINE_string("experiment", None, "", flag_values=early)
    early(argv, known_only=True)
    return early["experiment"].value


def _parse_experiment(argv: Sequence[str]) -> list[str]:
    """Defines --config from --experiment, then parses all."""
    from experiments.configs import EXPERIMENTS, STUDIES, experiment_named

    name = _experiment_in(argv)
    if name is None:
        FLAGS([flag for flag in argv if not re.match(r"--(no)?config\.", flag)])  # misspelt?
        raise ValueError(f"--experiment: got none, expected one of: {', '.join(EXPERIMENTS)}")
    for binary, studies in STUDIES.items():
        if name in studies:
            raise ValueError(
                f"--experiment: got the {studies.kind} {name!r}, expected one experiment; "
                f"`python -m experiments.{binary}` runs it"
            )
    # Imported here: what takes no configuration runs without the package.
    from ml_collections import config_flags

    config = experiment_named(name)()
    given = _check_override_names(argv, config)
    config_flags.DEFINE_config_dataclass("config", config, sys_argv=list(argv))
    for path in fields(config):
        if f"config.{path}" in FLAGS:
            flag = FLAGS[f"config.{path}"]
            flag.parser = _FieldParser(flag.parser, *limits_of(config, path))
    rest = FLAGS(argv)
    drop_replaced(FLAGS.config, given)
    _inherit(given)
    return rest


def _inherit(given: set[str]) -> None:
    """Takes from the run that --config.checkpoint.init_from names what is not `given`."""
    from gptjax.runs.initial.inherited import inherit

    inherit(FLAGS.config, given, FLAGS["workdir"].value if "workdir" in FLAGS else None)


def _explain(error: Exception) -> str:
    if isinstance(error, flags.UnrecognizedFlagError):
        near = _meant(error.flagname)
        hint = f" (did you mean --{near}?)" if near else ""
        return f"unknown flag --{error.flagname}{hint}; --help lists the flags"
    text = " ".join(str(error).split())
    if missing := re.search(r"Flag --(\w+) must have a value other than None", text):
        wanted = FLAGS[missing[1]].help.removesuffix(" It must be given.")
        return f"--{missing[1]}: got none, expected a value: {wanted}"
    wrong = re.match(r"flag --(\w+)=(.*?): ", text)
    if isinstance(error, flags.IllegalFlagValueError) and wrong:
        return f"flag --{wrong[1]}={wrong[2]}: expected {allowed_by(FLAGS[wrong[1]])}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return text or type(error).__name__


def _with_underscores(argument: str) -> str:
    """A flag with hyphens in its name, as argparse spells it, in absl's spelling."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    name = name.replace("-", "_")
    if name.startswith("no_") and name not in FLAGS:
        name = f"no{name.removeprefix('no_')}"
    return f"--{name}{equals}{value}"


def _placed(names: Sequence[str], arguments: Sequence[str]) -> Sequence[str]:
    """Gives arguments to the flags of these names; returns those that are left over."""
    for name, argument in zip(names, arguments, strict=False):
        if FLAGS[name].present:
            raise ValueError(f"--{name}: got it twice, the second time as {argument!r}")
        FLAGS[name].parse(argument)
        FLAGS[name].using_default_value = False
    return arguments[len(names) :]


def _meant(name: str) -> str | None:
    """The flag that is nearest to an unknown one, or that is it but for what it begins with."""
    if "config" in FLAGS and dataclasses.is_dataclass(FLAGS["config"].value):
        for path in fields(FLAGS["config"].value):
            if name in (path, path.rpartition(".")[2]):
                return f"config.{path}"
    section, _, rest = name.partition(".")
    if rest:
        near = difflib.get_close_matches(section, ["config"], cutoff=0.5)
        return f"config.{rest}" if near else None
    return next(iter(difflib.get_close_matches(name, [*FLAGS, "config"], n=1, cutoff=0.5)), None)


def _refuse_float64() -> None:
    """As `refuse_float64`, which needs JAX; without the variable, or JAX, nothing can be wrong."""
    if "JAX_ENABLE_X64" in os.environ or "jax" in sys.modules:
        from gptjax.models.layers import refuse_float64

        refuse_float64()


def _reader_has_left() -> bool:
    """Whether standard output is a pipe that nobody reads any more, as after `| head`."""
    poll = select.poll()
    poll.register(sys.stdout, 0)  # errors are told in any case
    return bool(poll.poll(0))


def _guarded(call: Callable[[Sequence[str]], T], *errors: type[Exception]) -> Callable[..., T]:
    """`call`, after which `errors` are one line and exit code 2, and a reader may have left."""

    def guarded(argv: Sequence[str]) -> T:
        try:
            try:
                result = call(argv)
            except SystemExit:
                print(end="", flush=True)
                raise
            print(end="", flush=True)  # a closed pipe is met here, not while Python ends
            return result
        except errors as error:
            if isinstance(error, BrokenPipeError) and _reader_has_left():
                # Python flushes once more while it ends, and would complain.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                sys.exit(128 + signal.SIGPIPE)
            logging.vlog(1, "traceback:", exc_info=error)
            print(f"error: {_explain(error)}", file=sys.stderr)
            sys.exit(2)
        except Interrupted as error:
            print(error, flush=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)

    return guarded


def given(flag: flags.FlagHolder[T | None], expected: str) -> T:
    """The value of a flag that has to be given.

    Raises:
      ValueError: it is not, or is empty.
    """
    if flag.value is None or flag.value == []:
        raise ValueError(f"--{flag.name}: got none, expected {expected}")
    return flag.value


def run(
    main: Callable[[Sequence[str]], None],
    *,
    with_experiment: bool = False,
    positional: Sequence[str] = (),
) -> None:
    """Parses the command line and calls `main`; a user's error is one line and exit code 2.

    --help shows the binary's flags and, of an experiment, its fields. `positional` names flags
    whose values may be given as arguments alone, in that order; flags of such a binary are
    understood with hyphens, too: --dry-run, --no-cache.

    A `ValueError` or `OSError` is a user's error; --verbosity=1 shows its traceback too. All other
    exceptions are ours and keep theirs. Where a signal ends a run, the exit code is 128 + its
    number, so that nothing takes the run for ended. Where the reader of the output leaves, as
    `| head` does, the exit code is the shell's for that, 141, and nothing is said.
    Characters that a terminal does not have are written as escapes.
    """
    provide_home()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if with_experiment:
        flags.DEFINE_string(
            "experiment",
            None,
            "Name of an experiment that `python -m experiments.list` shows, or of a function of "
            "yours that returns one: python:MODULE:FUNCTION.",
        )

    def checked(argv: Sequence[str]) -> list[str]:
        _refuse_float64()
        FLAGS.set_gnu_getopt(bool(positional))  # flags may follow arguments
        argv = [_with_underscores(argument) for argument in argv] if positional else argv
        rest = _parse_experiment(argv) if with_experiment else FLAGS(argv)
        rest = [*rest[:1], *_placed(positional, rest[1:])]
        if len(rest) > 1:
            raise ValueError(f"unexpected argument {rest[1]!r}; expected flags, as --name=value")
        if with_experiment:
            from gptjax.runs.kind import kind_of

            config = resolve(FLAGS.config)
            kind_of(config).check(config)
        return rest

    def parse(argv: Sequence[str]) -> list[str]:
        others = [argument for argument in argv if argument not in HELP]
        if len(others) < len(argv):
            config = None
            if with_experiment and _experiment_in(others) is not None:
                checked(others)
                config = resolve(FLAGS.config)
            print("\n".join(help_lines(main, with_experiment, config)), flush=True)
            sys.exit(0)
        rest = checked(argv)
        if FLAGS["verbosity"].using_default_value:
            FLAGS.verbosity = logging.WARNING  # absl would make it INFO
        return rest

    app.run(
        _guarded(main, ValueError, OSError),
        flags_parser=_guarded(parse, flags.Error, KeyError, ValueError, OSError),
    )
