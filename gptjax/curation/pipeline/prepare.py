"""A preparation from its configuration to shards, an index and a report.

    report = prepare(config, Path("DIR"), executor, progress)

    read      each part of a source: documents are read, repaired, sifted by rules and language
    quality   the classifier learns, and sifts the sources that ask for it
    exact     of equal texts one stays
    near      of similar texts one stays
    cutting   evaluation text, and paragraphs that came before, are looked for
    shards    what is left is cut and becomes tokens

The same command in the same folder goes on after the last task that ended. Another configuration,
or other inputs, are refused there.
"""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.atomic_files import write_json, write_text
from gptjax.curation.executors.tasks import Executor, Task
from gptjax.curation.phases import cutting, exact, near, quality, reading, sharding
from gptjax.curation.pipeline.configuration import PrepareConfig
from gptjax.curation.pipeline.counts import SourceCounts, counted
from gptjax.curation.pipeline.holding_out import bounds_of
from gptjax.curation.pipeline.mixing import mixture_rows, weights_of
from gptjax.curation.pipeline.resolution import near_scheme
from gptjax.curation.pipeline.sources import inputs_of, parts_of
from gptjax.curation.pipeline.work import ProgressBar, Run, Work
from gptjax.curation.pipeline.yaml_file import as_yaml, read_config
from gptjax.data.prepared.index import NAME as INDEX
from gptjax.data.prepared.index import PreparedIndex, write_index
from gptjax.data.prepared.shard_files import ShardEntry
from gptjax.settings import differences
from gptjax.tokenization import load_tokenizer

CONFIG, REPORT, INPUTS = "config.yaml", "report.json", "inputs.json"


def prepare(
    config: PrepareConfig, output: Path, executor: Executor, progress: ProgressBar
) -> dict[str, Any]:
    """Prepares data, or goes on with it, or only reads its report where all was done.

    Args:
      config: resolved.
      output: a folder that is new, or that the same configuration has begun to fill.
      executor: what runs tasks; no byte of the shards depends on it.
      progress: what shows people how far it is.

    Returns:
      The report, see `report_of`.

    Raises:
      ValueError: the folder holds something else, an input has changed or holds nothing, or no
        document is left.
      OSError: a file cannot be written.
      RuntimeError: a task fails at every attempt.
    """
    begin(config, output)
    if (output / INDEX).exists():
        return json.loads((output / REPORT).read_text())
    tokenizer = load_tokenizer(config.tokenizer)
    tokenizer.save(output / "tokenizer")
    work = Work(output, executor, progress)
    counts = {name: SourceCounts() for name in config.sources}

    parts = list(_parts(config))
    runs: list[Run] = []
    read = work.run(reading.PHASE, [_reading(config, output, *part) for part in parts])
    for (source, *_), result in zip(parts, read, strict=True):
        counts[source].add_reading(result)
        runs += [Run(name, source) for name in result["runs"]]

    if not runs:
        raise _nothing_left(output, counts)
    ranked = sorted(config.sources, key=lambda name: (config.sources[name].priority, name))
    figures: dict[str, Any] = {}
    before: tuple[str, ...] = ()
    if config.quality.positives:
        dropped, figures["quality"] = quality.sift(work, config, runs, before)
        before += (quality.PHASE,)
        _count(counts, runs, dropped)
    if config.deduplication.exact:
        dropped = exact.drop_equal(work, runs, ranked, before)
        before += (exact.PHASE,)
        _count(counts, runs, dropped)
    if (scheme := near_scheme(config)) is not None:
        dropped, found = near.drop_similar(work, runs, scheme, ranked, before)
        figures["near_duplicates"] = found | {"scheme": dataclasses.asdict(scheme)}
        before += (near.PHASE,)
        _count(counts, runs, dropped)
    cutter = cutting.look_for(work, config, runs, ranked, before)
    plans = list(_plans(config, output, runs, before))
    made = work.run(
        sharding.PHASE,
        [
            Task(
                plan.name,
                f"{sharding.__name__}:write_part",
                {"output": str(output), "plan": plan, "cutter": cutter},
            )
            for plan in plans
        ],
    )
    for plan, result in zip(plans, made, strict=True):
        counts[plan.source].add_shard(result)
    overlaps = (result["overlap"] for result in made if result["overlap"])
    figures["contamination"] = cutting.measured(output, cutter, overlaps)

    entries = [ShardEntry(**entry) for result in made for entry in result["entries"]]
    if not any(entry.split == "train" for entry in entries):
        raise _nothing_left(output, counts)
    for name, of in counts.items():
        of.check(name)
    index = PreparedIndex(
        tokenizer_hash=tokenizer.content_hash(),
        vocab_size=tokenizer.vocab_size,
        end_of_text=tokenizer.end_of_text,
        keeps_text=tokenizer.keeps_text,
        packing=config.mixture.packing,
        weights=weights_of(config, entries),
        shards=tuple(sorted(entries, key=lambda entry: entry.name)),
        provenance={"configuration": json.loads(json.dumps(dataclasses.asdict(config)))},
    )
    report = {
        "sources": {name: of.as_json() for name, of in counts.items()},
        "mixture": mixture_rows(config, index),
        "tokens": {
            split: sum(entry.tokens for entry in index.entries(split)) for split in sharding.SPLITS
        },
        "shards": len(entries),
        "content_hash": index.content_hash,
        **figures,
    }
    write_json(output / REPORT, report)
    write_index(output, index)
    shutil.rmtree(output / "work")
    return report


