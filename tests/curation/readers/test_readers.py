"""Readers on files made here, good and bad, against what was put into them."""

import gzip
import io
import json
import tracemalloc

import pytest
import zstandard

from gptjax.curation.readers.faults import Faults
from gptjax.curation.readers.registered import READERS, ReaderOptions, documents, found
from gptjax.curation.readers.rows import bounded_lines

OPTIONS = ReaderOptions(source="made", licence="CC0")


def read(format, location, **options):
    """Documents and faults."""
    faults = Faults()
    settings = ReaderOptions(**{"source": "made", "licence": "CC0"} | options)
    return list(documents(format, str(location), settings, faults)), faults


def only_faults(format, path, **options):
    """Faults of one file, whose documents there are none of."""
    faults = Faults()
    (file,) = found(format, str(path))
    settings = ReaderOptions(**{"source": "made"} | options)
    assert list(READERS.get(format).read(file, settings, faults)) == []
    return faults


def test_a_document_carries_its_source_its_id_and_its_licence(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c.txt").write_text("Some text.\n")
    (tmp_path / "d.txt").write_text("Some more.\n")
    (first, second), faults = read("text", tmp_path)
    assert (first.id, first.text, first.source) == ("a/b/c.txt", "Some text.\n", "made")
    assert (second.id, second.licence) == ("d.txt", "CC0")
    assert not faults.counts and faults.summary() == ""
    assert [document.id for document in read("text", f"{tmp_path}/**/*.txt")[0]] == [
        "a/b/c.txt",
        "d.txt",
    ]
    assert [document.id for document in read("text", tmp_path / "d.txt")[0]] == ["d.txt"]


def test_an_id_does_not_change_when_files_come_beside_its_file(tmp_path):
    """Of a directory with one file below another, not the deepest folder that all are in."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c.txt").write_text("Some text.\n")
    assert [document.id for document in read("text", tmp_path)[0]] == ["a/b/c.txt"]
    assert [document.id for document in read("text", f"{tmp_path}/*/*/*.txt")[0]] == ["a/b/c.txt"]


@pytest.mark.parametrize("length", [1024, 1025, 5000])
def test_long_text_is_cut_and_nothing_is_lost(tmp_path, length):
    text = "".join(f"line {i}\n\n" for i in range(1000))[:length]
    (tmp_path / "a.txt").write_text(text)
    found_documents, faults = read("text", tmp_path, most_bytes=1024)
    assert "".join(document.text for document in found_documents) == text
    ids = [document.id for document in found_documents]
    assert ids == (["a.txt"] if length == 1024 else [f"a.txt#{i}" for i in range(len(ids))])
    assert not faults.counts


def test_rows_have_fields_in_fields_and_their_own_id_and_licence(tmp_path):
    rows = [
        {"data": {"text": "one"}, "name": 7, "rights": "MIT", "url": "http://x"},
        {"data": {"text": "two"}, "name": "b", "rights": None, "url": None},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    options = {
        "text_field": "data.text",
        "id_field": "name",
        "licence_field": "rights",
        "url_field": "url",
    }
    (first, second), _ = read("jsonl", tmp_path, **options)
    assert (first.text, first.id, first.licence) == ("one", "7", "MIT")
    assert first.metadata == {"url": "http://x"} and second.metadata == {}
    assert (second.id, second.licence) == ("b", "CC0")


BAD_LINES = [
    (b'{"text": "good"}', None),
    (b'{"text": "cut', "malformed_json"),
    (b"[1, 2]", "missing_field"),
    (b'{"txt": "x"}', "missing_field"),
    (b'{"text": null}', "null"),
    (b'{"text": 3}', "not_a_string"),
    (b'{"text": " \\n"}', "empty"),
    (b'{"text": "caf\xe9"}', "invalid_utf8"),
    (b'{"text": "half \\ud83d"}', "invalid_utf8"),
    (b'{"text": "\\u0000\\u0001\\u0002 x"}', "binary"),
    (b'{"text": "' + b"x" * 1100 + b'"}', "too_long"),
    (b"[" * 100_000, "too_long"),
    (b'{"text": "last"}', None),
]


@pytest.mark.parametrize("end", [b"\n", b""])
def test_bad_lines_are_counted_and_the_first_ten_are_shown(tmp_path, end):
    lines = b"\n".join(line for line, _ in BAD_LINES)
    (tmp_path / "a.jsonl").write_bytes(lines + end)
    kept, faults = read("jsonl", tmp_path, most_bytes=1024)
    assert [document.text for document in kept] == ["good", "last"]
    assert [document.id for document in kept] == ["a.jsonl#1", f"a.jsonl#{len(BAD_LINES)}"]
    reasons = [(number, reason) for number, (_, reason) in enumerate(BAD_LINES, 1) if reason]
    assert sum(faults.counts.values()) == len(reasons)
    shown = [(f"a.jsonl:{number}", reason) for number, reason in reasons[:10]]
    assert [(fault.where, fault.reason) for fault in faults.first] == shown
    assert faults.summary().startswith("left out: 1 binary, 1 empty, 2 invalid_utf8, 1 malformed")
    assert "a.jsonl:2: malformed_json: Unterminated string" in faults.summary()


def test_json_that_nests_too_deep_is_a_fault(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"[" * 100_000)
    assert only_faults("jsonl", tmp_path).counts == {"malformed_json": 1}


def test_replacement_characters_stand_for_what_is_no_utf_8_where_they_may(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "caf\xe9"}\n{"text": "half \\ud83d"}\n')
    (tmp_path / "a.txt").write_bytes(b"caf\xe9 and more")
    kept, faults = read("jsonl", tmp_path, invalid_utf8="replace")
    assert [document.text for document in kept] == ["caf\ufffd", "half \ufffd"]
    assert [d.text for d in read("text", tmp_path, invalid_utf8="replace")[0]] == [
        "caf\ufffd and more"
    ]
    assert not faults.counts


def test_faults_of_several_files_are_put_together_in_their_order():
    first, second = Faults(), Faults()
    for number in range(7):
        first.add("a", f"x:{number}", "")
        second.add("b", f"y:{number}", "")
    first.extend(second)
    assert first.counts == {"a": 7, "b": 7}
    assert [fault.where for fault in first.first][6:] == ["x:6", "y:0", "y:1", "y:2"]


def test_binary_cut_and_wide_files_are_faults_and_the_others_are_read(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 4)
    (tmp_path / "b.txt").write_bytes("wide".encode("utf-16"))
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"some text " * 1000)[:40])
    (tmp_path / "d.txt").write_bytes(b"")
    (tmp_path / "e.txt").write_text("good")
    kept, faults = read("text", tmp_path)
    assert [document.text for document in kept] == ["good"]
    assert faults.counts == {"binary": 1, "unreadable": 2}
    assert "b.txt: got UTF-16, expected UTF-8" in faults.first[1].detail


def test_a_cut_archive_gives_the_rows_before_the_cut_and_a_fault(tmp_path):
    rows = b"".join(b'{"text": "row %d"}\n' % i for i in range(20_000))
    whole = zstandard.compress(rows)
    (tmp_path / "a.jsonl.zst").write_bytes(whole[: len(whole) * 9 // 10])
    kept, faults = read("jsonl", tmp_path)
    assert 1000 < len(kept) < 20_000 and kept[5].text == "row 5"
    assert faults.counts["unreadable"] == 1


def test_nothing_to_read_and_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no files at .*none'; expected"):
        read("text", tmp_path / "none")
    with pytest.raises(ValueError, match="unknown reader 'jsonls' \\(did you mean 'jsonl'"):
        read("jsonls", tmp_path)
    (tmp_path / "a.jsonl").write_text('{"txt": "x"}\n')
    with pytest.raises(ValueError, match=r"got no document; a.jsonl:1: missing_field: no field"):
        read("jsonl", tmp_path)
    with pytest.raises(ValueError, match=r"reader\.most_bytes: got 3, expected int >= 1024"):
        ReaderOptions(source="x", most_bytes=3)


class Endless(io.RawIOBase):
    """A line of 2 GB, made as it is read, and one more."""

    def __init__(self, line_bytes):
        self._left, self._tail = line_bytes, b'\n{"text": "after"}\n'

    def readable(self):
        return True

    def readinto(self, buffer):
        if self._left:
            size = min(len(buffer), self._left)
            buffer[:size] = b"x" * size
            self._left -= size
            return size
        size = min(len(buffer), len(self._tail))
        buffer[:size], self._tail = self._tail[:size], self._tail[size:]
        return size


def test_memory_does_not_grow_with_a_line():
    """A 200 MB line is passed over in 64 KiB pieces."""
    stream = io.BufferedReader(Endless(200 << 20), 1 << 20)
    tracemalloc.start()
    lines = list(bounded_lines(stream, 1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == [(1, None), (2, b'{"text": "after"}\n')]
    assert peak < 8 << 20


def parquet_file(path, rows, **options):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: extra `parquet`")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, **options)


def test_parquet_rows_are_documents(tmp_path):
    rows = [{"a": {"text": f"row {i}"}, "n": i} for i in range(300)]
    rows[3]["a"] = None
    rows[5]["a"] = {"text": ""}
    parquet_file(tmp_path / "a.parquet", rows, row_group_size=70)
    kept, faults = read("parquet", tmp_path, text_field="a.text")
    assert [document.text for document in kept] == [
        f"row {i}" for i in range(300) if i not in (3, 5)
    ]
    assert kept[4].id == "a.parquet#7"
    assert faults.counts == {"null": 1, "empty": 1}
    assert [
        document.id for document in read("parquet", tmp_path, id_field="n", text_field="a.text")[0]
    ][:2] == ["0", "1"]


def test_what_is_no_parquet_or_lacks_the_column_is_a_fault(tmp_path):
    parquet_file(tmp_path / "b.parquet", [{"x": "text"}])
    (tmp_path / "a.parquet").write_bytes(b"no parquet at all")
    faults = Faults()
    for file in found("parquet", str(tmp_path)):
        assert list(READERS.get("parquet").read(file, OPTIONS, faults)) == []
    assert [fault.reason for fault in faults.first] == ["unreadable", "unreadable"]
    assert "expected a Parquet file" in faults.first[0].detail
    assert "no column 'text', got x" in faults.first[1].detail


def test_remote_files_are_read_as_local_ones(memory):
    memory.pipe("/crawl/x/a.jsonl.gz", gzip.compress(b'{"text": "one"}\n{"text": "two"}\n'))
    memory.pipe("/crawl/b.jsonl", b'{"text": "three"}\n')
    memory.pipe("/crawl/c.txt", b"a text")
    expected = [("b.jsonl#1", "three"), ("x/a.jsonl.gz#1", "one"), ("x/a.jsonl.gz#2", "two")]
    for location in ("memory://crawl", "memory://crawl/", "memory://crawl/**/*.jsonl*"):
        assert [(d.id, d.text) for d in read("jsonl", location)[0]] == expected
    assert [d.id for d in read("text", "memory://crawl/c.txt")[0]] == ["c.txt"]
    with pytest.raises(ValueError, match=r"no files at 'memory://none'"):
        read("text", "memory://none")
    with pytest.raises(ValueError, match=r"^cannot read nothing://x: .*; expected a readable loc"):
        read("text", "nothing://x")
