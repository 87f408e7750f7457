r"""Chats with a trained model in the terminal: replies stream, and the conversation goes on.

    python -m experiments.chat --workdir=runs/instruct/ppo
    python -m experiments.chat --workdir=runs/sft --temperature=0.7 --system="You are brief."
    python -m experiments.chat --workdir=runs/sft --ranker=reward_model:runs/reward --best_of=8
    printf 'copy: fox\n/retry\n' | python -m experiments.chat --workdir=runs/sft
    python -m experiments.chat --workdir=runs/sft --prompt="copy: fox"     # one turn

A line is a message, or a command: /help lists them. Ctrl-C ends a reply and keeps the
conversation, Ctrl-D leaves. Where a line of a file or a pipe cannot be done, the exit code is 2.
"""

import importlib
import sys
from collections.abc import Sequence

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from experiments.flags.sampling import refuse_draws, sampling_of_flags
from gptjax.chat.context import OVERFLOW
from gptjax.runs.caches import enable_compilation_cache

_WORKDIR = define_path("workdir", None, "Work directory of the run. It must be given.")
_STEP = flags.DEFINE_integer(
    "restore_step", None, "Checkpoint to read. By default the run chooses."
)
_PROMPT = flags.DEFINE_string(
    "prompt", None, "The one message to answer. By default many are read."
)
_SYSTEM = flags.DEFINE_string("system", None, "The system message. By default there is none.")
_NUM_BEAMS = flags.DEFINE_integer(
    "num_beams", None, "Number of beams to search with. By default tokens are drawn.", lower_bound=1
)
_BEST_OF = flags.DEFINE_integer(
    "best_of", None, "Number of draws, of which the best is the reply.", lower_bound=1
)
_RANKER = define_path(
    "ranker", None, "Reward that chooses the best of the draws. By default the most probable one."
)
_MAX_NEW_TOKENS = flags.DEFINE_integer(
    "max_new_tokens",
    None,
    "Most tokens of a reply. By default the context is filled.",
    lower_bound=1,
)
_OVERFLOW = flags.DEFINE_enum(
    "overflow", "drop_oldest", OVERFLOW, "What happens when the conversation no longer fits."
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the first reply; each further one has the next.", lower_bound=0
)


def main(argv: Sequence[str]) -> None:
    """Reads lines and answers them."""
    from gptjax.chat.chat_model import ChatModel
    from gptjax.chat.replies import Beams, BestOf, Sampling
    from gptjax.chat.terminal import Session
    from gptjax.runs.workdir import WorkDirectory

    del argv
    if _NUM_BEAMS.value is not None and _BEST_OF.value is not None:
        raise ValueError("--num_beams: got it with --best_of, expected one of them")
    if _RANKER.value is not None and _BEST_OF.value is None:
        raise ValueError("--ranker: got it without --best_of, expected both")
    workdir = WorkDirectory(_WORKDIR.value)
    workdir.chat_template()
    enable_compilation_cache()
    rankers = {} if _RANKER.value is None else {_RANKER.value: _RANKER.value}
    model = ChatModel.load(workdir, step=_STEP.value, rankers=rankers)
    policy = sampling = Sampling(**sampling_of_flags())
    sampling.sampler(model, ())  # refuses what is out of range
    if _NUM_BEAMS.value is not None:
        refuse_draws()
        policy = Beams(num_beams=_NUM_BEAMS.value)
    elif _BEST_OF.value is not None:
        policy = BestOf(_BEST_OF.value, _RANKER.value, sampling)
    session = Session(
        model,
        lambda piece: print(piece, end="", flush=True),
        lambda line: print(line, file=sys.stderr, flush=True),
        sampling=sampling,
        policy=policy,
        system=_SYSTEM.value,
        seed=_SEED.value,
        max_new_tokens=_MAX_NEW_TOKENS.value,
        overflow=_OVERFLOW.value,
    )
    if _PROMPT.value is not None:
        lines = iter([_PROMPT.value])
    else:
        lines = _typed() if sys.stdin.isatty() else iter(sys.stdin.read().splitlines())
    done = [session.hear(line) for line in lines if line]
    if not all(done) and (_PROMPT.value is not None or not sys.stdin.isatty()):
        sys.exit(2)


def _typed():
    """Lines of a person, to the end of file; Ctrl-C drops the line."""
    importlib.import_module("readline")  # so that lines can be edited
    print("/help lists the commands, Ctrl-D leaves.", file=sys.stderr)
    while True:
        try:
            yield input("> ")
        except EOFError:
            return
        except KeyboardInterrupt:
            print(file=sys.stderr)


if __name__ == "__main__":
    run(main)
