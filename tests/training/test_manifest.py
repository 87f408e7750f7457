import hashlib
import subprocess

import pytest

from gptjax.training.checkpoints.manifest import (
    content_hash,
    find_damage,
    is_recorded,
    write_manifest,
)


def test_sha256sum_agrees_and_damage_is_named(tmp_path):
    (tmp_path / "part" / "deep").mkdir(parents=True)
    (tmp_path / "part" / "deep" / "a file").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "top").write_text("text\n")
    write_manifest(tmp_path)
    command = ["sha256sum", "--check", "--strict", "manifest.sha256"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert checked.stdout.count(": OK") == 2
    assert find_damage(tmp_path) is None
    assert find_damage(tmp_path, "part") is None

    (tmp_path / "part" / "Thumbs.db").write_text("")
    assert find_damage(tmp_path) is None
    assert find_damage(tmp_path, "other") == "file manifest.sha256 is damaged"
    (tmp_path / "top").write_text("tExt\n")
    assert find_damage(tmp_path, "part") == "file top does not match its SHA-256"
    (tmp_path / "part" / "deep" / "a file").unlink()
    assert find_damage(tmp_path, "part") == "file part/deep/a file is missing"


def test_the_manifest_tells_what_there_was(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a").write_text("1")
    (tmp_path / "partial").write_text("2")
    assert not is_recorded(tmp_path, "part")
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path)
    (tmp_path / "part" / ".nfs01").write_text("may go at any time")
    write_manifest(tmp_path)
    lines = [
        f"{hashlib.sha256(text).hexdigest()}  {name}\n"
        for name, text in (("part/a", b"1"), ("partial", b"2"))
    ]
    assert content_hash(tmp_path) == hashlib.sha256("".join(lines).encode()).hexdigest()
    (tmp_path / "part" / "a").unlink()
    assert is_recorded(tmp_path, "part") and not is_recorded(tmp_path, "par")
