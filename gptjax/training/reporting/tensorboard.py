"""Scalars in a file that TensorBoard reads, each row written when it comes.

A row is on disk, or an error of its own: tensorboardX's writer leaves that to a thread, which a
full disk ends, and whatever then fills its queue waits for ever. Importing it imports torch, too.

    with EventFile(workdir / "tensorboard", first_step=6) as events:
        events.log(6, {"train/loss": 3.2})

Source of the format: TensorFlow's `core/lib/io/record_writer.h` (length, its checksum, event, its
checksum), `core/util/event.proto` and `core/framework/summary.proto` (numbers of the fields), and
protobuf's "Encoding" (key, then value).
"""

import errno
import math
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

# What comes before the value of a field: its number, times 8, and how the value is written.
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION_LOG = 1 << 3 | 1, 2 << 3, 26, 42, 58
_SUMMARY_VALUE, _TAG, _SIMPLE_VALUE = 10, 10, 2 << 3 | 5
_STARTED = bytes((1 << 3, 1))


class EventFile:
    """A new file of events."""

    def __init__(self, directory: Path, first_step: int | None = None):
        """Opens a new file in `directory`, and lets TensorBoard forget rows from `first_step` on.

        Raises:
          OSError: the file, which it names, cannot be written; so do all other methods.
        """
        directory.mkdir(parents=True, exist_ok=True)
        now = time.time_ns()
        name = f"events.out.tfevents.{now // 10**9}.{socket.gethostname()}.{os.getpid()}.{now}"
        self._path = directory / name
        self._file = self._path.open("xb", buffering=0)
        try:
            self._append(0, _counted(_FILE_VERSION, b"brain.Event:2"))
            if first_step is not None:
                self._append(first_step, _counted(_SESSION_LOG, _STARTED))
        except OSError:
            self.close()
            raise

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Appends the figures of a step, by tag; what float32 cannot hold is infinite there."""
        values = b"".join(
            _counted(
                _SUMMARY_VALUE,
                _counted(_TAG, tag.encode()) + bytes([_SIMPLE_VALUE]) + _float32(value),
            )
            for tag, value in figures.items()
        )
        self._append(step, _counted(_SUMMARY, values))

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _append(self, step: int, what: bytes) -> None:
        event = struct.pack("<Bd", _WALL_TIME, time.time()) + bytes([_STEP]) + _varint(step) + what
        length = struct.pack("<Q", len(event))
        record = length + _masked_crc32c(length) + event + _masked_crc32c(event)
        try:
            if self._file.write(record) < len(record):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            error.filename = str(self._path)
            raise


def _counted(key: int, content: bytes) -> bytes:
    return bytes([key]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encodes an integer with seven bits a byte, the lowest first; all but the last are marked."""
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


def _float32(value: float) -> bytes:
    try:
        return struct.pack("<f", float(value))
    except OverflowError:
        return struct.pack("<f", math.inf if value > 0 else -math.inf)


def _crc_table() -> list[int]:
    """Table of CRC-32C by byte (RFC 3720, appendix B.4)."""
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (0x82F63B78 if crc & 1 else 0) for crc in table]
    return table


_CRC = _crc_table()


def crc32c(content: bytes) -> int:
    """The CRC-32C (Castagnoli's) of bytes, that of RFC 3720."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _masked_crc32c(content: bytes) -> bytes:
    """Masked CRC: rotated by 15 bits, plus a constant (TensorFlow's `core/lib/hash/crc32c.h`)."""
    crc = crc32c(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
