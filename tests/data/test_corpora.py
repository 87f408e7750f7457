"""Corpora against hand-written expectations, and `python_docs` against imported modules."""

import gzip
import hashlib
import inspect
import json
import os
import random
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import zstandard

from gptjax.data.corpora import text as corpora
from gptjax.data.corpora.text import load_corpus


def texts(spec, **options):
    return [document.text for document in load_corpus(spec, **options)]


# python_docs and python_source


@pytest.mark.slow
def test_python_docs_holds_every_topic_and_docstring_once():
    before = set(sys.modules)
    documents = {document.name: document.text for document in load_corpus("python_docs")}
    imported = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert not imported & {"antigravity", "this", "turtledemo", "idlelib", "tkinter"}

    topic_texts = [text for name, text in documents.items() if name.startswith("topic ")]
    assert topic_texts == list(dict.fromkeys(topics.values()))
    decoder = documents["json/decoder.py"]
    for documented in (json.decoder, json.JSONDecoder, json.JSONDecoder.raw_decode):
        assert decoder.count(inspect.getdoc(documented)) == 1
    assert decoder.index(inspect.getdoc(json.JSONDecoder)) < decoder.index(
        inspect.getdoc(json.JSONDecoder.raw_decode)
    )
    assert not [name for name in documents if "test" in Path(name).parts]
    assert 500 < len(documents) < 1000
    assert 2e6 < sum(len(text.encode()) for text in documents.values()) < 3e6


@pytest.fixture
def small_library(tmp_path, monkeypatch):
    """A standard library of our own, whose modules must not run."""
    sources = {
        "pydoc_data/__init__.py": "",
        "pydoc_data/topics.py": "topics = {'b': 'Topic b.', 'a': 'Topic a.', 'again': 'Topic b.'}",
        "os.py": (
            "'''Module os.'''\nraise SystemExit\n"
            "def late():\n    '''Repeated.'''\n    def inner():\n        '''Inner.'''\n"
            "class Early:\n    '''\n    Class.\n\n        Indented.\n    '''\n"
            "    async def method(self):\n        '''Repeated.'''\n"
        ),
        "json/__init__.py": "'''Repeated.'''",
        "json/tool.py": "# coding: latin-1\n'''Caf\xe9.'''".encode("latin-1"),
        "json/tests/case.py": "'''A test package.'''",
        "test/__init__.py": "'''The test package.'''",
        "site-packages/other.py": "'''Somebody else's.'''",
        "unknown.py": "'''Not of the standard library.'''",
    }
    for name, source in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source if isinstance(source, bytes) else source.encode())
    monkeypatch.setattr(corpora, "_STANDARD_LIBRARY", tmp_path)
    return tmp_path


def test_python_docs_of_a_small_library(small_library):
    documents = [(document.name, document.text) for document in load_corpus("python_docs")]
    assert documents == [
        ("topic b", "Topic b."),
        ("topic a", "Topic a."),
        ("os.py", "Module os.\n\nRepeated.\n\nInner.\n\nClass.\n\n    Indented."),
        ("json/tool.py", "Café."),
    ]


def test_python_docs_without_topics(small_library):
    (small_library / "pydoc_data" / "topics.py").unlink()
    with pytest.raises(ValueError, match=r"no .*topics\.py; expected a whole Python install"):
        load_corpus("python_docs")


def test_python_source_of_a_small_library(small_library):
    documents = {document.name: document.text for document in load_corpus("python_source")}
    assert list(documents) == ["os.py", "json/__init__.py", "json/tool.py", "pydoc_data/topics.py"]
    assert documents["json/tool.py"].endswith("'''Café.'''")


def test_python_source_is_the_same_in_every_process():
    program = (
        "from gptjax.data.corpora.text import *; print(load_corpus('python_source').content_hash())"
    )
    output = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    corpus = load_corpus("python_source")
    assert output.stdout.strip() == corpus.content_hash()
    sources = {document.name: document.text for document in corpus}
    assert sources["json/decoder.py"] == inspect.getsource(json.decoder)


@pytest.mark.parametrize("name", ["python_docs", "python_source"])
def test_the_standard_library_takes_no_location(name):
    with pytest.raises(ValueError, match=f"'{name}:x' takes no location; expected '{name}'"):
        load_corpus(f"{name}:x")


# text and jsonl


