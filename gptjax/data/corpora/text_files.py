"""Files of text: read decompressed, cut into pieces, decoded with a count of errors.

    with open_text(Path("book.txt.gz")) as file:
        for offset, piece in pieces(file, max_bytes=1 << 15):
            ...

Everything a user's files can have wrong is a `ValueError` of one line that names the file.
"""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import zstandard
from absl import logging

from gptjax.data.corpora.remote import FilePath

COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_LARGEST_WINDOW = 1 << 31  # bytes; `zstd --long=31`, the longest there is
_WIDE = {  # UTF-32's first mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@contextlib.contextmanager
def open_bytes(path: FilePath) -> Iterator[io.BufferedReader]:
    """Opens a file for reading, decompressing `COMPRESSED`.

    Raises:
      ValueError: the file cannot be opened or read, or its compressed data is damaged or cut.
    """
    with readable(path), path.open("rb") as file:
        yield _decompressed(path.suffix, file)


@contextlib.contextmanager
def readable(path: FilePath) -> Iterator[None]:
    """Raises a ValueError, which names the file, for what cannot be opened, read, decompressed."""
    try:
        yield
    except UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(f"cannot read {path}: {reason}; expected a readable file") from error


def _decompressed(suffix: str, file: io.BufferedReader) -> io.BufferedReader:
    if suffix not in COMPRESSED:
        return file
    readers: dict[str, Any] = {
        ".gz": lambda file: gzip.GzipFile(fileobj=file),
        ".zst": _ZstdFile,
        ".bz2": bz2.BZ2File,
        ".xz": lzma.LZMAFile,
    }
    return io.BufferedReader(readers[suffix](file))


@contextlib.contextmanager
def open_text(path: FilePath) -> Iterator[io.BufferedReader]:
    """Opens a file of UTF-8 text as `open_bytes` does; a byte order mark is dropped.

    Raises:
      ValueError: as `open_bytes`, or the file is UTF-16 or UTF-32.
    """
    with open_bytes(path) as file:
        head = file.peek(64)[:64]
        wide = next((name for mark, name in _WIDE.items() if head.startswith(mark)), None)
        if (
            wide is None
            and len(head) > 3
            and any(head)
            and not (any(head[::2]) and any(head[1::2]))
        ):
            wide = "UTF-16"  # without a mark: every other byte is zero
        if wide is not None:
            raise ValueError(
                f"{path}: got {wide}, expected UTF-8; convert it with "
                f"`iconv -f {wide} -t UTF-8 OLD > NEW`"
            )
        if head.startswith(codecs.BOM_UTF8):
            file.read(len(codecs.BOM_UTF8))
        yield file


class _ZstdFile(io.RawIOBase):
    """Decompressed bytes of a .zst file; the library's own reader takes a cut file for a whole."""

    def __init__(self, file: BinaryIO):
        self._blocks = self._decompress(file)
        self._rest = memoryview(b"")

    @staticmethod
    def _decompress(file: BinaryIO) -> Iterator[bytes]:
        frame = None
        while compressed := file.read(1 << 17):
            while compressed:
                if frame is None:
                    whole = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
                    frame = whole.decompressobj()
                yield frame.decompress(compressed)
                compressed = frame.unused_data
                if frame.eof:
                    frame = None
        if frame is not None:
            raise EOFError("the file ends within a zstd frame")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and (block := next(self._blocks, None)) is not None:
            self._rest = memoryview(block)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def pieces(file: BinaryIO, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Cuts a file into pieces; together they are the file.

    A piece ends at a blank line, else at a line's end, else at a space, in its second half; else
    between two characters.

    Args:
      file: what to read, from where it stands.
      max_bytes: length of the longest piece; a file that is no longer is one piece.

    Returns:
      Pairs of the offset of a piece in bytes and its bytes.
    """
    offset, rest = 0, b""
    while rest := rest + file.read(max_bytes + 1 - len(rest)):
        cut = len(rest) if len(rest) <= max_bytes else _cut(rest[:max_bytes])
        yield offset, rest[:cut]
        offset, rest = offset + cut, rest[cut:]


def _cut(piece: bytes) -> int:
    for separator in (b"\n\n", b"\n", b" "):
        found = piece.rfind(separator, len(piece) // 2)
        if found >= 0:
            return found + len(separator)
    character_starts = (i for i in range(1, 4) if piece[-i] & 0xC0 != 0x80)
    return len(piece) - next(character_starts, 0)


class Decoder:
    """Decodes the parts of one file, counting what is not valid UTF-8."""

    def __init__(self, path: FilePath, invalid_utf8: str):
        """`invalid_utf8`: whether `finish` refuses ("error"), or U+FFFD stands in ("replace")."""
        self._path = path
        self._replace = invalid_utf8 == "replace"
        self._count = 0
        self._first: int | None = None

    def decode(self, data: bytes, offset: int) -> str:
        """Returns the text of bytes at `offset` in the file; "" if they are to be refused."""
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            replaced = data.decode(errors="replace")
            genuine = data.decode(errors="ignore").count("\ufffd")
            return self._note(replaced, replaced.count("\ufffd") - genuine, offset + error.start)

    def without_lone_surrogates(self, text: str, offset: int) -> str:
        r"""Treats half a character, which JSON can spell as "\ud800", as invalid UTF-8."""
        text, count = _LONE_SURROGATES.subn("\ufffd", text)
        return self._note(text, count, offset) if count else text

    def _note(self, replaced: str, count: int, offset: int) -> str:
        self._count += count
        self._first = offset if self._first is None else self._first
        return replaced if self._replace else ""

    def finish(self) -> None:
        """Raises ValueError if the file was invalid, or logs how much of it was replaced."""
        if self._first is None:
            return
        found = (
            f"{self._path}: {self._count} invalid UTF-8 sequence(s), first at byte {self._first}"
        )
        if not self._replace:
            raise ValueError(f'{found}; expected UTF-8, or invalid_utf8="replace" for U+FFFD')
        logging.warning("%s; U+FFFD stands in for each", found)
