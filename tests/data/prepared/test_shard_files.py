"""Shards: equal bytes from equal documents, and what is refused by name."""

import dataclasses

import numpy as np
import pytest

from gptjax.data.prepared import shard_files
from gptjax.data.prepared.shard_files import (
    BLOCK,
    ShardDocument,
    ShardTokens,
    read_documents,
    token_file_size,
    write_shard,
)

UINT16 = np.dtype(np.uint16)


def documents(count=3, tokens=70_000):
    made = np.random.default_rng(0)
    return [
        ShardDocument(
            bytes([i]) * 16, {"id": f"d{i}"}, 10 + i, 10 + i, made.integers(0, 999, tokens)
        )
        for i in range(count)
    ]


@pytest.fixture
def shard(tmp_path):
    return write_shard(tmp_path, "train/web-00000", documents(), UINT16, end_of_text=1000)


def test_a_shard_holds_its_documents_and_equal_ones_make_equal_files(tmp_path, shard):
    expected = np.concatenate([[1000, *one.tokens] for one in documents()])
    read = ShardTokens(tmp_path, shard, UINT16)
    np.testing.assert_array_equal(read.read(0, len(read)), expected)
    np.testing.assert_array_equal(read.read(69_999, 70_005), expected[69_999:70_005])
    table = read_documents(tmp_path, shard)
    assert table.starts.tolist() == [0, 70_001, 140_002]
    assert table.text_bytes.tolist() == [10, 11, 12]
    assert [one["id"] for one in table.about] == ["d0", "d1", "d2"]
    assert table.keys[2].tobytes() == bytes([2]) * 16

    again = write_shard(tmp_path / "again", "train/web-00000", documents(), UINT16, 1000)
    assert again == shard
    for suffix in ("tokens", "documents"):
        first, second = (
            (folder / f"train/web-00000.{suffix}").read_bytes()
            for folder in (tmp_path, tmp_path / "again")
        )
        assert first == second


def test_a_shard_without_documents_is_empty(tmp_path):
    shard = write_shard(tmp_path, "train/web-00000", [], UINT16, None)
    assert len(ShardTokens(tmp_path, shard, UINT16).read(0, 0)) == 0
    assert len(read_documents(tmp_path, shard).about) == 0


def altered(path, place, byte=1):
    content = bytearray(path.read_bytes())
    content[place] ^= byte
    path.write_bytes(content)


def test_an_altered_block_is_refused_by_name_and_others_are_read(tmp_path, shard):
    altered(tmp_path / "train/web-00000.tokens", BLOCK + 5)
    read = ShardTokens(tmp_path, shard, UINT16)
    read.read(0, BLOCK // 2)
    read.read(BLOCK, BLOCK + 10)
    where = rf"train/web-00000\.tokens: got altered bytes in {BLOCK} to {2 * BLOCK - 1}"
    for places in ((BLOCK // 2 - 1, BLOCK // 2 + 1), (BLOCK - 1, BLOCK)):
        with pytest.raises(ValueError, match=where):
            read.read(*places)
    with pytest.raises(ValueError, match=where):
        read.check()


def test_every_byte_of_the_files_is_checked(tmp_path, shard):
    path = tmp_path / "train/web-00000.tokens"
    size = path.stat().st_size
    assert size == token_file_size(shard, UINT16)
    for place in (0, shard.tokens * 2 - 1, shard.tokens * 2, size - 1):
        altered(path, place)
        with pytest.raises(ValueError, match=r"web-00000\.tokens: got altered"):
            ShardTokens(tmp_path, shard, UINT16).check()
        altered(path, place)
    ShardTokens(tmp_path, shard, UINT16).check()
    altered(tmp_path / "train/web-00000.documents", 200)
    with pytest.raises(ValueError, match=r"web-00000\.documents: got altered bytes"):
        read_documents(tmp_path, shard)


def test_a_cut_or_missing_file_is_refused_by_name(tmp_path, shard):
    path = tmp_path / "train/web-00000.tokens"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=rf"tokens: got {len(content) - 1} bytes, expected"):
        ShardTokens(tmp_path, shard, UINT16).read(0, 1)
    path.unlink()
    with pytest.raises(ValueError, match=r"cannot read .*web-00000\.tokens"):
        ShardTokens(tmp_path, shard, UINT16).read(0, 1)
    (tmp_path / "train/web-00000.documents").unlink()
    with pytest.raises(ValueError, match=r"cannot read .*web-00000\.documents"):
        read_documents(tmp_path, shard)


def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "shard")

    monkeypatch.setattr(shard_files.np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_shard(tmp_path, "train/web-00000", documents(), UINT16, None)
    assert not list(tmp_path.rglob("*.tokens*"))


def test_large_vocabularies_take_four_bytes(tmp_path):
    one = dataclasses.replace(documents(1, 4)[0], tokens=np.array([70_000, 1]))
    shard = write_shard(tmp_path, "train/web-00000", [one], np.dtype(np.uint32), None)
    assert ShardTokens(tmp_path, shard, np.dtype(np.uint32)).read(0, 2).tolist() == [70_000, 1]
