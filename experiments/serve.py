r"""Serves trained models by OpenAI's API, with a page to chat on.

    python -m experiments.serve --workdir=runs/instruct/ppo
    python -m experiments.serve --workdir=sft=runs/sft --workdir=ppo=runs/ppo --port=8000
    python -m experiments.serve --workdir=runs/sft --ranker=gold=gold
    curl localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \
      -d '{"messages": [{"role": "user", "content": "copy: fox"}]}'

The page is at http://localhost:8000/, and /docs lists the operations. SIGTERM and Ctrl-C end it.
"""

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path, define_path_multi
from experiments.flags.serving import generator_of_flags, judges_of_flags, limits_of_flags
from gptjax.data.feedback.opening import open_store
from gptjax.runs.caches import enable_compilation_cache

_WORKDIR = define_path_multi(
    "workdir", "Work directory of a run, or NAME=DIR. It may be given several times."
)
_RANKER = define_path_multi("ranker", "Reward that ranks replies, as NAME=REWARD.")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen at.")
_PORT = flags.DEFINE_integer("port", 8000, "Port; 0: any.", lower_bound=0, upper_bound=65535)
_API_KEY_FILE = define_path("api_key_file", None, "File with a key a line, one of which is needed.")
_CORS = flags.DEFINE_multi_string(
    "cors_origin", [], "Origin whose pages may call the server. By default there is none."
)
_STORE = define_path(
    "store",
    "feedback.db",
    "Store of people's votes, a path or a URL of a database; none: no store.",
)
_DRAIN = flags.DEFINE_float(
    "drain_seconds", 30.0, "Seconds in which what runs is finished at the end.", lower_bound=1.0
)


def main(argv: Sequence[str]) -> None:
    """Loads the models and serves them until a signal comes."""
    from gptjax.chat.chat_model import ChatModel
    from gptjax.runs.workdir import WorkDirectory

    del argv
    # These need packages that are an extra.
    from gptjax.serving.app import Options, keys_in
    from gptjax.serving.feedback import feedback_routes
    from gptjax.serving.guard import LOOPBACK
    from gptjax.serving.life import bound, serve
    from gptjax.serving.page_files import page_routes
    from gptjax.serving.served import Limits, Models, Served

    if not _WORKDIR.value:
        raise ValueError("--workdir: got none, expected the work directory of a run")
    keys = () if _API_KEY_FILE.value is None else keys_in(Path(_API_KEY_FILE.value))
    options = Options(
        keys,
        tuple(_CORS.value),
        loopback=_HOST.value in LOOPBACK,
        limits=Limits(**limits_of_flags()),
    )
    rankers = dict(_named("--ranker", text) for text in _RANKER.value or ())
    runs = dict(_run_named(text) for text in _WORKDIR.value)
    if len(runs) < len(_WORKDIR.value):
        raise ValueError("--workdir: got two of one name, expected NAME=DIR with different names")
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(bound(_HOST.value, _PORT.value))
        store = None
        if _STORE.value != "none":
            store = stack.enter_context(open_store(_STORE.value, create=True))
        enable_compilation_cache()
        models = [
            ChatModel.load(
                WorkDirectory(path),
                name=name,
                rankers=rankers,
                **generator_of_flags(),
            )
            for name, path in runs.items()
        ]
        address = f"http://{_HOST.value}:{listening.getsockname()[1]}/"
        if not options.loopback:
            print(f"note: {address} is reached by other machines too", file=sys.stderr)
        if store is not None:
            print(f"note: votes are kept in {_STORE.value}", file=sys.stderr)
        print(f"serving {', '.join(runs)} at {address}", flush=True)
        served = Models([Served(each, options.limits) for each in models], *judges_of_flags())
        more = [*feedback_routes(store), *page_routes()]
        still_searches = serve(served, options, listening, _DRAIN.value, more)
    if still_searches:
        os._exit(0)  # the limit is over, and the store is closed


def _run_named(text: str) -> tuple[str, str]:
    """The name and the path of NAME=PATH; of a path alone its last part is the name."""
    name, given, path = text.partition("=")
    return (name, path) if given and "/" not in name else (Path(text).resolve().name, text)


def _named(flag: str, text: str) -> tuple[str, str]:
    name, given, value = text.partition("=")
    if not (name and given and value):
        raise ValueError(f"{flag}: got {text!r}, expected NAME=VALUE")
    return name, value


if __name__ == "__main__":
    run(main)
