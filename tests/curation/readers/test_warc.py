"""Web archives made here, and the samples of cc_net and dolma."""

import gzip

import pytest

from gptjax.curation.readers.faults import Faults
from gptjax.curation.readers.registered import READERS, ReaderOptions, documents, found


def record(kind, block, *, mime="text/plain", url="http://x/", length=None, end=b"\r\n"):
    fields = {
        b"WARC-Type": kind.encode(),
        b"WARC-Target-URI": url.encode(),
        b"Content-Type": mime.encode(),
        b"Content-Length": str(len(block) if length is None else length).encode(),
    }
    head = b"WARC/1.0" + end + b"".join(k + b": " + v + end for k, v in fields.items())
    return head + end + block + end * 2


def response(body, *, status=b"200 OK", **fields):
    fields = {"Content-Type": "text/html; charset=utf-8"} | {
        name.replace("_", "-"): value for name, value in fields.items()
    }
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in fields.items())
    block = b"HTTP/1.1 " + status + b"\r\n" + lines + b"\r\n" + body
    return record("response", block, mime="application/http; msgtype=response")


def read(tmp_path, *records, name="a.warc", **options):
    content = b"".join(records)
    if name.endswith(".gz"):
        content = b"".join(map(gzip.compress, records))
    (tmp_path / name).write_bytes(content)
    faults = Faults()
    (file,) = found("warc", str(tmp_path / name))
    settings = ReaderOptions(**{"source": "crawl"} | options)
    return list(READERS.get("warc").read(file, settings, faults)), faults


INFO = record("warcinfo", b"software: made\r\n", mime="application/warc-fields")


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_texts_of_a_wet_file(tmp_path, name, end):
    texts = ["Ein schöner Text.", "WARC/1.0\nis in this one", "", "three\n\n\n"]
    records = [
        record("conversion", text.encode(), url=f"<http://x/{i}>", end=end)
        for i, text in enumerate(texts)
    ]
    kept, faults = read(tmp_path, INFO, *records, name=name)
    assert [document.text for document in kept] == [texts[0], texts[1], "three\n\n"]
    assert [document.id for document in kept] == [f"{name}#2", f"{name}#3", f"{name}#5"]
    assert kept[0].metadata == {"url": "http://x/0"}
    assert faults.counts == {"empty": 1}


def test_pages_become_texts(tmp_path):
    pytest.importorskip("resiliparse", reason="resiliparse is not installed: extra `warc`")
    page = "<html><body><nav>Menu</nav><main><p>Caf\xe9 &amp; more.</p></main></body></html>"
    chunks = b"5\r\n<p>He\r\n8;x=y\r\nllo</p>\n\r\n0\r\n\r\n"
    kept, faults = read(
        tmp_path,
        INFO,
        record("request", b"GET / HTTP/1.1\r\n\r\n", mime="application/http; msgtype=request"),
        response(page.encode()),
        response(page.encode("latin-1"), Content_Type="text/html; charset=iso-8859-1"),
        response(gzip.compress(page.encode()), Content_Encoding="gzip"),
        response(chunks, Transfer_Encoding="chunked"),
        response(b"plain text", Content_Type="text/plain"),
        response(b"gone", status=b"404 Not Found"),
        response(b"\x89PNG", Content_Type="image/png"),
        response(b"no gzip", Content_Encoding="gzip"),
        response(b"5 no chunk", Transfer_Encoding="chunked"),
        response(b"", Content_Encoding="br"),
        response(gzip.compress(b"x" * 5000), Content_Encoding="gzip"),
        most_bytes=2048,
    )
    assert [document.text for document in kept] == ["Café & more."] * 3 + ["Hello", "plain text"]
    assert faults.counts == {"http_status": 1, "not_text": 1, "broken_record": 3, "too_long": 1}


def test_long_records_are_passed_over(tmp_path):
    long = record("conversion", b"x" * 200_000)
    kept, faults = read(tmp_path, INFO, long, record("conversion", b"short"), most_bytes=1024)
    assert [document.text for document in kept] == ["short"]
    assert faults.counts == {"too_long": 1} and faults.first[0].where == "a.warc:2"


@pytest.mark.parametrize("wrong", [3, 40, 150])
def test_a_wrong_length_loses_no_record(tmp_path, wrong):
    first = record("conversion", b"the first text, longer than it says", length=wrong)
    kept, _ = read(tmp_path, first, *(record("conversion", b"text %d" % i) for i in range(3)))
    texts = [document.text.strip() for document in kept]
    assert texts == ["the first text, longer than it says", "text 0", "text 1", "text 2"]
    assert [document.id for document in kept] == [f"a.warc#{i}" for i in range(1, 5)]


def test_what_is_no_record_is_a_fault(tmp_path):
    broken = b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: many\r\n\r\nx\r\n\r\n"
    kept, faults = read(tmp_path, b"noise\r\nmore\r\n", broken, record("conversion", b"good"))
    assert [document.text for document in kept] == ["good"]
    assert faults.counts == {"broken_record": 2}
    assert "content-length 'many'" in faults.first[1].detail


def test_a_cut_archive_gives_what_was_before(tmp_path):
    texts = [b"text %d" % i * 5000 for i in range(3)]
    members = [gzip.compress(record("conversion", text)) for text in texts]
    (tmp_path / "a.warc.gz").write_bytes(b"".join(members)[:-20])
    faults = Faults()
    kept = list(documents("warc", str(tmp_path), ReaderOptions(source="x"), faults))
    assert [document.text.encode() for document in kept] == texts[:2]
    assert faults.counts == {"unreadable": 1}


def test_cc_nets_sample(shared_data):
    """Its lengths count characters, not bytes, and its first one reaches into the next record."""
    path = shared_data / "noisy_web/cc_net_warc/sample.warc.txt"
    kept = list(documents("warc", str(path), ReaderOptions(source="x"), Faults()))
    assert [document.metadata["url"] for document in kept] == [
        "http://sample_english.com",
        "http://sample_chinese.zh",
        "http://sample_russian.ru",
    ]
    assert kept[0].text.startswith("Famous Mark Twain Quotes\n")
    assert kept[1].text.rstrip().endswith("真理不是。") and "Правда нет." in kept[2].text


def test_dolmas_sample(shared_data):
    pytest.importorskip("resiliparse", reason="resiliparse is not installed: extra `warc`")
    faults = Faults()
    location = str(shared_data / "noisy_web/dolma_cc/warc")
    kept = list(documents("warc", location, ReaderOptions(source="x"), faults))
    assert len(kept) == 41 and not faults.counts
    assert {document.id.split("#")[0] for document in kept} == {
        "sample-0000.warc.gz",
        "sample-0001.warc.gz",
    }
    assert all("<div" not in document.text for document in kept)
