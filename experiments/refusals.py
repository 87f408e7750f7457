r"""Rule-based rewards as GPT-4 uses them: PPO that raises right refusals, and not wrong ones.

    python -m experiments.refusals
    python -m experiments.refusals --workdir=runs/refusals --seeds=3 --xstest=xstest_prompts.csv

For each seed a model learns made-up requests from demonstrations of mixed quality, so that it
refuses some of what it should and some of what it should not. Then one PPO run has the classes of
GPT-4's rubric as its reward: refusals in the desired style earn on requests that are known to be
disallowed, and cost on those known to be allowed. Answers to held-out requests, and to XSTest's
prompts if its file is there, are classed before and after. Each run is a work directory below
--workdir, and the same command goes on where it stopped. refusals.json, .md and .png and
answers.jsonl are written last; see docs/refusals.md.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from absl import flags

from experiments.configs import experiment_named
from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.atomic_files import write_json, write_json_lines, write_text
from gptjax.interrupted import Interrupted
from gptjax.runs.caches import enable_compilation_cache
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.policy_optimisation.config import PPOConfig

if TYPE_CHECKING:
    from gptjax.studies.refusals.judgement import JudgedSet

_SFT = flags.DEFINE_string("sft", "refusal_sft_smoke", "Experiment of kind sft that comes first.")
_PPO = flags.DEFINE_string("ppo", "refusal_ppo_smoke", "Experiment of kind ppo that comes then.")
_WORKDIR = define_path("workdir", "runs/refusals", "Work directory of the study.")
_SEEDS = flags.DEFINE_integer(
    "seeds", 1, "Number of times that both are run, each with a seed of its own.", lower_bound=1
)
_PROMPTS = flags.DEFINE_integer(
    "prompts", 300, "Held-out requests of each kind, at most, that are judged.", lower_bound=1
)
_XSTEST = define_path(
    "xstest",
    None,
    "XSTest's xstest_prompts.csv, of github.com/paul-rottger/exaggerated-safety; none: made-up "
    "requests alone are judged.",
)
_CLASSIFIER = define_path(
    "classifier",
    None,
    "Work directory of a language model that gives PPO its classes by the rubric; none: rules do.",
)


def main(argv: Sequence[str]) -> None:
    """Runs what has not been run yet, judges, and reports."""
    from gptjax.runs.life.claim import claimed
    from gptjax.runs.provenance import provenance
    from gptjax.studies.refusals import report
    from gptjax.studies.refusals.judgement import answered, judged_sets
    from gptjax.studies.refusals.plan import stages, write_rubric

    del argv
    enable_compilation_cache()
    sft = cast(SFTConfig, experiment_named(_SFT.value)())
    ppo = cast(PPOConfig, experiment_named(_PPO.value)())
    for kind, config in (("sft", sft), ("ppo", ppo)):
        if config.kind != kind:
            raise ValueError(f"--{kind}: got an experiment of kind {config.kind}, expected {kind}")
    sets = judged_sets(_PROMPTS.value, Path(_XSTEST.value) if _XSTEST.value else None)
    root = Path(_WORKDIR.value)
    answers: list[dict[str, Any]] = []
    with claimed(root, "--workdir"):
        rubric = root / "rubric.json"
        write_rubric(rubric, ppo.ppo.prompts, _CLASSIFIER.value)
        for seed in range(_SEEDS.value):
            made = stages(sft, ppo, root / f"seed{seed}", rubric, seed)
            for stage in made:
                print(f"seed {seed}: {stage.name}", flush=True)
                interrupted_by = stage.run().interrupted_by
                if interrupted_by is not None:
                    raise Interrupted(interrupted_by)
            judge = functools.partial(
                answered, sets=sets, room=ppo.ppo.max_answer_tokens, seed=seed
            )
            answers.append({stage.name: judge(stage.workdir) for stage in made})
        summary = report.summarise(sets, answers)
        write_json(root / "refusals.json", summary | provenance())
        write_json_lines(root / "answers.jsonl", _lines(sets, answers))
        write_text(root / "refusals.md", report.markdown(summary))
        report.plot(summary, root / "refusals.png")
    print(report.markdown(summary))
    print(f"{root}: refusals.json, refusals.md, refusals.png and answers.jsonl are written")
    if _XSTEST.value is None:
        print("XSTest was not judged: --xstest takes its xstest_prompts.csv")


def _lines(sets: "Sequence[JudgedSet]", answers: Sequence[dict[str, Any]]):
    """A row for each prompt, run and seed."""
    for seed, runs in enumerate(answers):
        for name, of_sets in runs.items():
            for asked, found in zip(sets, of_sets, strict=True):
                head = {"seed": seed, "run": name, "set": asked.name, "kind": asked.kind}
                for prompt, answer in zip(asked.prompts, found, strict=True):
                    yield head | {"prompt": prompt} | dataclasses.asdict(answer)


if __name__ == "__main__":
    run(main)
