import ast
import errno
import io
import math
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import gptjax
from gptjax.training.reporting.tensorboard import EventFile, crc32c


def _masked(content):
    """The checksum of TensorFlow's records, by tensorboardX, whose import takes seconds."""
    from tensorboardX import crc32c as theirs

    crc = theirs.crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _events(directory):
    """The events of the one file there, whose checksums must be right."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = directory.iterdir()
    content, events = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        header, event, rest = content[:8], content[12 : 12 + length], content[12 + length :]
        assert struct.unpack("<I", content[8:12]) == (_masked(header),)
        assert struct.unpack("<I", rest[:4]) == (_masked(event),)
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


@pytest.mark.parametrize(
    ("content", "published"),
    [
        (b"123456789", 0xE3069283),  # the check value of CRC-32/ISCSI
        (bytes(32), 0x8A9136AA),  # RFC 3720, appendix B.4, and so are the others
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_the_checksum_is_that_of_the_standard(content, published):
    assert crc32c(content) == published


def test_a_file_says_what_tensorboardx_says(tmp_path):
    start = time.time()
    with EventFile(tmp_path / "ours", first_step=7) as events:
        events.log(7, {"train/loss": 2.5})
        assert len(_events(tmp_path / "ours")) == 3  # on disk at once
        events.log(300_000, {"train/loss": -1.5, "a tag of more than 127 letters, " * 5: 1e9})
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(tmp_path / "theirs"), purge_step=7) as writer:
        writer.add_scalar("train/loss", 2.5, 7)
    assert _what_counts(tmp_path / "ours")[:2] == _what_counts(tmp_path / "theirs")
    last = _events(tmp_path / "ours")[-1]
    assert last.step == 300_000
    values = [(value.tag, value.simple_value) for value in last.summary.value]
    assert values == [("train/loss", -1.5), ("a tag of more than 127 letters, " * 5, 1e9)]
    assert start <= last.wall_time <= time.time()
    first = _events(tmp_path / "ours")[0]
    assert first.file_version == _events(tmp_path / "theirs")[0].file_version == "brain.Event:2"
    (path,) = (tmp_path / "ours").iterdir()
    assert "tfevents" in path.name  # by which TensorBoard finds it


def test_what_float32_cannot_hold_is_infinite(tmp_path):
    """A perplexity, say; the largest that it holds stays."""
    largest = float(np.finfo(np.float32).max)
    numbers = {"a": math.exp(89), "b": -1e39, "c": 10**400, "d": largest}
    with EventFile(tmp_path) as events:
        events.log(1, numbers)
    values = {value.tag: value.simple_value for value in _events(tmp_path)[-1].summary.value}
    assert values == {"a": math.inf, "b": -math.inf, "c": math.inf, "d": largest}


class _Filling(io.BytesIO):
    """A file that takes `room` bytes."""

    def __init__(self, room):
        super().__init__()
        self._room = room

    def write(self, content):
        taken = super().write(content[: self._room])
        self._room -= taken
        return taken


@pytest.mark.parametrize("room", [10, 50])
def test_half_a_record_is_a_full_disk_and_no_file_is_left_open(tmp_path, monkeypatch, room):
    """The first record has 42 bytes: it is cut in `EventFile`, the second one in `write`."""
    opened = []

    def fills(path, *_, **__):
        opened.append((str(path), _Filling(room)))
        return opened[-1][1]

    monkeypatch.setattr(Path, "open", fills)
    with pytest.raises(OSError) as error, EventFile(tmp_path) as events:
        events.log(1, {"train/loss": 2.5})
    ((path, file),) = opened
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, path)
    assert file.closed


def test_a_place_that_is_no_directory_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        EventFile(tmp_path / "file")


def test_no_module_that_trains_names_torch_or_tensorboardx():
    for path in (Path(gptjax.__file__).parent / "training").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            named = {name.split(".")[0] for name in [*names, getattr(node, "module", None) or ""]}
            assert not named & {"torch", "tensorboardX"}, path


@pytest.mark.slow
def test_neither_torch_nor_tensorboardx_is_imported():
    """Which takes seconds where they are installed."""
    code = (
        "import sys, gptjax.training.reporting.metrics\n"
        "print({'torch', 'tensorboardX'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
