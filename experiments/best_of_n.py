r"""Best-of-n: draws n answers to each prompt and keeps the one of the highest reward.

python -m experiments.best_of_n --workdir=runs/sft --rewards=reward_model:runs/reward --n=16 \
    --prompts=instructions:split=held_out,count=200 --output=runs/best.jsonl
python -m experiments.best_of_n ... --save_conversations=runs/best_chats.jsonl --threshold=0.5
python -m experiments.train ... --config.sft.conversations=jsonl:runs/best_chats.jsonl

The second is rejection sampling, on which the third trains. --output has a line for each prompt:
the answer, its reward, those of all n, and the divergence log n - (n - 1) / n nats from one answer
(Stiennon et al. 2020, arXiv 2009.01325, appendix G.3). What is printed has the mean reward of the
best of 1, 2, 4, ..., n besides.
"""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from experiments.flags.command_line import given, run
from experiments.flags.judging import draws_of_flags, prompts_of_flags, rewards_of_flags
from experiments.flags.paths import define_path
from gptjax.atomic_files import write_json_lines
from gptjax.judging.choices import MOST_ANSWERS
from gptjax.runs.caches import enable_compilation_cache

if TYPE_CHECKING:
    from gptjax.judging.best_answers import Chosen

_WORKDIR = define_path(
    "workdir", None, "Work directory of the run whose model answers. It must be given."
)
_STEP = flags.DEFINE_integer(
    "restore_step", None, "Checkpoint to read. By default the run chooses."
)
_OUTPUT = define_path(
    "output", None, "JSON lines file that is written, one line for each prompt. It must be given."
)
_N = flags.DEFINE_integer(
    "n",
    16,
    "Number of answers that are drawn to each prompt.",
    lower_bound=1,
    upper_bound=MOST_ANSWERS,
)
_UNFINISHED = flags.DEFINE_float(
    "unfinished_reward",
    None,
    "Reward of an answer that does not end. By default it is scored like any other.",
)
_SAVE = define_path(
    "save_conversations",
    None,
    "File that the prompts and their best answers are written to, as conversations for sft. "
    "Answers that do not end are left out.",
)
_THRESHOLD = flags.DEFINE_float(
    "threshold",
    None,
    "With --save_conversations: only answers whose reward is above this are saved.",
)


def main(argv: Sequence[str]) -> None:
    """Writes the files, and prints the summary as one JSON line."""
    from gptjax.judging.best_answers import Chosen, best_answers, best_of_n_curve
    from gptjax.judging.policies import Policy
    from gptjax.runs.workdir import WorkDirectory

    del argv
    output, draws = given(_OUTPUT, "a file to write"), draws_of_flags(_N.value)
    if _THRESHOLD.value is not None and _SAVE.value is None:
        raise ValueError("--threshold: got it alone, expected it with --save_conversations")
    prompts = prompts_of_flags()
    enable_compilation_cache()
    policy = Policy(WorkDirectory(_WORKDIR.value), _STEP.value)
    rewards = rewards_of_flags(policy.template.tokenizer)
    prompts = policy.fitting(prompts, draws["max_new_tokens"])
    found: list[Chosen] = []

    def rows() -> Iterator[dict[str, Any]]:
        for chosen in best_answers(
            policy, rewards, prompts, _N.value, unfinished_reward=_UNFINISHED.value, **draws
        ):
            found.append(chosen)
            yield chosen.row()

    write_json_lines(output, rows())
    rewards_of_all = np.stack([chosen.rewards for chosen in found])
    summary = {
        "prompts": len(found),
        "reward": float(np.mean([chosen.reward for chosen in found])),
        "finished": float(np.mean([chosen.answer.finished for chosen in found])),
        "curve": best_of_n_curve(rewards_of_all, {"reward": rewards_of_all}),
    }
    if _SAVE.value is not None:
        summary["conversations"] = _save(found, _SAVE.value, _THRESHOLD.value)
    print(json.dumps(summary))


def _save(found: "Sequence[Chosen]", path: str, threshold: float | None) -> int:
    """Writes the conversations that are good enough; returns how many."""
    ended = [chosen for chosen in found if chosen.answer.finished]
    kept = [chosen for chosen in ended if threshold is None or chosen.reward > threshold]
    if not kept:
        raise ValueError(
            f"--save_conversations: got {len(ended)} of {len(found)} best answers that end, none "
            f"of them above --threshold={threshold}, expected one or more to be left"
        )
    write_json_lines(path, (chosen.conversation() for chosen in kept))
    return len(kept)


if __name__ == "__main__":
    run(main)
