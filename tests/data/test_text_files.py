"""Files as users have them: compressed, marked, linked, in other encodings, with nulls."""

import bz2
import codecs
import gzip
import json
import lzma
import os

import pytest
import zstandard

from gptjax.data.corpora.found_files import find_files
from gptjax.data.corpora.text import load_corpus
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.message_trees import tree_of
from gptjax.data.dialogue.preferences import load_rankings
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.data.dialogue.records import Dropped, Row
from gptjax.judging.ratings import votes_of
from gptjax.judging.rubrics import rubric_reward
from gptjax.tokenization import ByteLevelBPE, load_tokenizer


def texts(spec, **options):
    return [document.text for document in load_corpus(spec, **options)]


def long_window(content: bytes) -> bytes:
    """As `zstd --long=31` writes it: no size in the header, so that the window is stated."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, window_log=31, write_content_size=False
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return compressor.compress(content) + compressor.flush()


PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": long_window}


@pytest.mark.parametrize("ending", PACKERS)
def test_compressed_files_are_read_and_damaged_ones_refused(tmp_path, ending):
    pack = PACKERS[ending]
    (tmp_path / f"a.txt{ending}").write_bytes(pack(b"first ") + pack(b"second"))
    (tmp_path / f"b.jsonl{ending}").write_bytes(pack(b'{"prompt": "q", "response": "a"}\n'))
    (tmp_path / f"c.json{ending}").write_bytes(pack(b'["no object"]'))
    assert texts(f"text:{tmp_path}") == ["first second"]
    assert len(load_conversations(f"jsonl:{tmp_path}")) == 1
    with pytest.raises(ValueError, match="#0: got a JSON str, expected an object"):
        load_rankings(f"pandalm:{tmp_path}")
    whole = pack(os.urandom(5000))
    for content in (whole[: len(whole) // 2], b"no archive at all"):
        (tmp_path / f"a.txt{ending}").write_bytes(content)
        with pytest.raises(ValueError, match=f"^cannot read {tmp_path}/a.txt{ending}: .*$"):
            texts(f"text:{tmp_path}", invalid_utf8="replace")


MARK = codecs.BOM_UTF8


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(MARK + "é \ufeff".encode())
    (tmp_path / "b.jsonl").write_bytes(MARK + b'{"prompt": "q", "response": "a"}')
    (tmp_path / "c.json").write_bytes(MARK + b"[3]")
    assert texts(f"text:{tmp_path}") == ["é \ufeff"]
    assert texts(f"jsonl:{tmp_path}#prompt") == ["q"]
    assert len(load_prompts(f"jsonl:{tmp_path}")) == 1
    with pytest.raises(ValueError, match="#0: got a JSON int"):
        load_rankings(f"pandalm:{tmp_path}")
    (tmp_path / "rubric.json").write_bytes(MARK + b'{"model": 3}')
    with pytest.raises(
        ValueError, match=r"rubric.json: 'rubric'|rubric.json: row: got fields model"
    ):
        rubric_reward(tmp_path / "rubric.json")
    tokenizer = ByteLevelBPE.train(["ab ab ab"], 258)
    tokenizer.save(tmp_path / "t")
    for name in ("encoder.json", "vocab.bpe"):
        (tmp_path / "t" / name).write_bytes(MARK + (tmp_path / "t" / name).read_bytes())
    assert load_tokenizer(f"gpt2:{tmp_path}/t").content_hash() == tokenizer.content_hash()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(tmp_path, encoding):
    name = encoding[:6].upper()
    for suffix, content, spec in (
        ("txt", "some plain text", f"text:{tmp_path}/x.txt"),
        ("jsonl", '{"a": "text"}', f"jsonl:{tmp_path}/x.jsonl#a"),
    ):
        (tmp_path / f"x.{suffix}").write_bytes(content.encode(encoding))
        for options in ({}, {"invalid_utf8": "replace"}):
            with pytest.raises(ValueError, match=f"x.{suffix}: got {name}, .*iconv -f {name} -t"):
                texts(spec, **options)
    (tmp_path / "x.txt").write_bytes(b"a\0")
    assert texts(f"text:{tmp_path}") == ["a\0"]


def test_each_real_file_is_read_once_whatever_links_there_are(tmp_path, caplog):
    """Two links in a loop would be 2**40 paths."""
    folder, outside = tmp_path / "texts", tmp_path / "outside"
    (folder / "below").mkdir(parents=True)
    outside.mkdir()
    for path in (folder / "a.txt", folder / "below/b.txt", outside / "c.txt"):
        path.write_text(path.name)
    (folder / "0.txt").symlink_to("a.txt")
    (folder / "0loop").symlink_to(".")
    (folder / "below/up").symlink_to("..")
    (folder / "way").symlink_to(outside)
    found = [folder / "a.txt", folder / "below/b.txt", folder / "way/c.txt"]
    said = "x: passed over 3 links to files or folders that are read already; one is "
    for location in (folder, folder / "**/*.txt", folder / "**"):
        caplog.clear()
        assert list(find_files("x", str(location), ".txt")) == found
        (record,) = caplog.records
        assert record.getMessage().startswith(f"{said}{folder}/0")
    assert list(find_files("x", f"{folder}/**/below/*", "")) == [found[1]]


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_null_is_passed_over_and_counted_once(tmp_path, caplog):
    path = lines(tmp_path / "x.jsonl", None, {"a": {"b": "one"}}, {"a": None}, {"a": {"b": None}})
    corpus = load_corpus(f"jsonl:{path}#a.b")
    assert [document.text for _ in range(2) for document in corpus] == ["one", "one"]
    dropped = f"jsonl:{path}#a.b: dropped 3 rows: null in what is read"
    assert [record.getMessage() for record in caplog.records] == [dropped]
    lines(path, {"a": {"c": "one"}}, {"a.b": "two"})
    with pytest.raises(ValueError, match=r"x.jsonl:1: a: no field 'b', got fields c; expected an"):
        texts(f"jsonl:{path}#a.b")
    lines(path, {"a.b": "two", "a": 3})
    assert texts(f"jsonl:{path}#a.b") == ["two"]


TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
RANKED = {"prompt": "q", "responses": ["a", "b"], "ranks": [1, 2]}
SILENT = [TURNS[0], {"role": "assistant", "content": None}]
SETS = [
    (load_conversations, "jsonl", {"messages": TURNS}, {"messages": SILENT}),
    (load_conversations, "jsonl", TURNS, None),
    (
        load_conversations,
        "jsonl",
        {"prompt": "q", "response": "a"},
        {"prompt": "q", "response": None},
    ),
    (load_prompts, "jsonl", "q", None),
    (load_prompts, "jsonl", {"prompt": "q", "response": None}, {"prompt": None}),
    (load_rankings, "jsonl", PAIR, PAIR | {"chosen": None}),
    (load_rankings, "jsonl", RANKED, RANKED | {"ranks": [None, 1]}),
    (load_rankings, "jsonl", RANKED, RANKED | {"responses": ["a", None]}),
]


@pytest.mark.parametrize(("load", "form", "good", "null"), SETS)
def test_sets_pass_nulls_over_and_read_fields_in_fields(tmp_path, caplog, load, form, good, null):
    (tmp_path / "of#x").mkdir()
    path = lines(
        tmp_path / "of#x/x.jsonl", {"a": {"b": good}}, None, {"a": None}, {"a": {"b": null}}
    )
    records = load(f"{form}:{path}#a.b")
    assert len(records) == 1 and records.dropped == {"null in what is read": 3}
    said = f"{form}:{path}#a.b: dropped 3 rows: null in what is read"
    assert [record.getMessage() for record in caplog.records] == [said]
    if isinstance(good, dict):
        (same,) = load(f"{form}:{lines(path, good, null)}")
        assert [same] == list(records)
        lines(tmp_path / "a#b.jsonl", good)
        assert [same] == list(load(f"{form}:{tmp_path}/a#b.jsonl"))
        with pytest.raises(ValueError, match=r"no files at '.*of#x/none.jsonl'"):
            load(f"{form}:{tmp_path}/of#x/none.jsonl")


def test_votes_and_trees_pass_nulls_over(tmp_path):
    vote = {"a": "x", "b": "y", "winner": "a"}
    path = lines(
        tmp_path / "votes.jsonl", vote, None, vote | {"winner": None}, vote | {"prompt": None}
    )
    assert len(votes_of(str(path)).judgements) == 2
    with pytest.raises(Dropped):
        tree_of(Row("f:1", {"prompt": {"role": "prompter", "text": None}}))
