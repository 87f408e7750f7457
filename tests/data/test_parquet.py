"""Corpora of Parquet files and of remote files, beside the same rows as local JSON lines."""

import gzip
import json

import pytest

from gptjax.data.corpora.text import load_corpus

ROWS = [{"a": {"b": f"row {i} — αβγ"}, "n": i} for i in range(150)]


def texts(spec, **options):
    return [document.text for document in load_corpus(spec, **options)]


def write_parquet(path, rows):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: extra `parquet`")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_parquet_is_as_json_lines(tmp_path, caplog):
    rows = [*ROWS, {"a": None}, {"a": {"b": None}}]
    write_parquet(tmp_path / "x.parquet", rows)
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    there, here = load_corpus(f"parquet:{tmp_path}#a.b"), load_corpus(f"jsonl:{tmp_path}#a.b")
    assert there.content_hash() == here.content_hash()
    assert [d.name for d in there][:2] == [f"{tmp_path}/x.parquet:0", f"{tmp_path}/x.parquet:1"]
    dropped = f"parquet:{tmp_path}#a.b: dropped 2 rows: null in what is read"
    assert dropped in [record.getMessage() for record in caplog.records]


def test_bad_parquet_is_refused(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", ROWS)
    for spec, match in (
        (f"parquet:{path}", "names no path or no column; expected parquet:PATH#column"),
        (f"parquet:{path}#c", r"x.parquet: no column 'c', got a, n; expected a file with it"),
        (f"parquet:{path}#n", r"x.parquet:0: column 'n' is of type int; expected a string"),
        (f"{path}", r"did you mean 'parquet:.*x.parquet#FIELD'"),
    ):
        with pytest.raises(ValueError, match=match):
            texts(spec)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"^cannot read .*x.parquet: .*; expected a Parquet file$"):
        texts(f"parquet:{path}#a.b")


def test_remote_corpora_are_as_local_ones(tmp_path, memory, settled):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    memory.pipe("/x/a.jsonl.gz", gzip.compress(lines))
    memory.pipe("/x/.hidden.jsonl", lines)
    memory.pipe("/x/b.txt", "текст".encode())
    memory.pipe("/x/c.parquet", write_parquet(tmp_path / "c.parquet", ROWS).read_bytes())
    local = load_corpus(f"jsonl:{tmp_path}#a.b").content_hash()
    for spec in (
        "jsonl:memory://x#a.b",
        "jsonl:memory://x/*.gz#a.b",
        "jsonl:memory://x/a.jsonl.gz#a.b",
        "parquet:memory://x#a.b",
    ):
        assert load_corpus(spec).content_hash() == local
    assert texts("text:memory://x") == ["текст"]
    before = load_corpus("text:memory://x").fingerprint()
    assert before is not None and before == load_corpus("text:memory://x").fingerprint()
    memory.pipe("/x/b.txt", b"another")
    assert load_corpus("text:memory://x").fingerprint() != before


def test_what_is_not_there_is_named(memory):
    for spec, match in (
        ("text:memory://none", "no files at 'memory://none'; expected a file, a directory"),
        ("text:nothing://x", "cannot read nothing://x: ValueError: Protocol not known"),
        ("text:memory://x/a.zst", "no files at 'memory://x/a.zst'"),
    ):
        with pytest.raises(ValueError, match=match):
            texts(spec)
