"""Scalars in a file that TensorBoard reads, each row written when it comes.

A row is on disk, or an error of its own: tensorboardX's writer leaves that to a thread, which a
full disk ends, and whatever then fills its queue waits for ever.

    with EventFile(workdir / "tensorboard", first_step=6) as events:
        events.write(6, {"train/loss": 3.2})
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventFile:
    """A new file of events.

    Source of the format: TensorFlow's `core/lib/io/record_writer.h`: length, its checksum, event,
    its checksum; of the checksum: CRC-32C, rotated, plus a constant.
    """

    def __init__(self, directory: Path, first_step: int | None = None):
        """What `directory` holds of `first_step` and later ones, TensorBoard forgets.

        Raises:
          OSError: the file cannot be written; so do all other methods.
        """
        # Takes 0.5 s, which a process that only reads metrics need not wait for.
        from tensorboardX.proto import event_pb2
        from tensorboardX.record_writer import masked_crc32c

        self._proto: Any = event_pb2
        self._checksum = masked_crc32c
        directory.mkdir(parents=True, exist_ok=True)
        now = time.time_ns()
        name = f"events.out.tfevents.{now // 10**9}.{socket.gethostname()}.{os.getpid()}.{now}"
        self._file = (directory / name).open("xb", buffering=0)
        self._append(file_version="brain.Event:2")
        if first_step is not None:
            start = self._proto.SessionLog(status=self._proto.SessionLog.START)
            self._append(step=first_step, session_log=start)

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Appends the scalars of a step, by tag."""
        values = [{"tag": tag, "simple_value": value} for tag, value in scalars.items()]
        self._append(step=step, summary={"value": values})

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _append(self, **fields: Any) -> None:
        event = self._proto.Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(event))
        checksums = (struct.pack("<I", self._checksum(content)) for content in (length, event))
        self._file.write(length + next(checksums) + event + next(checksums))
