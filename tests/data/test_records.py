"""Rows of JSON files, by name, and what is said of bad ones."""

import gzip
import json

import pytest

from gptjax.data.dialogue.records import Records, Row, log_dropped, read_records, sift


def write(path, *lines):
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def read(location, suffix=".jsonl"):
    """Name and `x` of each row."""
    return read_records("s", str(location), lambda row: [(row.name, row.fields.get("x"))], suffix)


def test_lines_and_lists_are_read_with_their_places(tmp_path):
    lines = write(tmp_path / "a.jsonl", '{"x": 1}', "", '{"x": 2}')
    with gzip.open(tmp_path / "b.json.gz", "wt") as file:
        json.dump([{"x": 3}, {"x": 4}], file)
    assert [*read(lines)] == [(f"{lines}:1", 1), (f"{lines}:3", 2)]
    rows = [(f"{tmp_path}/b.json.gz#0", 3), (f"{tmp_path}/b.json.gz#1", 4)]
    assert [*read(tmp_path, ".json")] == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"x": 1}\n{"x": }', r"a.jsonl:2: not JSON \(Expecting value at column 7\)"),
        ("a.jsonl", b"[1]", "a.jsonl:1: got a JSON list, expected an object$"),
        ("a.jsonl", b'{"x": "\xff"}', "a.jsonl:1: got invalid UTF-8 at byte 7, expected UTF-8"),
        ("a.json", b'{"x": 1}', "a.json: got a JSON dict, expected a list of objects"),
        ("a.json", b"[{}, 3]", "a.json#1: got a JSON int, expected an object"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_fields():
    row = Row("f:7", {"a": "text", "b": 3, "c": "\ud800", "d": []})
    assert row.text("a") == "text"
    for call, message in [
        (lambda: row.text("z"), "^f:7: row: got fields a, b, c, d, expected a field 'z'$"),
        (lambda: row.text("b"), "^f:7: 'b': got int, expected a string$"),
        (lambda: row.text("c"), r"^f:7: 'c': got the lone surrogate U\+D800, expected valid"),
        (lambda: row.as_list("'d'", row.value("d")), "^f:7: 'd': got an empty list, expected a"),
        (lambda: Row("f:8", {}).value("a"), "^f:8: row: got no fields, expected a field 'a'$"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_what_is_dropped_is_counted_and_nothing_left_is_refused():
    odd = sift("s", ((n, None if n % 2 else "even numbers") for n in range(7)))
    assert (list(odd), odd.dropped) == ([1, 3, 5], {"even numbers": 4})
    small = odd.without(lambda n: "large numbers" if n > 1 else None)
    assert (list(small), small.dropped) == ([1], {"even numbers": 4, "large numbers": 2})
    assert list(odd) == [1, 3, 5]
    message = r"^'s': got none of 7 \(4 even numbers, 3 others\) rows, expected at least one to be"
    with pytest.raises(ValueError, match=message):
        odd.without(lambda n: "others")
    with pytest.raises(ValueError, match=r"^'s': got 0 rows, expected at least one to be left$"):
        Records("s", ())


def test_content_hash_is_of_the_items_in_order():
    assert Records("a", (1, 2)).content_hash() == Records("b", (1, 2), {"x": 1}).content_hash()
    assert Records("a", (1, 2)).content_hash() != Records("a", (2, 1)).content_hash()


def test_what_was_dropped_is_logged_once(caplog):
    first = sift("s", [(1, None), (2, "bad rows"), (3, "bad rows"), (4, None)])
    log_dropped(first)
    log_dropped(first.without(lambda n: "long rows" if n > 3 else None), first.dropped)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["s: dropped 2 rows: bad rows", "s: dropped 1 rows: long rows"]
