r"""Trials at equal budget: trains variants of an experiment on the same data and compares them.

    python -m experiments.compare --experiment=compare_smoke --workdir=runs/compare
    python -m experiments.compare --experiment=gpt2_small --workdir=runs/gpt2_attention \
        --variants="dense;dense,banded(window=256)" --budget=seconds --seeds=5
    python -m experiments.compare --experiment=transformer_smoke --workdir=runs/heads \
        --variants="base; one head: model.num_heads=1,model.d_head=64,model.d_value=64"

Semicolons stand between variants. A variant is a list of `section.field=value` of any fields that
change what a run learns, with commas between them. An attention specification alone stands for
`model.attention`, and `base` for the experiment as it is. `NAME:` before a variant names it.

It works for every kind of run that learns from batches: pretrain, masked_lm, translation,
classification, sft, reward_model, dpo. Fields that decide what is judged (corpus, tokenizer, sets,
context) are refused, and so are those that the comparison sets itself (seed, number of steps). Only
`data.corpus` may vary among prepared data whose held-out shards are the same (docs/data_engine.md).

The first variant trains as the experiment says, for its `num_steps` or epochs, and so fixes the
budget; the others train until they have spent as much of

    tokens    training tokens: all of one corpus see the same examples;
    flops     executed training FLOPs, by the formulas of the kind of run, to the nearest step;
    seconds   training seconds, by the median of ten steps that are timed once for each variant and
              kept in `measured.json`, so that a comparison that goes on later is the same.

Learning-rate schedules are laid over each run's own length; runs of one seed see the same examples
in the same order. Each run is a work directory below `--workdir`, as experiments.train makes them:
the same command goes on where it stopped, more variants or seeds add runs, and another
configuration, budget or first variant is refused. comparison.json, .md and .png are written last:
every figure of the evaluations, and its paired difference to the first variant, with intervals.
--tasks adds the figures of evals: --tasks=lambada,piqa --data=DIR --shots=0.
"""

from collections.abc import Sequence

from absl import flags

from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.runs.caches import enable_compilation_cache
from gptjax.studies.choices import BUDGETS

FLAGS = flags.FLAGS
_WORKDIR = define_path(
    "workdir",
    None,
    "Work directory of the comparison. The same command resumes there. It must be given.",
)
_VARIANTS = flags.DEFINE_string(
    "variants",
    "dense;dense,banded(window=64);strided(stride=16)",
    "Variants that are compared, with semicolons between them: section.field=value, or several "
    "with commas between them; or an attention specification; or base. NAME: before one names it.",
)
_BUDGET = flags.DEFINE_enum("budget", "flops", list(BUDGETS), "What is equal for all variants.")
_SEEDS = flags.DEFINE_integer(
    "seeds", 3, "Number of runs of each variant, each with a seed of its own.", lower_bound=1
)
_TASKS = flags.DEFINE_string(
    "tasks",
    None,
    "Evals that judge language models besides their loss, as experiments.evals names them.",
)
_SHOTS = flags.DEFINE_string("shots", "0", 'Examples before each item; "fit": as many as fit.')
_DATA = define_path("data", None, "Folder with the files of the tasks.")
TABLE_WIDTH = 150


def main(argv: Sequence[str]) -> None:
    """Compares what the flags say."""
    from gptjax.evals.evaluation import number_of_shots
    from gptjax.evals.judges import of_tasks
    from gptjax.evals.tasks import load_tasks
    from gptjax.runs.kind import kind_of
    from gptjax.runs.workdir import WorkDirectory
    from gptjax.studies.equal_budget.comparison import compare
    from gptjax.studies.equal_budget.report import comparison_tables
    from gptjax.studies.equal_budget.variants import parse_variants
    from gptjax.training.reporting.progress import Terminal

    del argv
    enable_compilation_cache()
    variants = parse_variants(FLAGS.config, _VARIANTS.value)
    workdir = WorkDirectory(_WORKDIR.value)
    tasks = [] if _TASKS.value is None else list(load_tasks(_TASKS.value, _DATA.value))
    kind = kind_of(FLAGS.config)
    if tasks and kind.makes != "language model":
        raise ValueError(
            f"--tasks: got {_TASKS.value} with runs of kind {kind.name}, expected them with "
            "language models"
        )
    summary = compare(
        FLAGS.experiment,
        FLAGS.config,
        workdir,
        variants,
        _BUDGET.value,
        _SEEDS.value,
        of_tasks(tasks, number_of_shots(_SHOTS.value)),
    )
    console = Terminal()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(comparison_tables(summary))
    print(f"{workdir.path}/comparison.json, .md and .png are written")


if __name__ == "__main__":
    run(main, with_experiment=True)
