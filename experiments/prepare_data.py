r"""Prepares training data: reads, sifts, deduplicates, decontaminates, mixes, tokenises, shards.

    python -m experiments.prepare_data --experiment=prepare_smoke --output=prepared/smoke
    python -m experiments.prepare_data --config=web.yaml --output=prepared/web --processes=16
    python -m experiments.train --experiment=gpt2_smoke --workdir=runs/web \
        --config.data.corpus=prepared:prepared/web --config.data.tokenizer=prepared/web/tokenizer

FILE.yaml has the fields of a preparation; --show prints all of them with their values, which is a
file to begin with. The same command in the same folder goes on after the last shard that was
finished, on any number of processes and any executor: no byte of the result depends on them.
report.txt, report.json and report.html say what became of every document; `python -m
experiments.inspect_data --data=DIR` looks into the result.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from experiments.configs import PREPARATIONS, maker_named
from experiments.flags.command_line import run
from experiments.flags.paths import define_path
from gptjax.curation.executors.local import LocalProcesses
from gptjax.curation.executors.ray_cluster import RayCluster
from gptjax.curation.executors.tasks import Executor, InProcess
from gptjax.curation.pipeline.configuration import PrepareConfig
from gptjax.curation.pipeline.resolution import resolve
from gptjax.curation.pipeline.yaml_file import as_yaml, read_config
from gptjax.reports.preparation import write_report

_CONFIG = define_path("config", None, "File of YAML with the fields of a preparation.")
_EXPERIMENT = flags.DEFINE_string(
    "experiment",
    None,
    "Name of a preparation, or of a function of yours that returns one: python:MODULE:FUNCTION. "
    f"Names: {', '.join(PREPARATIONS)}.",
)
_OUTPUT = define_path(
    "output", None, "Folder of the prepared data. The same command goes on there."
)
_EXECUTOR = flags.DEFINE_enum(
    "executor",
    "local",
    ["local", "ray"],
    "Where tasks run: in processes of this machine, or on the Ray cluster that RAY_ADDRESS names "
    "(without it, one that is started here).",
)
_PROCESSES = flags.DEFINE_integer(
    "processes",
    None,
    "Processes on this machine; 0: all is done in this one. By default one for each core.",
    lower_bound=0,
)
_SHOW = flags.DEFINE_bool("show", False, "Whether only the fields are printed, as YAML.")


def main(argv: Sequence[str]) -> None:
    """Prepares what the flags say."""
    from gptjax.curation.pipeline.prepare import prepare
    from gptjax.curation.pipeline.progress import PhaseBar
    from gptjax.runs.life.claim import claimed

    del argv
    config, origin = _config()
    if _SHOW.value:
        print(as_yaml(config), end="")
        return
    config = resolve(config, origin)
    if _OUTPUT.value is None:
        raise ValueError("--output: got none, expected a folder for the prepared data")
    output, make = Path(_OUTPUT.value), _executor(config)
    with claimed(output, "--output"), PhaseBar() as bar, contextlib.closing(make()) as executor:
        report = prepare(config, output, executor, bar)
        text = write_report(output, report)
    print(text)
    print(
        f"{output}/report.txt, .json and .html are written; --config.data.corpus=prepared:{output}"
    )


def _config() -> tuple[PrepareConfig, str]:
    """The configuration, and what messages about its fields begin with."""
    file, name = _CONFIG.value, _EXPERIMENT.value
    if file is not None and name is None:
        return read_config(Path(file)), file
    if name is not None and file is None:
        return maker_named(name, PREPARATIONS, PrepareConfig)(), name
    got = "neither" if file is None else "both"
    raise ValueError(f"--config, --experiment: got {got}, expected one of them")


def _executor(config: PrepareConfig) -> Callable[[], Executor]:
    processes, attempts = _PROCESSES.value, config.execution.attempts
    if _EXECUTOR.value == "ray":
        return lambda: RayCluster(processes, attempts)
    if processes == 0:
        return InProcess
    return lambda: LocalProcesses(processes or len(os.sched_getaffinity(0)), attempts)


if __name__ == "__main__":
    run(main)
