import struct
import subprocess
import sys
import time

import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event

from gptjax.training.tensorboard import EventFile


def _crc32c(content):
    """CRC-32C, bit by bit, and what TensorFlow makes of it in its records."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _events(directory):
    """The events of the one file there, whose checksums must be right."""
    (path,) = directory.iterdir()
    content, events = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        header, event, rest = content[:8], content[12 : 12 + length], content[12 + length :]
        assert struct.unpack("<I", content[8:12]) == (_crc32c(header),)
        assert struct.unpack("<I", rest[:4]) == (_crc32c(event),)
        events.append(Event.FromString(event))
        content = rest[4:]
    return events


def _what_counts(directory):
    """Versions, starts and scalars, without the times."""
    return [
        (event.step, event.session_log.status, [(v.tag, v.simple_value) for v in each])
        for event in _events(directory)
        if (each := event.summary.value) or event.session_log.status
    ]


def test_the_checksum_is_that_of_the_standard():
    """RFC 3720, appendix B.4: 32 bytes of zeros."""
    unmasked = 0x8A9136AA
    masked = ((unmasked >> 15 | unmasked << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert _crc32c(bytes(32)) == masked


def test_a_file_says_what_tensorboardx_says(tmp_path):
    with EventFile(tmp_path / "ours", first_step=7) as events:
        events.write(7, {"train/loss": 2.5})
        assert len(_events(tmp_path / "ours")) == 3  # on disk at once
        events.write(300_000, {"train/loss": -1.5, "a tag of more than 127 letters, " * 5: 1e9})
    with SummaryWriter(str(tmp_path / "theirs"), purge_step=7) as theirs:
        theirs.add_scalar("train/loss", 2.5, 7)
    assert _what_counts(tmp_path / "ours")[:2] == _what_counts(tmp_path / "theirs")
    last = _events(tmp_path / "ours")[-1]
    assert last.step == 300_000
    values = [(value.tag, value.simple_value) for value in last.summary.value]
    assert values == [("train/loss", -1.5), ("a tag of more than 127 letters, " * 5, 1e9)]
    assert abs(last.wall_time - time.time()) < 60
    first = _events(tmp_path / "ours")[0]
    assert first.file_version == _events(tmp_path / "theirs")[0].file_version == "brain.Event:2"
    (path,) = (tmp_path / "ours").iterdir()
    assert "tfevents" in path.name  # by which TensorBoard finds it


def test_a_place_that_is_no_directory_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        EventFile(tmp_path / "file")


def test_neither_torch_nor_tensorboardx_is_imported():
    """Which takes seconds where they are installed."""
    code = "import sys, gptjax.training.metrics; print({'torch', 'tensorboardX'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
