"""Which documents are held out: those whose text has a hash in a range.

It is the rule of all corpora (`gptjax.data.corpora.division`): the first 64 bits of SHA-256 of the
text. What is held out at one share is held out at every larger one, whatever else is prepared.
"""

import math
from pathlib import Path

import numpy as np

from gptjax.curation.pipeline.configuration import PrepareConfig
from gptjax.curation.pipeline.work import Run, rows_left
from gptjax.data.corpora.division import LARGEST, held_out_rule


def bounds_of(
    config: PrepareConfig, output: Path, runs: list[Run], before: tuple[str, ...]
) -> dict[str, tuple[int, int]]:
    """For each source the range [first, stop) of a text's hash that holds a document out.

    Where the one share of all sources without a share of their own would leave nothing to train
    on, or nothing held out, one document is left, or held out (`held_out_rule`).

    Args:
      config: of the preparation.
      output: its folder.
      runs: of all sources.
      before: phases that dropped documents.
    """
    fraction = config.shards.validation_fraction
    bound = math.ceil(fraction * LARGEST)
    shared = (0, bound)
    of_shared = [run for run in runs if config.sources[run.source].held_out is None]
    sides = set()
    for run in of_shared:
        table, rows = run.open(output).table, rows_left(output, before, run)
        sides |= set((table["digest_high"][rows] < np.uint64(bound)).tolist())
        if len(sides) == 2:
            break
    if fraction and len(sides) == 1:  # a corpus of few documents
        sizes: dict[int, int] = {}
        for run in of_shared:
            table, rows = run.open(output).table, rows_left(output, before, run)
            numbers, text_bytes = table["digest_high"][rows], table["text_bytes"][rows]
            for number, size in zip(numbers.tolist(), text_bytes.tolist(), strict=True):
                sizes[number] = sizes.get(number, 0) + size
        is_held_out = held_out_rule(sizes, fraction)
        held_out = [number for number in sizes if is_held_out(number)]
        shared = (min(held_out), max(held_out) + 1) if held_out else (0, 0)
    return {
        name: shared if source.held_out is None else (0, math.ceil(source.held_out * LARGEST))
        for name, source in config.sources.items()
    }
