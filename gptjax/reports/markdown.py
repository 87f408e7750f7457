r"""Markdown tables made of values.

print("\n".join(table(("name", "value"), [["a", "1"]])))
"""

from collections.abc import Iterable, Iterator, Sequence


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table; all columns but the first are aligned to the right."""
    for row in (headings, ["---"] + ["---:"] * (len(headings) - 1), *rows):
        # A bar within a cell would end it.
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
