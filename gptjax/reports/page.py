"""Pages of HTML that are one file: no script, no other file, all text escaped.

html_page("Title", [html_table(("name", "count"), [["a", "1"]]), picture(figure)])
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --line: #b0b6bd66; --soft: #7f8a9622; --best: #2e7d5b; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem;
  max-width: 90rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1rem; margin: 0 0 .5rem; opacity: .7; }
section { border-top: 1px solid var(--line); padding: 1rem 0; }
.prompt, .answer { white-space: pre-wrap; overflow-wrap: anywhere; }
.prompt { background: var(--soft); border-radius: .4rem; margin: 0 0 .6rem; padding: .5rem .8rem; }
.role { font-size: .75rem; opacity: .7; display: block; }
.answers { display: grid; gap: .6rem;
  grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr)); }
article { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .8rem; }
article.best { border-color: var(--best); box-shadow: inset 3px 0 0 var(--best); }
.system { font-weight: 600; margin: 0 0 .3rem; }
.rewards { font: .8rem ui-monospace, monospace; opacity: .8; margin: .4rem 0 0; }
.nothing { opacity: .5; font-style: italic; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; text-align: right; }
td:first-child, th:first-child { padding-left: 0; text-align: left; }
table { margin: 0 0 1rem; } td { vertical-align: top; } img { max-width: 100%; }
.words td { text-align: left; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); padding: .5rem .8rem;
  border-radius: .4rem; }
"""


def escaped(text: str) -> str:
    """A text as text on a page, whatever markup it holds."""
    return html.escape(text, quote=True)


def html_page(title: str, body: Iterable[str]) -> str:
    """The HTML of a page.

    Args:
      title: of the page, and its heading.
      body: what comes below, in HTML.
    """
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escaped(title)}</title>",
            f"<style>{_STYLE}</style></head><body>",
            f"<h1>{escaped(title)}</h1>",
            *body,
            "</body></html>",
            "",
        ]
    )


def html_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, words: bool = False
) -> str:
    """A table; all columns but the first hold numbers, unless they are said to hold words."""
    lines = ["".join(f"<th>{escaped(cell)}</th>" for cell in headings)]
    lines += ["".join(f"<td>{escaped(cell)}</td>" for cell in row) for row in rows]
    kind = ' class="words"' if words else ""
    return f"<table{kind}>" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def picture(figure: Any, meaning: str) -> str:
    """A figure of matplotlib; `meaning` says what it shows to those who do not see it."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    data = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="{escaped(meaning)}" src="data:image/png;base64,{data}">'
