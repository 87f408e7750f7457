r"""Reproduces the tables of papers: the published number, ours beside it, and the claims.

    python -m experiments.reproduce --list
    python -m experiments.reproduce --table=gpt3:2.1 --workdir=runs/tables --form=full
    python -m experiments.reproduce --table=gpt3:3.9 --workdir=runs/tables
    python -m experiments.reproduce --table=gpt2:3 --workdir=runs/tables --data=DIR --dry_run

The mini form of a table trains small models, which fit two cores; the full form is the paper's
size. What is missing is trained, the cheapest model first, each in a work directory of its own
below --workdir; the same command goes on where it stopped. table.md, .json, .html and .png are
written. Cells that were never run say so. Where a run fails the rest goes on, and the exit code
is 1.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.configs import experiment_named
from experiments.flags.command_line import given, run
from experiments.flags.paths import define_path
from gptjax.runs.caches import enable_compilation_cache
from gptjax.studies.choices import FORMS
from gptjax.studies.paper_tables.report import lines, write

_TABLE = flags.DEFINE_string("table", None, "Table, as --list names it. It must be given.")
_WORKDIR = define_path("workdir", None, "Folder of all tables and their runs. It must be given.")
_FORM = flags.DEFINE_enum("form", "mini", list(FORMS), "The paper's size, or one for two cores.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each model.", lower_bound=1)
_DATA = define_path("data", None, "Folder with the files of evals; see experiments.evals --list.")
_LIMIT = flags.DEFINE_integer("limit", None, "Items of each eval. By default all.", lower_bound=1)
_DRY_RUN = flags.DEFINE_boolean(
    "dry_run", False, "Says what both forms cost, in FLOPs and memory, and trains nothing."
)
_LIST = flags.DEFINE_boolean("list", False, "Lists the tables.")


def main(argv: Sequence[str]) -> None:
    """Prints the table and writes its files."""
    from experiments.tables import TABLES
    from gptjax.studies.paper_tables.plan import plan_lines
    from gptjax.studies.paper_tables.reproduce import folder_of, reproduce

    del argv
    if _LIST.value:
        for name in TABLES:
            table = TABLES.get(name)()
            print(f"{name}: {table.title}, {len(table.cells)} cells, {len(table.claims)} claims")
        return
    table = TABLES.get(given(_TABLE, "a table that --list names"))()
    if _DRY_RUN.value:
        print("\n".join(plan_lines(table, experiment_named)))
        return
    root = given(_WORKDIR, "a folder")
    enable_compilation_cache()
    summary = reproduce(
        table,
        root,
        form=_FORM.value,
        seeds=_SEEDS.value,
        data=_DATA.value,
        limit=_LIMIT.value,
        experiment=experiment_named,
    )
    folder = folder_of(table, root, _FORM.value)
    write(summary, folder)
    print("\n".join([*lines(summary), f"{Path(folder) / 'table.md'}, .json, .html and .png"]))
    if summary["failed"]:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