def begin(config: PrepareConfig, output: Path) -> None:
    """Writes down what is prepared and of what; refuses (ValueError) a folder that has another."""
    output.mkdir(parents=True, exist_ok=True)
    sources = config.sources.items()
    inputs = dict(itertools.chain.from_iterable(inputs_of(*each).items() for each in sources))
    if (output / CONFIG).exists():
        _check_same(config, read_config(output / CONFIG), output)
        known = json.loads((output / INPUTS).read_text())
        for name in sorted({*known, *inputs}):
            if known.get(name, ()) != inputs.get(name, ()):
                raise ValueError(
                    f"--output: {output} was begun with other inputs: {name} has changed since, "
                    "expected the same files, or a new folder"
                )
        return
    if any(file.name != "lock" and file.name[0] != "." for file in output.iterdir()):
        raise ValueError(
            f"--output: {output} has other files in it, expected a new folder, or one that this "
            "command has begun to fill"
        )
    write_json(output / INPUTS, inputs)
    write_text(output / CONFIG, as_yaml(config))


def _check_same(config: PrepareConfig, known: PrepareConfig, output: Path) -> None:
    """Refuses another configuration, but for how often a task is tried."""
    changes = [
        change
        for change in differences(config, known, ("",))
        if not change.startswith("execution.attempts:")
    ]
    if changes:
        raise ValueError(
            f"--output: {output} was begun with another configuration: {'; '.join(changes)}; "
            "expected the same one, or a new folder"
        )


def _nothing_left(output: Path, counts: dict[str, SourceCounts]) -> ValueError:
    return ValueError(
        f"{output}: got no document that is left to train on, expected one at least; "
        f"{counted(counts)}"
    )


def _parts(config: PrepareConfig) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Source, name and files of each part."""
    most_bytes = int(config.execution.part_megabytes * 1e6)
    for name, source in config.sources.items():
        for number, files in enumerate(parts_of(name, source, most_bytes)):
            yield name, f"{number:05}", files


def _reading(
    config: PrepareConfig, output: Path, source: str, part: str, files: tuple[Any, ...]
) -> Task:
    arguments = {"output": str(output), "config": config, "source": source}
    return Task(
        f"{source}-{part}",
        f"{reading.__name__}:read_part",
        arguments | {"part": part, "files": files},
    )


def _count(
    counts: dict[str, SourceCounts], runs: Iterable[Run], dropped: Iterable[dict[str, int]]
) -> None:
    for run, by_reason in zip(runs, dropped, strict=True):
        counts[run.source].drop(by_reason)


def _plans(
    config: PrepareConfig, output: Path, runs: list[Run], before: tuple[str, ...]
) -> Iterator[sharding.ShardPlan]:
    """The shards of every source: as many as its text after reading fills."""
    bounds = bounds_of(config, output, runs, before)
    for source in config.sources:
        own = [run for run in runs if run.source == source]
        size = sum(int(np.sum(run.open(output).table["text_bytes"])) for run in own)
        parts = -(-size // int(config.shards.megabytes * 1e6)) if own else 0
        for number in range(parts):
            yield sharding.ShardPlan(
                source, number, parts, tuple(run.name for run in own), before, bounds[source]
            )
