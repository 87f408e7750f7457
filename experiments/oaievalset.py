r"""Runs the evals of a set of OpenAI's registry on a model, as the original's command does.

    python -m experiments.oaievalset runs/lm test-basic --registry_path=evals/registry
    python -m experiments.oaievalset runs/lm,runs/grader test-all --noexit_on_error --max_samples=20

The arguments are those of `oaieval`, with the name of a set for that of an eval. Each eval is a
line of JSON with its final report. The logs are in the folder --record_path, one file an eval; the
same command goes on with them, so that what has ended is not asked again. A pattern of the set
that matches no eval is a warning.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags, logging

from experiments.flags.command_line import run
from experiments.flags.openai_evals import (
    completion_args_of_flags,
    log_path,
    messages_of_flags,
    registry_of_flags,
    sent_of_flags,
    settings_of_flags,
)
from experiments.flags.paths import define_path, define_paths
from gptjax.evals.openai_evals.registry import Entry, Registry
from gptjax.evals.openai_evals.run import Settings, opened
from gptjax.runs.caches import enable_compilation_cache

if TYPE_CHECKING:
    from gptjax.evals.openai_evals.functions import Functions

_MODEL = define_paths(
    "model", [], "What answers and, after a comma, the grader. The first argument."
)
_EVAL_SET = flags.DEFINE_string("eval_set", None, "Name of a set. The second argument.")
_RECORD_PATH = define_path(
    "record_path",
    None,
    "Folder of the logs. By default it is oaievalset/MODEL.SET in that of temporary files.",
)
_RESUME = flags.DEFINE_bool("resume", True, "Whether logs that are there go on.")
_EXIT = flags.DEFINE_bool(
    "exit_on_error", True, "Whether the first eval that fails ends the set; it is said in any case."
)


def main(argv: Sequence[str]) -> None:
    """Prints the reports."""
    from gptjax.evals.openai_evals.functions import Functions

    del argv
    names, name = _MODEL.value, _EVAL_SET.value
    if not names or name is None:
        missing = "model" if not names else "eval_set"
        raise ValueError(f"--{missing}: got none, expected: oaievalset MODEL[,GRADER] SET")
    settings, registry = settings_of_flags(again=not _RESUME.value), registry_of_flags()
    entries, idle = registry.eval_set(name)
    for pattern in idle:
        logging.warning("eval set %s: %r matches no eval", name, pattern)
    if not entries:
        raise ValueError(f"eval set {name!r}: got no eval of its patterns, expected one or more")
    enable_compilation_cache()
    functions = Functions(registry, completion_args_of_flags(), settings.seed)
    folder = Path(_RECORD_PATH.value or _folder(names, name))
    failed = []
    with messages_of_flags():
        for entry in entries:
            try:
                _run(entry, names, functions, registry, settings, folder)
            except (ValueError, OSError) as error:
                if _EXIT.value:
                    raise
                failed.append(entry.key)
                logging.error("%s: %s", entry.key, " ".join(str(error).split()))
    if failed:
        raise ValueError(
            f"eval set {name!r}: {len(failed)} of {len(entries)} evals failed: {', '.join(failed)}"
        )


def _run(
    entry: Entry,
    names: Sequence[str],
    functions: "Functions",
    registry: Registry,
    settings: Settings,
    folder: Path,
) -> None:
    """Runs one eval, and prints its report."""
    path = folder / f"{entry.key}.jsonl"
    with opened(entry, names, functions, registry, settings, log_path(path)) as one:
        report = one()
    if log_path(path):
        sent_of_flags(path)
    print(json.dumps({"eval": entry.key, "final_report": report}), flush=True)
    one.refuse_failures()


def _folder(names: Sequence[str], name: str) -> Path:
    whole = f"{','.join(names)}.{name}".replace("/", "-")
    return Path(tempfile.gettempdir()) / "oaievalset" / whole[-200:]


if __name__ == "__main__":
    run(main, positional=("model", "eval_set"))
