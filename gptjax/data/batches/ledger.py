"""Documents that a run trained on at a step, computed again from the data order.

for passage in passages(prepared.train, batch_schedule(config), seed=0, step=1000):
    print(passage.row, passage.document, passage.tokens)
"""

import dataclasses
import itertools
from collections.abc import Iterable

from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.data.corpora.text import Corpus


@dataclasses.dataclass(frozen=True)
class Passage:
    """Part of one document in a row of a batch.

    Attributes:
      row: of the batch.
      document: number of the document in the split, in the order of the corpus.
      first: place of the passage in the document, in tokens; an end-of-text before it is token 0.
      tokens: how many it is long.
    """

    row: int
    document: int
    first: int
    tokens: int


def passages(split: TokenizedSplit, windows: Iterable[int], context_length: int) -> list[Passage]:
    """Returns what a batch holds, row by row.

    Args:
      split: what is trained on.
      windows: those that the batch's rows are.
      context_length: tokens a window.
    """
    starts, found = split.document_starts, []
    for row, window in enumerate(windows):
        begin, end = window * context_length, (window + 1) * context_length
        first, last = starts.searchsorted([begin, end - 1], side="right") - 1
        for document in range(first, last + 1):
            start = int(starts[document])
            stop = int(starts[document + 1]) if document + 1 < len(starts) else end
            here = max(start, begin)
            found.append(Passage(row, document, here - start, min(stop, end) - here))
    return found


def document_names(
    corpus: Corpus, validation_fraction: float, documents: Iterable[int]
) -> dict[int, str]:
    """Returns the names of training documents by number; the corpus is read up to the last one.

    Args:
      corpus: what was tokenised.
      validation_fraction: share of its documents that is held out.
      documents: numbers in the training split.
    """
    wanted = set(documents)
    is_held_out = corpus.held_out(validation_fraction)
    training = (document for document in corpus if not is_held_out(document))
    names = enumerate(document.name for document in training)
    upto = itertools.islice(names, max(wanted, default=-1) + 1)
    return {number: name for number, name in upto if number in wanted}
