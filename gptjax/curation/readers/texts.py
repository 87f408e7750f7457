"""Plain text: what is in a file of it, and how bytes become a text or a fault.

text: a document is a file, or a piece of at most `most_bytes` of a longer one
"""

import itertools
import re
from collections.abc import Iterator

from gptjax.curation.document import Document
from gptjax.curation.readers.faults import Faults
from gptjax.curation.readers.reading import Found, ReaderOptions, reader
from gptjax.data.corpora.text_files import open_text, pieces

_BINARY = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # escape, \x1b, colours terminals
_MOST_BINARY = 0.01  # share of such characters in a text
_SURROGATES = re.compile("[\ud800-\udfff]")


@reader("text", ".txt")
def read_text(file: Found, options: ReaderOptions, faults: Faults) -> Iterator[Document]:
    """A file of text is a document; a longer one is cut at a blank line, a line's end or a space.

    Ids are the file's name, with "#0", "#1", ... behind it where there are pieces.
    """
    with open_text(file.path) as opened:
        cut = (piece for _, piece in pieces(opened, options.most_bytes))
        first = list(itertools.islice(cut, 2))
        for number, piece in enumerate(itertools.chain(first, cut)):
            name = f"{file.name}#{number}" if len(first) > 1 else file.name
            text = decoded(piece, name, options, faults)
            if text is not None:
                yield Document(name, text, options.source, options.licence)


def decoded(data: bytes, where: str, options: ReaderOptions, faults: Faults) -> str | None:
    """The text of bytes; None, and a fault, for what is empty, binary, or no UTF-8.

    Args:
      data: of a whole document.
      where: what it is, in the faults.
      options: `invalid_utf8` says whether U+FFFD may stand for what is invalid.
      faults: gets one of empty, binary and invalid_utf8.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if looks_binary(data.decode("latin-1")):
            faults.add("binary", where, "control characters, expected text")
            return None
        if options.invalid_utf8 == "drop":
            found = f"byte {error.start} is {data[error.start]:#04x}, expected UTF-8"
            faults.add("invalid_utf8", where, found)
            return None
        text = data.decode(errors="replace")
    return checked(text, where, options, faults)


def checked(text: str, where: str, options: ReaderOptions, faults: Faults) -> str | None:
    r"""The text; None, and a fault, where it is blank or binary.

    Half a character, which JSON can spell as "\ud800", counts as invalid UTF-8.
    """
    if not text or text.isspace():
        faults.add("empty", where, f"{len(text)} characters of white space, expected text")
    elif looks_binary(text):
        faults.add("binary", where, "control characters, expected text")
    elif text.isascii() or not _SURROGATES.search(text):
        return text
    elif options.invalid_utf8 == "replace":
        return _SURROGATES.sub("\ufffd", text)
    else:
        faults.add("invalid_utf8", where, "half a character, expected whole ones")
    return None


def looks_binary(text: str) -> bool:
    """Whether more than a hundredth of the characters are control characters that no text has."""
    found = _BINARY.search(text)
    return found is not None and len(_BINARY.findall(text)) > _MOST_BINARY * len(text)
