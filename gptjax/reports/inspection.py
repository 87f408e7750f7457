"""What `experiments.inspect_data` shows, as text and as a page of HTML.

A section is a heading, a note, column names and rows; `text_of` and `page_of` show sections.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gptjax.reports.page import escaped, html_page, html_table, picture

_SHOWN_CHARACTERS = 300  # of a text, on a terminal


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of what is shown.

    Attributes:
      heading: of it.
      names: of the columns.
      rows: values of each row; the last may be a long text.
      note: what stands below the heading.
    """

    heading: str
    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def text_of(sections: Iterable[Section]) -> Iterator[str]:
    """Lines for a terminal; long texts are cut."""
    for section in sections:
        yield from (section.heading, *([section.note] if section.note else []))
        for row in section.rows:
            *cells, last = row
            shown = _printable(last)
            if len(shown) > _SHOWN_CHARACTERS:
                shown = f"{shown[:_SHOWN_CHARACTERS]} ... ({len(last):,} characters)"
            yield "  " + "  ".join([*cells, shown])
        yield ""


def page_of(
    title: str, sections: Iterable[Section], lengths: Mapping[str, Any], overview: str
) -> str:
    """A page of HTML: the overview, a picture of the documents' lengths, then the sections."""
    body = [f"<p>{escaped(overview)}</p>", picture(_lengths(lengths), "lengths of documents")]
    for section in sections:
        note = f"<p>{escaped(section.note)}</p>" if section.note else ""
        table = html_table(section.names, section.rows, words=True)
        body.append(f"<section><h2>{escaped(section.heading)}</h2>{note}{table}</section>")
    return html_page(title, body)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "⏎" if c == "\n" else "\ufffd" for c in text)


def _lengths(lengths: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure((8, 3), layout="constrained")
    axes = figure.subplots()
    for source, of in lengths.items():
        edges = [*of["from"], 2 * of["from"][-1]] if of["from"] else [1, 2]
        axes.stairs(of["documents"] or [0], edges, label=source)
    axes.set_xscale("log", base=2)
    most = max(itertools.chain([1], *(of["documents"] for of in lengths.values())))
    axes.set(xlabel="tokens of a document", ylabel="documents", ylim=(0, 1.05 * most))
    axes.legend(frameon=False, fontsize=8)
    return figure
