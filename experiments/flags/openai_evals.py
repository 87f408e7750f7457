"""Flags of `oaieval` and `oaievalset`: those of the original's commands, and a few of ours.

with settings_logged():
    settings, registry = settings_of_flags(), registry_of_flags()
"""

import contextlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags, logging

from experiments.flags.paths import define_path, define_path_multi, define_paths
from gptjax.evals.openai_evals.registry import Registry, default_roots
from gptjax.evals.openai_evals.run import Settings
from gptjax.evals.openai_evals.samples import SEED
from gptjax.evals.openai_evals.sending import send

_REGISTRY_PATH = define_path_multi(
    "registry_path",
    "Folder of a registry, with evals/, eval_sets/, modelgraded/, completion_fns/ and data/. It "
    "may be given several times. ~/.evals and an installed package `evals` are read first.",
)
_EXTRA = flags.DEFINE_list(
    "extra_eval_params", [], "Arguments of the eval, as NAME=VALUE, in place of its entry's."
)
_ARGS = flags.DEFINE_list(
    "completion_args",
    [],
    "Arguments of the completion functions, as NAME=VALUE: temperature, max_tokens and stop of "
    "any; chat, step and batch_size of a run.",
)
_MAX_SAMPLES = flags.DEFINE_integer(
    "max_samples", None, "Samples that are asked at most. By default all are.", lower_bound=1
)
_SEED = flags.DEFINE_integer("seed", SEED, "Seed of the samples' draws and of the report's.")
_USER = flags.DEFINE_string("user", "", "Who is logged as having begun the run.")
_LOG_TO_FILE = define_path("log_to_file", None, "File that messages go to in place of the screen.")
_DEBUG = flags.DEFINE_bool("debug", False, "Whether every event is shown, too.")
_VISIBLE = flags.DEFINE_bool(
    "visible", None, "Written to the log, and of no effect. By default: no --max_samples."
)
_CACHE = flags.DEFINE_bool("cache", True, "Of no effect: no answer is cached, but a log goes on.")
_LOCAL_RUN = flags.DEFINE_bool(
    "local_run", True, "Whether the log is a file. Only true runs here: there is no Snowflake."
)
_HTTP_RUN = flags.DEFINE_bool(
    "http_run", False, "Whether the events are sent to --http_run_url at the end, too."
)
_URL = flags.DEFINE_string("http_run_url", None, "With --http_run: URL that events are posted to.")
_BATCH = flags.DEFINE_integer(
    "http_batch_size", 100, "With --http_run: events in a request.", lower_bound=1
)
_FAILED = flags.DEFINE_integer(
    "http_fail_percent_threshold",
    5,
    "With --http_run: percentage of events that may be lost.",
    lower_bound=0,
    upper_bound=100,
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Whether the eval is run, and no log is written.")
_DRY_LOGGING = flags.DEFINE_bool(
    "dry_run_logging", True, "With --dry_run: whether every event is shown."
)
_STRICT = flags.DEFINE_bool(
    "strict_choice",
    False,
    "Whether a grader must state its choice: alone on a line, or after a colon or `is`. By default "
    "a line that begins with the letter of a choice names it, as in the original.",
)
_DATASETS = define_paths(
    "datasets",
    [],
    "Files of the data sets that are no part of a registry, as NAME=PATH: hendrycks_test (folder "
    "of MMLU), hellaswag, lambada (JSON lines).",
)


def registry_of_flags() -> Registry:
    """The registry that the flags name; ValueError for a folder that is not there."""
    roots = [Path(path) for path in _REGISTRY_PATH.value or []]
    for root in roots:
        if not root.is_dir():
            raise ValueError(f"--registry_path: got {str(root)!r}, expected a folder")
    return Registry(default_roots() + roots)


def datasets_of_flags() -> dict[str, str]:
    """Files of data sets, by name."""
    return {name: str(path) for name, path in _pairs("datasets", _DATASETS.value).items()}


def completion_args_of_flags() -> dict[str, str | int | float]:
    """Arguments of the completion functions; ValueError for a key, which the log would hold."""
    pairs = _pairs("completion_args", _ARGS.value)
    if "api_key" in pairs:
        raise ValueError("--completion_args: got api_key, expected it as OPENAI_API_KEY, unlogged")
    return {name: _number(text) for name, text in pairs.items()}


def settings_of_flags(again: bool = False) -> Settings:
    """What the flags say of a run; ValueError for what does not go together.

    Args:
      again: whether logs that are there are begun anew.
    """
    if not _LOCAL_RUN.value and not _HTTP_RUN.value:
        raise ValueError("--local_run: got false, which means Snowflake, expected true")
    if _HTTP_RUN.value and (_URL.value is None or _DRY_RUN.value):
        raise ValueError("--http_run: expected --http_run_url with it, and no --dry_run")
    if _SEED.value < 0:
        raise ValueError(f"--seed: got {_SEED.value}, expected int >= 0")
    few = _MAX_SAMPLES.value is not None
    visible = not few if _VISIBLE.value is None else _VISIBLE.value
    extra = _pairs("extra_eval_params", _EXTRA.value)
    return Settings(
        max_samples=_MAX_SAMPLES.value,
        seed=_SEED.value,
        extra={name: _number(text) for name, text in extra.items()},
        options=completion_args_of_flags(),
        datasets=datasets_of_flags(),
        strict_choice=_STRICT.value,
        user=_USER.value,
        again=again,
        noted={
            "command": shlex.join(sys.argv),
            "initial_settings": {"visible": visible, "cache": _CACHE.value},
        },
    )


def log_path(path: Path) -> Path | None:
    """`path`; None with --dry_run."""
    return None if _DRY_RUN.value else path


def sent_of_flags(path: Path) -> None:
    """Sends a log's events with --http_run."""
    if _HTTP_RUN.value:
        send(path, _URL.value or "", batch_size=_BATCH.value, most_failed=_FAILED.value)


@contextlib.contextmanager
def messages_of_flags() -> Iterator[None]:
    """What is said meanwhile goes where the flags say, with events if they are asked for."""
    verbosity = logging.get_verbosity()
    if _DEBUG.value or (_DRY_RUN.value and _DRY_LOGGING.value):
        logging.set_verbosity(logging.DEBUG)
    handler = logging.get_absl_handler().python_handler
    stream = handler.stream
    with contextlib.ExitStack() as stack:
        if _LOG_TO_FILE.value is not None:
            file = stack.enter_context(open(_LOG_TO_FILE.value, "a", encoding="utf-8"))
            handler.stream = file  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            handler.stream = stream
            logging.set_verbosity(verbosity)


def _pairs(flag: str, given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise ValueError(f"--{flag}: got {name!r}, expected NAME=VALUE, with commas between")
    return {name: value for name, _, value in pairs}


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
