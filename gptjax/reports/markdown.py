r"""Markdown tables made of values.

print("\n".join(table(("name", "value"), [["a", "1"]])))
"""

from collections.abc import Iterable, Iterator, Sequence


def markdown_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: bool = True
) -> Iterator[str]:
    """The lines of a table; `right` aligns all columns but the first, which hold numbers."""
    rule = ["---"] + ["---:" if right else "---"] * (len(headings) - 1)
    for row in (headings, rule, *rows):
        # A bar within a cell would end it.
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
