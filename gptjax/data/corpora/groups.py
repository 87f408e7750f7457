"""Documents in lists of bounded size, such as a tokenizer takes at once.

for group in in_groups(corpus):
    tokenizer.encode_batch([document.text for document in group])
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

CHARACTERS = 1 << 20


class _HasText(Protocol):
    @property
    def text(self) -> str: ...


Some = TypeVar("Some", bound=_HasText)


def in_groups(
    documents: Iterable[Some], characters: int = CHARACTERS, most: int | None = None
) -> Iterator[list[Some]]:
    """Lists of documents in their order, none of them empty.

    Args:
      documents: anything with a `text`.
      characters: with which a list ends; its last document may exceed them.
      most: documents of a list; None: any number.
    """
    group: list[Some] = []
    held = 0
    for document in documents:
        group.append(document)
        held += len(document.text)
        if held >= characters or len(group) == most:
            yield group
            group, held = [], 0
    if group:
        yield group