def test_text_is_read_from_files_directories_globs_and_compressed(tmp_path):
    contents = {"b.txt": "bé\r\n", "a.txt": "a", "sub/c.txt": "c" * 99, "empty.txt": ""}
    for name, content in contents.items():
        (tmp_path / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plain" / name).write_bytes(content.encode())
        (tmp_path / "packed" / name).parent.mkdir(parents=True, exist_ok=True)
        data = content.encode()
        half = len(data) // 2
        if name == "b.txt":  # of two members, as concatenated .gz files are
            packed = gzip.compress(data[:half]) + gzip.compress(data[half:])
            (tmp_path / "packed" / f"{name}.gz").write_bytes(packed)
        else:
            compress = zstandard.ZstdCompressor().compress
            packed = compress(data[:half]) + compress(data[half:])
            (tmp_path / "packed" / f"{name}.zst").write_bytes(packed)
    (tmp_path / "plain" / ".hidden.txt").write_text("hidden")
    (tmp_path / "plain" / "notes.md").write_text("notes")

    in_order = ["a", "bé\r\n", "c" * 99]
    assert texts(f"text:{tmp_path}/plain") == in_order
    assert texts(f"text:{tmp_path}/packed") == in_order
    assert texts(f"text:{tmp_path}/plain/b.txt") == ["bé\r\n"]
    assert texts(f"text:{tmp_path}/plain/*.txt") == in_order[:2]
    assert texts(f"text:{tmp_path}/plain/**/*") == ["a", "bé\r\n", "notes", "c" * 99]
    plain, packed = (load_corpus(f"text:{tmp_path}/{folder}") for folder in ("plain", "packed"))
    assert plain.content_hash() == packed.content_hash()
    assert (
        plain.content_hash()
        == hashlib.sha256(
            b"".join(hashlib.sha256(text.encode()).digest() for text in in_order)
        ).hexdigest()
    )


def test_a_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "odd [name].txt").write_text("text")
    assert texts("text:~/odd [name].txt") == ["text"]


def test_a_large_text_file_is_streamed_in_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(corpora, "DOCUMENT_BYTES", 1000)
    rng = random.Random(0)
    content = "".join(rng.choice(["ab ", "é", "漢", "🙂", "\n", "\n\n"]) for _ in range(20_000))
    (tmp_path / "large.txt").write_text(content, encoding="utf-8")
    documents = list(load_corpus(f"text:{tmp_path}/large.txt"))
    assert "".join(document.text for document in documents) == content
    sizes = [len(document.text.encode()) for document in documents]
    assert max(sizes) <= 1000
    assert min(sizes[:-1]) >= 500
    assert all(document.text.endswith("\n\n") for document in documents[:-1])
    offsets = [int(document.name.rpartition("@")[2]) for document in documents]
    assert offsets == [sum(sizes[:i]) for i in range(len(sizes))]


@pytest.mark.parametrize("shift", range(4))
def test_a_text_without_spaces_is_cut_between_characters(tmp_path, monkeypatch, shift):
    monkeypatch.setattr(corpora, "DOCUMENT_BYTES", 100)
    content = "x" * shift + "é漢🙂🙂" * 100
    (tmp_path / "x.txt").write_text(content, encoding="utf-8")
    pieces = texts(f"text:{tmp_path}/x.txt")
    assert "".join(pieces) == content
    assert min(map(len, map(str.encode, pieces[:-1]))) >= 96


