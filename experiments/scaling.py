r"""Predictable scaling: trains a ladder of small runs, predicts the loss of a large one, trains it.

    python -m experiments.scaling --experiment=scaling_smoke --workdir=runs/scaling
    python -m experiments.scaling --experiment=scaling_miniature --workdir=runs/books \
        --target="data.corpus=text:books" --sizes=2x8,2x10,2x14,2x18,2x22,2x26,2x30
    python -m experiments.scaling --experiment=scaling_miniature --plan
    python -m experiments.scaling --plan --flops=1e21

The experiment is the large run (GPT-4 report, section 3). The ladder has its configuration in
other sizes: tokens follow the parameters, batch and rate follow the compute. L(C) = a C^b + c is
fitted to the held-out losses, and prediction.json is written with its time and a SHA-256 hash
before the large run starts; it is never overwritten. Each run is a work directory below --workdir,
and the same command goes on where it stopped. --runs takes runs of yours as the ladder. --plan
shows the runs and their costs and trains nothing; with --flops it shows the best run for a budget.
scaling.json, .md and .png are written last.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from absl import flags

from experiments.configs import experiment_named
from experiments.flags.command_line import run
from experiments.flags.paths import define_path, define_paths
from gptjax.runs.caches import enable_compilation_cache
from gptjax.scaling.choices import COUNTS
from gptjax.studies.changes import Changes, parse_values
from gptjax.studies.choices import LARGEST_SHARE

_EXPERIMENT = flags.DEFINE_string(
    "experiment", "scaling_smoke", "Experiment that is the large run, as experiments.list names it."
)
_WORKDIR = define_path("workdir", None, "Directory of the study; by default runs/EXPERIMENT.")
_TARGET = flags.DEFINE_string(
    "target", None, "Changes of the large run: section.field=value, with commas between them."
)
_SIZES = flags.DEFINE_string(
    "sizes",
    "auto",
    "Sizes of the ladder, LAYERSxWIDTH with commas between; auto: six widths of the target's "
    "depth, from 1/10,000 to 1/100 of its compute.",
)
_RUNS = define_paths("runs", [], "Ended runs, by their work directories, that are the ladder.")
_COUNT = flags.DEFINE_enum(
    "count", "non_embedding", list(COUNTS), "FLOPs that are the compute of a run."
)
_SHARE = flags.DEFINE_float(
    "largest_share", LARGEST_SHARE, "Largest share of the target's compute.", 0.0, 1.0
)
_PLAN = flags.DEFINE_bool("plan", False, "Shows the runs and their costs, and trains nothing.")
_FLOPS = flags.DEFINE_float("flops", None, "With --plan: a budget of training FLOPs.", 0.0)
_SPEED = flags.DEFINE_float(
    "device_flops",
    4e14,
    "With --flops: FLOPs that a device does a second; the default is 40% of an H100's peak.",
    1.0,
)
_SHARES = (1e-4, 1e-3, 1e-2, 1.0)


def main(argv: Sequence[str]) -> None:
    """Runs what of the study has not run yet, and reports it."""
    from gptjax.runs.initial.inherited import inherit
    from gptjax.scaling.recipes import recipe_for
    from gptjax.studies.scaling_laws import report
    from gptjax.studies.scaling_laws.ladder import automatic_sizes, parse_sizes
    from gptjax.studies.scaling_laws.study import from_runs, planned

    del argv
    if _FLOPS.value is not None:
        if not _PLAN.value:
            raise ValueError(f"--flops: got {_FLOPS.value:g} without --plan, expected both")
        recipes = [recipe_for(_FLOPS.value * share) for share in _SHARES]
        print("\n".join(report.recipe_lines(recipes, _SPEED.value)))
        return
    enable_compilation_cache()
    name, root = _EXPERIMENT.value, Path(_WORKDIR.value or f"runs/{_EXPERIMENT.value}")
    base = experiment_named(name)()
    if _TARGET.value is not None:
        base = Changes("", parse_values(base, _TARGET.value, "--target")).of(base)
    inherit(base, {"data.tokenizer"})  # the size of the vocabulary
    if _RUNS.value:
        study = from_runs(name, base, root, _COUNT.value, _RUNS.value)
    else:
        auto = _SIZES.value == "auto"
        sizes = automatic_sizes(base) if auto else parse_sizes(_SIZES.value)
        study = planned(name, base, root, _COUNT.value, sizes, _SHARE.value)
    print("\n".join(report.plan_lines(study.rungs, study.target)), flush=True)
    if _PLAN.value:
        return
    summary = study.run(partial(print, flush=True))
    print(report.markdown(summary))
    print(f"{root}: prediction.json, scaling.json, .md and .png are written")


if __name__ == "__main__":
    run(main)
