r"""Runs one eval of OpenAI's registry on a model, as the original's command of that name does.

    python -m experiments.oaieval runs/lm test-match --registry_path=evals/registry
    python -m experiments.oaieval http://127.0.0.1:8000/v1#MODEL,runs/grader joke-fruits
    python -m experiments.oaieval python:mine:answer coqa-match --max_samples=20
    python -m experiments.oaieval --list --registry_path=evals/registry

The first argument names what answers and, after a comma, the grader of a model-graded eval. Each is
a run's work directory, a server with OpenAI's interface, a Python function (prompt, **arguments) ->
text, `dummy`, or a completion function of the registry. docs/openai_evals.md has them all.

What is printed is a line of JSON with the final report. The log, in the original's format, is
--record_path; the same command goes on with it, and asks only the samples that have not ended.
Where calls fail, the report says of how many samples, and the exit code is 2.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.openai_evals import (
    completion_args_of_flags,
    datasets_of_flags,
    log_path,
    messages_of_flags,
    registry_of_flags,
    sent_of_flags,
    settings_of_flags,
)
from experiments.flags.paths import define_path, define_paths
from gptjax.evals.openai_evals.listing import listed, summary
from gptjax.evals.openai_evals.log import new_id
from gptjax.evals.openai_evals.run import opened
from gptjax.runs.caches import enable_compilation_cache

_COMPLETION_FN = define_paths(
    "completion_fn", [], "What answers and, after a comma, the grader. The first argument."
)
_EVAL = flags.DEFINE_string("eval", None, "Name of an eval of the registry. The second argument.")
_RECORD_PATH = define_path(
    "record_path",
    None,
    "File of the log. By default it has a new name in the folder evallogs of temporary files.",
)
_LIST = flags.DEFINE_bool(
    "list", False, "Whether all evals are listed, with what those that do not run need."
)


def main(argv: Sequence[str]) -> None:
    """Prints the report, or the list."""
    from gptjax.evals.openai_evals.functions import Functions

    del argv
    registry = registry_of_flags()
    if _LIST.value:
        rows = listed(registry, datasets_of_flags())
        print("\n".join(f"{row.name} ({row.class_name}): {row.lack or 'runs'}" for row in rows))
        print("\n".join(summary(rows)))
        return
    names, name = _COMPLETION_FN.value, _EVAL.value
    if not names or name is None:
        missing = "completion_fn" if not names else "eval"
        raise ValueError(f"--{missing}: got none, expected: oaieval COMPLETION_FN[,GRADER] EVAL")
    settings, entry = settings_of_flags(), registry.eval(name)
    enable_compilation_cache()
    functions = Functions(registry, completion_args_of_flags(), settings.seed)
    path = Path(_RECORD_PATH.value or _new_path(names, name))
    with messages_of_flags():
        with opened(entry, names, functions, registry, settings, log_path(path)) as one:
            report = one()
        if log_path(path):
            sent_of_flags(path)
    said = {"eval": entry.key, "final_report": report}
    print(json.dumps(said | ({"record_path": str(path)} if log_path(path) else {})), flush=True)
    one.refuse_failures()


def _new_path(names: Sequence[str], name: str) -> Path:
    whole = f"{new_id()}_{','.join(names)}_{name}.jsonl".replace("/", "-")
    return Path(tempfile.gettempdir()) / "evallogs" / whole[-200:]


if __name__ == "__main__":
    run(main, positional=("completion_fn", "eval"))
