"""Books of Project Gutenberg, without the licence in front of them and behind.

    gutenberg   *.txt in directories; a document is a book, its lines end with a line feed

What comes before the line *** START OF ... *** and from *** END OF ... *** on is cut, and so are
the credits behind the first and "End of the Project Gutenberg EBook" before the second. A file
without these marks is a fault: its licence would be taken for text. Title, author and language of
the header are metadata.
"""

import re
from collections.abc import Iterator

from gptjax.curation.document import Document
from gptjax.curation.readers.faults import Faults
from gptjax.curation.readers.reading import Found, ReaderOptions, reader
from gptjax.curation.readers.texts import checked
from gptjax.data.corpora.text_files import open_text

LICENCE = "Public domain in the USA (Project Gutenberg)"

_START = re.compile(
    r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG EBOOK.*?\*\*\*[ ]*\n"
    r"|^\*END[ *]+THE SMALL PRINT!.*\*END\*[ ]*\n",
    re.MULTILINE | re.IGNORECASE | re.DOTALL,
)
_END = re.compile(
    r"^(?:\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG EBOOK"
    r"|End of (?:the |this )?Project Gutenberg(?:'s|’s)? )",
    re.MULTILINE | re.IGNORECASE,
)
# A paragraph of some lines, or where the text has no blank lines, one.
_CREDITS = re.compile(
    r"\s*(?:Produced by|E-?text prepared by)\b(?:(?:.*\n){1,6}?[ ]*\n|.*\n)", re.IGNORECASE
)
_FIELD = re.compile(r"^(Title|Author|Language): *(.+)$", re.MULTILINE)
_ENCODING = re.compile(rb"Character set encoding: *([\w-]+)")


@reader("gutenberg", ".txt")
def read_gutenberg(file: Found, options: ReaderOptions, faults: Faults) -> Iterator[Document]:
    """A book; one above `most_bytes` is left out."""
    with open_text(file.path) as opened:
        content = opened.read(options.most_bytes + 1)
    if len(content) > options.most_bytes:
        most = options.most_bytes
        faults.add("too_long", file.name, f"more than {most:,} bytes, expected a shorter book")
        return
    text = checked(_decoded(content).replace("\r\n", "\n"), file.name, options, faults)
    if text is None:
        return
    start = _START.search(text)
    end = _END.search(text, start.end()) if start else None
    if start is None or end is None:
        missing = "*** START OF" if start is None else "*** END OF"
        faults.add("no_marks", file.name, f"no line {missing}, expected a Project Gutenberg book")
        return
    body = text[start.end() : end.start()]
    credits = _CREDITS.match(body)
    body = body[credits.end() if credits else 0 :].strip("\n")
    fields = {name.lower(): value.strip() for name, value in _FIELD.findall(text[: start.start()])}
    if checked(body, file.name, options, faults) is not None:
        yield Document(file.name, body + "\n", options.source, options.licence or LICENCE, fields)


def _decoded(content: bytes) -> str:
    """The text in UTF-8, else in the encoding that the header states, else in Windows' Latin."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        stated = _ENCODING.search(content)
        try:
            return content.decode(stated[1].decode() if stated else "cp1252")
        except (UnicodeDecodeError, LookupError):
            return content.decode("latin-1")
