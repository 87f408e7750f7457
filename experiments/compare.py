r"""Trials at equal budget: trains attention variants on the same data and compares them.

    python -m experiments.compare --experiment=compare_smoke --workdir=runs/compare
    python -m experiments.compare --experiment=gpt2_small --workdir=runs/gpt2_attention \
        --variants="dense;dense,banded(window=256)" --budget=seconds --seeds=5

A variant is an attention specification; semicolons stand between variants, since a specification
is itself a list over layers. The first variant trains as the experiment says, for its `num_steps`,
and so fixes the budget; the others train until they have spent as much of

    tokens    training tokens: all take the same steps;
    flops     executed training FLOPs (`models/costs.py`), to the nearest step;
    seconds   training seconds, by the median of ten steps that are timed once for each variant and
              kept in `measured.json`, so that a comparison that goes on later is the same.

Learning-rate schedules are laid over each run's own length; runs of one seed see the same examples
in the same order. Each run is a work directory below `--workdir`, as experiments.train makes them:
the same command goes on where it stopped, more variants or seeds add runs, and another
configuration, budget or first variant is refused. comparison.json, .md and .png are written last.
"""

from collections.abc import Sequence

from absl import flags
from rich.console import Console

from experiments.flags.command_line import run
from gptjax.runs.caches import enable_compilation_cache
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.equal_budget.comparison import compare
from gptjax.studies.equal_budget.plan import BUDGETS, parse_variants
from gptjax.studies.equal_budget.report import comparison_table

FLAGS = flags.FLAGS
_WORKDIR = flags.DEFINE_string("workdir", None, "Where the comparison lives; it resumes there.")
_VARIANTS = flags.DEFINE_string(
    "variants",
    "dense;dense,banded(window=64);strided(stride=16)",
    "Attention specifications, joined by semicolons.",
)
_BUDGET = flags.DEFINE_enum("budget", "flops", list(BUDGETS), "What is equal.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each variant.", lower_bound=1)
TABLE_WIDTH = 150


def main(argv: Sequence[str]) -> None:
    """Compares what the flags say."""
    del argv
    enable_compilation_cache()
    variants = parse_variants(_VARIANTS.value, FLAGS.config.model.context_length)
    workdir = WorkDirectory(_WORKDIR.value)
    summary = compare(
        FLAGS.experiment, FLAGS.config, workdir, variants, _BUDGET.value, _SEEDS.value
    )
    if summary is None:
        print("stopped; the same command goes on there")
        return
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(comparison_table(summary))
    print(f"{workdir.path}/comparison.json, .md and .png are written")


if __name__ == "__main__":
    run(main, with_experiment=True, kind="pretrain")
