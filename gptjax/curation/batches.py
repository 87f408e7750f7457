"""Documents in batches, the order in which they count, and how a function is applied to batches.

made = mapper(function, batches(documents))
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gptjax.curation.document import Document, document_key
from gptjax.data.corpora.groups import in_groups
from gptjax.registry import unknown_name

MOST_DOCUMENTS = 1 << 16  # of a batch
_CHARACTERS = 1 << 20

Name = tuple[str, str]  # source and id of a document
Mapper = Callable[[Callable[..., Any], Iterable[Any]], Iterable[Any]]  # in order, as `map` does it


def batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents in lists of about 2^20 characters, or 2^16 documents."""
    return in_groups(documents, _CHARACTERS, MOST_DOCUMENTS)


def order_of_keys(what: str, names: Sequence[Name]) -> np.ndarray:
    """The numbers of documents in the order of their keys, int64 [documents].

    Args:
      what: is done with them, for messages.
      names: of the documents.

    Raises:
      ValueError: no documents, or two of one name.
    """
    if not names:
        raise ValueError(f"{what}: got no documents, expected one at least")
    keys = np.array([document_key(*name) for name in names], "S16")
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    if len(twice):
        source, name = names[int(order[twice[0]])]
        raise ValueError(f"{what}: got the id {name!r} of {source!r} twice, expected distinct ones")
    return order


def priorities(what: str, names: Iterable[Name], priority: Sequence[str]) -> np.ndarray:
    """The place in `priority` of each document's source, int64 [documents].

    Raises:
      ValueError: a source is not in it.
    """
    places = {source: place for place, source in enumerate(priority)}
    found = []
    for source, _ in names:
        if source not in places:
            raise unknown_name(f"corpus in {what}", source, priority)
        found.append(places[source])
    return np.array(found, np.int64)
