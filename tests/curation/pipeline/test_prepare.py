"""A whole preparation of a small crawl: what is dropped, what is kept, and that nothing is lost."""

import contextlib
import dataclasses
import hashlib
import json

import pytest

from gptjax.curation.executors.tasks import InProcess
from gptjax.curation.phases import quality, reading
from gptjax.curation.phases.deaths import Deaths
from gptjax.curation.pipeline import work as work_module
from gptjax.curation.pipeline.configuration import QualityConfig, SourceConfig
from gptjax.curation.pipeline.work import dropped_rows
from gptjax.data import load_corpus
from gptjax.data.prepared.split import open_prepared
from tests.curation.pipeline.conftest import QUESTION, prose, rows
from tests.support.tasks import WithKillers, poisonous


def shards(folder):
    """SHA-256 of every file of shards, by name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for split in ("train", "validation")
        for path in sorted((folder / split).iterdir())
    }


def texts(folder):
    return {document.name: document.text for document in load_corpus(f"prepared:{folder}")}


def test_everything_is_kept_or_dropped_for_the_reason_it_was_planted_for(prepared):
    folder, report, _ = prepared()
    crawl = report["sources"]["crawl"]
    assert crawl["dropped"] == {
        "deduplication.equal_document": 4,
        "deduplication.near_duplicate": 3,
        "gopher_quality.too_few_words": 3,
        "reading.empty": 1,
        "reading.malformed_json": 1,
        "reading.missing_field": 1,
    }
    assert crawl["read"] == len(rows()) + 2 == crawl["kept"] + sum(crawl["dropped"].values())
    assert len(crawl["faults"]) == 3 and "1.jsonl:3: malformed_json" in crawl["faults"][0]
    found = texts(folder)
    original = dict(rows())
    kept = {name.removeprefix("crawl: "): text for name, text in found.items() if "crawl" in name}
    whole = {name: text for name, text in kept.items() if "@" not in name}
    assert all(text == original[name] for name, text in whole.items())
    # Of the leak, what is 200 characters from the question stays.
    leak = original["leak"]
    pieces = [text for name, text in kept.items() if name.startswith("leak@")]
    begin, end = leak.index(QUESTION) - 200, leak.index(QUESTION) + len(QUESTION) - 1 + 200
    assert sorted(pieces) == sorted([leak[:begin], leak[end:]])
    assert report["contamination"][0]["dirty"] == 0
    assert len([name for name in found if name.startswith("books")]) == 4
    pairs = map(json.loads, (folder / "duplicates/pairs.jsonl").read_text().splitlines())
    assert {frozenset((pair["a"][1], pair["b"][1])) for pair in pairs} == {
        frozenset((f"near {n}", f"plain {n}")) for n in range(3)
    }
    logs = list(dropped_rows(folder))
    assert len(logs) == sum(crawl["dropped"].values()) - 3  # rows that hold no document
    assert not (folder / "work").exists()


def test_provenance_is_in_the_shards(prepared):
    folder, _, _ = prepared()
    opened = open_prepared(folder)
    about = [opened.everything.about(n) for n in range(len(opened.everything.document_starts))]
    assert {(one["source"], one.get("licence")) for one in about} == {
        ("books", None),
        ("crawl", "CC0"),
    }


def test_the_mix_is_the_one_asked_for(prepared):
    _, report, _ = prepared()
    for row in report["mixture"]:
        assert row["asked"] == {"books": 0.75, "crawl": 0.25}[row["source"]]
        assert abs(row["achieved"] - row["asked"]) < 0.01
        assert row["epochs"] == pytest.approx(row["asked"] * 10_000 / row["tokens"])


def test_the_shards_do_not_depend_on_how_the_work_was_divided(prepared):
    whole, report, _ = prepared("whole")
    parts, other, phases = prepared("parts", part_megabytes=0.002)
    assert phases["read"][0] > 5 and phases["near_duplicates_sign"][0] > 10
    assert shards(whole) == shards(parts) and len(shards(whole)) > 6
    assert report["sources"] == other["sources"]
    assert report["content_hash"] == other["content_hash"]


def test_the_held_out_documents_are_those_of_the_rule_of_corpora(prepared, configured):
    folder, _, _ = prepared()
    opened = open_prepared(folder)
    bound = 0.2 * 2**64
    everything = texts(folder)
    for split in ("train", "validation"):
        of_split = opened.split(split)
        for number in range(len(of_split.document_starts)):
            about = of_split.about(number)
            if "@" in about["id"]:
                continue
            text = everything[f"{about['source']}: {about['id']}"]
            digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            assert (digest < bound) == (split == "validation")
    assert len(opened.validation.document_starts) > 2


class Stopping(InProcess):
    """Fails before its n-th task, as a machine does that is switched off."""

    def __init__(self, tasks):
        self.left = tasks

    def run(self, tasks):
        for task in tasks:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            yield from super().run([task])


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_preparation_that_stops_anywhere_goes_on_to_the_same_shards(prepared, every):
    whole, _, phases = prepared("whole")
    total = sum(tasks for tasks, _ in phases.values())
    for stop in range(3, total, every):
        with pytest.raises(KeyboardInterrupt):
            prepared(f"stopped{stop}", executor=Stopping(stop))
        folder, _, again = prepared(f"stopped{stop}")
        assert sum(done for _, done in again.values()) == stop
        assert shards(folder) == shards(whole)


def test_the_same_command_in_the_same_folder_does_nothing_again(prepared):
    folder, report, _ = prepared()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    _, again, phases = prepared()
    assert again == report and not phases
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_folder_of_something_else_is_refused(prepared, crawl):
    prepared()
    with pytest.raises(ValueError, match=r"out was begun with another configuration: seed: 1, not"):
        prepared(seed=1)
    (crawl / "crawl" / "0.jsonl").write_text('{"id": "new", "text": "new"}\n')
    with pytest.raises(ValueError, match=r"crawl: 0\.jsonl has changed since, expected the same"):
        prepared()
    (crawl / "other").mkdir()
    (crawl / "other" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"other has other files in it, expected a new folder"):
        prepared("other")


def test_a_poisonous_document_is_quarantined_with_its_error(prepared, crawl, monkeypatch):
    (crawl / "crawl" / "3.jsonl").write_text('{"id": "bad", "text": "poison"}\n')
    monkeypatch.setattr(reading.Sieve, "judge", lambda self, document: poisonous(document))
    folder, report, _ = prepared()
    assert report["sources"]["crawl"]["dropped"]["quarantine.sifting"] == 1
    (row,) = [row for row in dropped_rows(folder) if row["reason"] == "quarantine.sifting"]
    assert row["id"] == "bad" and row["detail"] == "ZeroDivisionError: of poison in two lines"


def test_the_documents_at_which_a_task_died_are_counted_until_it_ends(tmp_path):
    path = tmp_path / "part.deaths"
    for attempt in range(2):
        with pytest.raises(KeyboardInterrupt), Deaths(path) as deaths:
            assert [deaths.count(number) for number in (6, 7)] == [0, attempt]
            with deaths.at(6):
                pass
            with deaths.at(7):
                here = path.read_bytes()
            raise KeyboardInterrupt
        path.write_bytes(here)  # as a process leaves it that ends there
    with Deaths(path) as deaths:
        assert [deaths.count(number) for number in (6, 7)] == [0, 2]
    assert not path.exists()


@pytest.mark.slow
def test_a_document_that_ends_its_process_is_set_aside_and_the_others_are_as_without_it(
    prepared, crawl
):
    whole, _, _ = prepared("whole")
    deadly = [
        f"{prose(50 + n)} This is deadly to {what}." for n, what in enumerate(("sift", "encode"))
    ]
    lines = [json.dumps({"id": f"bad {n}", "text": text}) for n, text in enumerate(deadly)]
    (crawl / "crawl" / "3.jsonl").write_text("\n".join(lines) + "\n")
    with contextlib.closing(WithKillers(2, attempts=3)) as executor:
        folder, _, _ = prepared(executor=executor)
    gone = [row for row in dropped_rows(folder) if row["reason"].startswith("quarantine")]
    assert [(row["id"], row["reason"]) for row in gone] == [
        ("bad 0", "quarantine.sifting"),
        ("bad 1", "quarantine.sharding"),
    ]
    assert all("its process died" in row["detail"] for row in gone)
    assert texts(folder) == texts(whole)


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(prepared, monkeypatch):
    written = work_module.write_json

    def full(path, values):
        if "shards" in str(path):
            raise OSError(28, "No space left on device", str(path))
        written(path, values)

    monkeypatch.setattr(work_module, "write_json", full)
    with pytest.raises(OSError, match="No space left on device"):
        prepared()
    monkeypatch.undo()
    folder, _, _ = prepared()
    assert not list(folder.rglob("*.new"))
    assert shards(folder) == shards(prepared("whole")[0])


def test_when_nothing_is_left_it_says_what_became_of_all(prepared, configured):
    crawl = {"crawl": configured().sources["crawl"]}
    with pytest.raises(ValueError, match=r"got no document that is left.* crawl: 38 read, 0 kept"):
        prepared(sources=crawl, heuristics={"gopher_quality": {"least_words": 5000}})


def test_the_classifier_learns_nothing_of_what_is_held_out(
    configured, prepared, monkeypatch, tmp_path
):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: extra `curation`")
    learned, real_fit = [], quality.fit

    def fit(positives, negatives):
        learned.append((list(positives), list(negatives)))
        return real_fit(positives, negatives)

    def held_out(text):
        return int(hashlib.sha256(text.encode()).hexdigest(), 16) < 0.2 * 2**256

    monkeypatch.setattr(quality, "fit", fit)
    plain = [text for id, text in rows() if id.startswith("plain")]
    judging = next(text for text in plain if not held_out(text))  # stands in the crawl, too
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "one.txt").write_text(judging)
    sources = configured().sources
    crawl = dataclasses.replace(sources["crawl"], quality=True)
    judge = SourceConfig("text", str(tmp_path / "judge"), heuristics=False, held_out=1.0)
    _, report, _ = prepared(
        sources={**sources, "crawl": crawl, "judge": judge},
        quality=QualityConfig(positives=("books",), negatives=("crawl",)),
    )
    (positives, negatives) = learned[0]
    assert any(map(held_out, plain)) and any(text in plain for text in negatives)
    assert positives and not any(map(held_out, positives + negatives))
    assert judging not in negatives
    sifted, known = (report["quality"][name] for name in ("sifted", "sifted_learned"))
    assert sifted > known == len(negatives)