def test_a_long_file_is_never_in_memory(tmp_path):
    with gzip.open(tmp_path / "long.txt.gz", "wb", compresslevel=1) as file:
        file.write(b"word " * (1 << 21))
    tracemalloc.start()
    try:
        total = sum(len(d.text) for d in load_corpus(f"text:{tmp_path}/long.txt.gz"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 5 << 21
    assert peak < 1 << 20


def test_jsonl_reads_a_field_of_each_line(tmp_path):
    lines = ['{"text": "one", "n": 1}', "", '{"text": ""}', r'{"text": "\ud83d\ude42 é\n"}']
    data = "\n".join(lines).encode()
    (tmp_path / "of#x.jsonl").write_bytes(data)
    (tmp_path / "y.jsonl.gz").write_bytes(gzip.compress(data))
    (tmp_path / "z.json").write_bytes(data)
    documents = list(load_corpus(f"jsonl:{tmp_path}/of#x.jsonl#text"))
    assert [document.name for document in documents] == [
        f"{tmp_path}/of#x.jsonl:{i}" for i in (1, 4)
    ]
    assert [document.text for document in documents] == ["one", "🙂 é\n"]
    assert texts(f"jsonl:{tmp_path}#text") == ["one", "🙂 é\n"] * 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "cut', r"x.jsonl:2: not JSON \(Unterminated string.* at column 10\); expected"),
        ('{"txt": "", "id": 1}', r"x.jsonl:2: no field 'text', got fields txt, id; expected"),
        ('["text"]', r"x.jsonl:2: no field 'text', got list; expected an object with it"),
        ('{"text": 3}', r"x.jsonl:2: field 'text' is of type int; expected a string"),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path, line, message):
    (tmp_path / "x.jsonl").write_text('{"text": "good"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message) as caught:
        texts(f"jsonl:{tmp_path}/x.jsonl#text")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("location", ["x.jsonl", "x.jsonl#", "#text", ""])
def test_jsonl_needs_path_and_field(location):
    with pytest.raises(ValueError, match=r"expected jsonl:PATH#field"):
        load_corpus(f"jsonl:{location}")


# Bad input


@pytest.mark.parametrize("kind", ["text", "jsonl"])
def test_invalid_utf8_is_counted_and_refused_or_replaced(tmp_path, kind, caplog):
    path = tmp_path / f"x.{kind}"
    bad = b"\xe2\x82 \xff genuine \xef\xbf\xbd"  # two invalid sequences and a U+FFFD
    good, spec = b"first\n", f"text:{path}"
    if kind == "jsonl":
        good, bad, spec = b'{"t": "first"}\n', b'{"t": "' + bad + b'"}', f"jsonl:{path}#t"
    path.write_bytes(good + bad)
    first = (good + bad).index(b"\xe2")
    message = f"x.{kind}: 2 invalid UTF-8 sequence\\(s\\), first at byte {first}; expected UTF-8"
    with pytest.raises(ValueError, match=message):
        texts(spec)
    assert texts(spec, invalid_utf8="replace")[-1].endswith("\ufffd \ufffd genuine \ufffd")
    assert f"2 invalid UTF-8 sequence(s), first at byte {first}" in caplog.text


def test_half_a_character_in_json_is_invalid_utf8(tmp_path, caplog):
    (tmp_path / "x.jsonl").write_text('{"t": "ok"}\n' + r'{"t": "a\ud83d b\udc00"}')
    with pytest.raises(ValueError, match=r"2 invalid UTF-8 sequence\(s\), first at byte 12"):
        texts(f"jsonl:{tmp_path}/x.jsonl#t")
    assert texts(f"jsonl:{tmp_path}/x.jsonl#t", invalid_utf8="replace")[1] == "a\ufffd b\ufffd"
    assert "2 invalid UTF-8" in caplog.text


def test_missing_and_empty_corpora(tmp_path):
    with pytest.raises(ValueError, match=r"no files at '.*nowhere'; expected a file, a directory"):
        load_corpus(f"text:{tmp_path}/nowhere")
    (tmp_path / "notes.md").write_text("notes")
    with pytest.raises(ValueError, match=r"no files at .*; expected files named \*\.txt, "):
        load_corpus(f"text:{tmp_path}")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match=r"holds no text in its 1 file\(s\); expected at least"):
        texts(f"text:{tmp_path}/empty.txt")


def test_unreadable_files(tmp_path):
    data = bytes(random.Random(0).choices(range(32, 127), k=10_000))
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(data)[:-100])
    (tmp_path / "cut.txt.zst").write_bytes(zstandard.ZstdCompressor().compress(data)[:-100])
    (tmp_path / "not.txt.gz").write_bytes(data)
    (tmp_path / "not.txt.zst").write_bytes(data)
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "nowhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.txt"))
        for path in tmp_path.iterdir():
            with pytest.raises(ValueError, match=r"cannot read|no files at") as caught:
                texts(f"text:{path}")
            assert path.name in str(caught.value)
            assert "\n" not in str(caught.value)


def test_unknown_names():
    for path, meant in (
        ("some/folder", "text:some/folder"),
        ("book.txt", "text:book.txt"),
        ("data/*.jsonl.zst", "jsonl:data/*.jsonl.zst#FIELD"),
    ):
        with pytest.raises(ValueError) as caught:
            load_corpus(path)
        assert f"unknown corpus {path!r} (did you mean {meant!r}?)" in str(caught.value)
    with pytest.raises(ValueError, match=r"unknown corpus 'txt' \(did you mean 'text'\?\); expec"):
        load_corpus("txt:x")
    with pytest.raises(ValueError, match="python_docs, python_source, text, jsonl"):
        load_corpus("some/folder/book.txt")
    with pytest.raises(ValueError, match="invalid_utf8 is 'ignore'; expected 'error' or 'replace'"):
        load_corpus("text:x", invalid_utf8="ignore")


# The fingerprint


def test_the_fingerprint_follows_the_files(tmp_path, settled):
    path = tmp_path / "x.txt"
    path.write_text("one")
    corpus = load_corpus(f"text:{path}")
    first = corpus.fingerprint()
    assert first == load_corpus(f"text:{path}").fingerprint()
    assert first != load_corpus(f"text:{path}", invalid_utf8="replace").fingerprint()
    stat = path.stat()
    path.write_text("two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert first != corpus.fingerprint()


def test_the_fingerprint_follows_the_code_that_reads_them(tmp_path, settled, monkeypatch):
    (tmp_path / "x.txt").write_text("text")
    corpus = load_corpus(f"text:{tmp_path}/x.txt")
    first = corpus.fingerprint()
    monkeypatch.setattr(corpora, "__file__", str(tmp_path / "corpora.py"))
    (tmp_path / "text_files.py").write_text("# other code")
    assert corpus.fingerprint() != first


def test_files_just_written_have_no_fingerprint(tmp_path):
    (tmp_path / "x.txt").write_text("one")
    assert load_corpus(f"text:{tmp_path}/x.txt").fingerprint() is None
