r"""Rates checkpoints by judgements of their answers: Bradley-Terry on Elo's scale, with intervals.

python -m experiments.elo --systems=sft=runs/sft,ppo=runs/ppo,early=runs/ppo@40 --rewards=gold \
    --prompts=instructions:split=held_out,count=200 --output=runs/elo.json --page=runs/elo.html
python -m experiments.elo --votes=votes.jsonl --output=runs/elo.json

Rewards score an answer of each system to each prompt (--samples: several), and of every two the
higher score wins; people's votes are rows {"a": NAME, "b": NAME, "winner": "a", "b" or "tie"}, with
a "prompt" where several are about the same, or --votes=votes:STORE. Ratings are those of all
judgements, of mean 1000; rewards the same, of mean 0 and deviation 1. --page shows answers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from experiments.flags.command_line import given, run
from experiments.flags.judging import draws_of_flags, prompts_of_flags, rewards_of_flags
from experiments.flags.paths import define_path, define_paths
from gptjax.alignment.rewards import Reward
from gptjax.atomic_files import write_json
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.data.dialogue.records import Records
from gptjax.judging.choices import MOST_ANSWERS
from gptjax.reports.samples import write_samples
from gptjax.runs.caches import enable_compilation_cache

if TYPE_CHECKING:
    from gptjax.judging.policies import Policy
    from gptjax.judging.ratings import Answers

_SYSTEMS = define_paths(
    "systems", [], "Systems to rate, with commas between: NAME=WORKDIR or NAME=WORKDIR@STEP."
)
_VOTES = define_path(
    "votes",
    None,
    "People's votes, in place of --systems and --rewards: a JSON lines file, or votes:STORE, the "
    "rankings in a store of feedback.",
)
_SAMPLES = flags.DEFINE_integer(
    "samples", 1, "Answers of a system to a prompt.", lower_bound=1, upper_bound=MOST_ANSWERS
)
_TIE_MARGIN = flags.DEFINE_float(
    "tie_margin", 0.0, "Answers tie when their rewards differ by this or less.", lower_bound=0.0
)
_PRIOR = flags.DEFINE_float(
    "prior",
    None,
    "Standard deviation of a prior, in points, which rates a system that never loses, too.",
)
_OUTPUT = define_path("output", None, "JSON file to write. It must be given.")
_PAGE = define_path(
    "page", None, "HTML file to write, with the answers to the first prompts side by side."
)
_SHOWN = 100  # prompts on a page


def main(argv: Sequence[str]) -> None:
    """Prints the table and writes the files."""
    from gptjax.judging.ratings import rating_lines, report, votes_of
    from gptjax.runs.provenance import provenance

    del argv
    output = Path(given(_OUTPUT, "a file to write"))
    if bool(_SYSTEMS.value) == (_VOTES.value is not None):
        raise ValueError(
            f"--systems and --votes: got {'both' if _VOTES.value else 'neither'}, expected one"
        )
    if _VOTES.value is not None:
        if _PAGE.value is not None:
            raise ValueError("--page: got it with --votes, which have no answers, expected none")
        figures = report(votes_of(_VOTES.value), _PRIOR.value)
    else:
        figures = _of_systems()
    print("\n".join(rating_lines(figures)))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, {**figures, **provenance()})


def _of_systems() -> dict[str, Any]:
    """Draws, judges and rates, one system after another; only one is in memory."""
    from gptjax.judging.policies import Policy
    from gptjax.judging.ratings import judge_pairs, report, score, systems_of
    from gptjax.runs.workdir import WorkDirectory

    systems, prompts = systems_of(_SYSTEMS.value), prompts_of_flags()
    enable_compilation_cache()
    rewards: dict[str, list[Reward]] = {}  # by the tokenizer whose answers they read
    samples = {}
    for name, (path, step) in systems.items():
        policy = Policy(WorkDirectory(path, f"--systems={name}"), step)
        tokenizer = policy.template.tokenizer
        key = tokenizer.content_hash()
        if key not in rewards:
            rewards[key] = rewards_of_flags(tokenizer)
        samples[name] = score(_answers(policy, prompts), rewards[key])
    shared = [prompt for prompt in prompts if all(prompt in of for of in samples.values())]
    if not shared:
        raise ValueError("--prompts: got none that fits all of --systems, expected shorter ones")
    samples = {name: {prompt: of[prompt] for prompt in shared} for name, of in samples.items()}
    if _PAGE.value is not None:
        shown = shared[:_SHOWN]
        first = {name: [of[prompt][0] for prompt in shown] for name, of in samples.items()}
        write_samples(_PAGE.value, shown, first, title=f"{', '.join(systems)}: {prompts.name}")
    figures = report(judge_pairs(samples, _TIE_MARGIN.value), _PRIOR.value)
    return {**figures, "prompts": len(shared), "systems": dict(systems)}


def _answers(policy: "Policy", prompts: Records[Conversation]) -> "Answers":
    draws = draws_of_flags(_SAMPLES.value)
    kept = policy.fitting(prompts, draws["max_new_tokens"])
    return dict(zip(kept, policy.answers(kept, _SAMPLES.value, **draws), strict=True))


if __name__ == "__main__":
    run(main)
