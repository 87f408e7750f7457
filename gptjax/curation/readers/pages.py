r"""Texts of pages as a crawl has them: HTTP responses, HTML, plain text in any encoding.

    page_text(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>", "application/http",
              "crawl.warc:3", options, faults)

HTML becomes text by resiliparse, which leaves out navigation, headers and footers (extra `warc`).
"""

import importlib
import re
import zlib

from gptjax.curation.readers.faults import Faults
from gptjax.curation.readers.reading import ReaderOptions
from gptjax.curation.readers.texts import checked, decoded, looks_binary

_HTML = ("text/html", "application/xhtml+xml")
_CHARSET = re.compile(r"charset=[\"']?([\w.:-]+)", re.IGNORECASE)


def page_text(
    block: bytes, mime: str, where: str, options: ReaderOptions, faults: Faults
) -> str | None:
    """Text of an HTTP response; None, and a fault, where it is none.

    Args:
      block: of the record.
      mime: the record's content type.
      where: the record, in the faults.
      options: for `most_bytes`, which a compressed body must keep too, and `invalid_utf8`.
      faults: gets http_status, not_text, too_long, broken_record, empty, binary or invalid_utf8.
    """
    if not mime.startswith("application/http"):
        return plain_page(block, mime, where, options, faults)
    head, _, body = block.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if status.split()[1:2] != ["200"]:
        faults.add("http_status", where, f"{status[:60]!r}, expected 200")
        return None
    try:
        body = _decompressed(_joined(body, fields), fields, options.most_bytes)
    except (ValueError, zlib.error) as error:
        faults.add("broken_record", where, f"{error}, expected a whole body")
        return None
    if len(body) > options.most_bytes:
        most = options.most_bytes
        faults.add("too_long", where, f"more than {most:,} bytes, expected a shorter page")
        return None
    return plain_page(body, fields.get("content-type", ""), where, options, faults)


def plain_page(
    body: bytes, mime: str, where: str, options: ReaderOptions, faults: Faults
) -> str | None:
    """Text of a body of HTML or plain text; None, and a fault, of other types."""
    kind = mime.partition(";")[0].strip().lower()
    charset = _CHARSET.search(mime)
    if kind in _HTML:
        return checked(_from_html(body, charset and charset[1]), where, options, faults)
    if kind != "text/plain":
        faults.add("not_text", where, f"{kind or 'no content type'}, expected HTML or plain text")
        return None
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        text = _in_charset(body, charset[1])
        if text is not None and not looks_binary(text):
            return checked(text, where, options, faults)
    return decoded(body.removesuffix(b"\n"), where, options, faults)


def _in_charset(body: bytes, charset: str) -> str | None:
    try:
        return body.decode(charset)
    except (LookupError, UnicodeDecodeError):
        return None


def _from_html(body: bytes, charset: str | None) -> str:
    try:
        extraction = importlib.import_module("resiliparse.extract.html2text")
        encoding = importlib.import_module("resiliparse.parse.encoding")
    except ImportError:
        raise RuntimeError(
            "pages of HTML need the package resiliparse, which is not installed; expected the "
            "extra `warc` (pip install 'gptjax[warc]')"
        ) from None
    html = _in_charset(body, charset) if charset else None
    if html is None:
        html = encoding.bytes_to_str(body, encoding.detect_encoding(body, from_html_meta=True))
    return extraction.extract_plain_text(html, main_content=True)


def _joined(body: bytes, fields: dict[str, str]) -> bytes:
    """A body whose chunks are put together (RFC 9112, section 7.1)."""
    if "chunked" not in fields.get("transfer-encoding", "").lower():
        return body
    joined, place = bytearray(), 0
    while True:
        end = body.index(b"\r\n", place)
        size = int(body[place:end].partition(b";")[0], 16)
        if size == 0:
            return bytes(joined)
        joined += body[end + 2 : end + 2 + size]
        place = end + 2 + size + 2


def _decompressed(body: bytes, fields: dict[str, str], most_bytes: int) -> bytes:
    """At most one byte more than `most_bytes`."""
    coding = fields.get("content-encoding", "identity").lower()
    if coding in ("identity", ""):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"content-encoding {coding!r} instead of gzip")
    return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, most_bytes + 1)
