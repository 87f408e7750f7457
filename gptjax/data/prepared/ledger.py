"""Documents of prepared data that a run trained on at a step, computed again from the data order.

found, names = mixed_passages(mixture, examples)
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from gptjax.data.batches.ledger import Passage
from gptjax.data.batches.mixture import Mixture
from gptjax.data.prepared.rows import DocumentRows, StreamRows


def mixed_passages(
    mixture: Mixture, examples: Sequence[int]
) -> tuple[list[Passage], dict[int, str]]:
    """What the rows of a batch hold, and the names of the documents by number.

    Documents of all sources are numbered one source after another.

    Args:
      mixture: of prepared data, see `mixture_of`.
      examples: of the batch, in the order of its rows.
    """
    rows: list[StreamRows | DocumentRows] = [*mixture.sources.values()]  # pyright: ignore
    counts = np.cumsum([0, *(len(each.split.document_starts) for each in rows)])
    found, names = [], {}
    located, indices = mixture.locate(np.array(examples))
    for row, (source, index) in enumerate(zip(located.tolist(), indices.tolist(), strict=True)):
        of_source, first = rows[source], int(counts[source])
        for passage in of_source.passages(index):
            number = first + passage.document
            found.append(dataclasses.replace(passage, row=row, document=number))
            about = of_source.split.about(passage.document)
            names[number] = f"{about['source']}: {about['id']}"
    return found, names
