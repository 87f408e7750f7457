"""A small crawl of jsonl files beside books, with everything in it that a preparation drops."""

import dataclasses
import json
import random

import pytest

from gptjax.curation.executors.tasks import InProcess
from gptjax.curation.pipeline.configuration import (
    DecontaminationConfig,
    DeduplicationConfig,
    ExecutionConfig,
    MixtureConfig,
    PrepareConfig,
    ShardsConfig,
    SourceConfig,
)
from gptjax.curation.pipeline.prepare import prepare
from gptjax.curation.pipeline.resolution import resolve

QUESTION = (
    "Which of the seven rivers that cross the old valley runs dry in the summer months when the "
    "snow of the mountains has gone, and which of them does not?"
)


class Silent:
    """A progress bar that remembers its phases."""

    def __init__(self):
        self.phases = {}

    def phase(self, name, tasks, done):
        self.phases[name] = (tasks, done)

    def advance(self):
        pass


def prose(seed, sentences=12):
    drawn = random.Random(seed)
    words = [
        "".join(drawn.choices("abcdefghijklmnop", k=drawn.randint(2, 9))) for _ in range(400)
    ] + ["the", "of", "and", "to", "with", "that"] * 30
    return " ".join(
        " ".join(drawn.choices(words, k=drawn.randint(8, 14))).capitalize() + "."
        for _ in range(sentences)
    )


def rows():
    """(id, text) of the crawl, and of each document what it is there for."""
    plain = [(f"plain {n}", prose(n)) for n in range(24)]
    near = [(f"near {n}", prose(n) + " One more.") for n in range(3)]
    return [
        *plain,
        *near,
        *((f"copy {n}", prose(n)) for n in range(3, 6)),
        ("copy of book", prose(1000, 40)),
        *((f"short {n}", f"Too short {n}.") for n in range(3)),
        ("leak", f"{prose(77)} {QUESTION} {prose(78)}"),
        ("empty", "   "),
    ]


@pytest.fixture
def crawl(tmp_path):
    folder = tmp_path / "crawl"
    folder.mkdir()
    all_rows = rows()
    for part in range(3):
        lines = [json.dumps({"id": id, "text": text}) for id, text in all_rows[part::3]]
        if part == 1:
            lines[2:2] = ["{broken", json.dumps({"id": "x"})]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "books").mkdir()
    for book in range(4):
        (tmp_path / "books" / f"{book}.txt").write_text(prose(1000 + book, 40))
    (tmp_path / "questions.jsonl").write_text(json.dumps({"q": QUESTION}) + "\n")
    return tmp_path


@pytest.fixture
def configured(crawl):
    """Returns a function from changed fields to the resolved configuration."""

    def make(part_megabytes=64.0, **changes):
        config = PrepareConfig(
            tokenizer="python_docs_1024",
            sources={
                "books": SourceConfig("text", str(crawl / "books"), heuristics=False, weight=0.75),
                "crawl": SourceConfig(
                    "jsonl",
                    str(crawl / "crawl"),
                    options={"id_field": "id"},
                    licence="CC0",
                    priority=1,
                    weight=0.25,
                ),
            },
            normalise=False,
            heuristics={"gopher_quality": {"least_words": 20, "words": "english"}},
            deduplication=DeduplicationConfig(),
            decontamination=DecontaminationConfig(sets=(f"jsonl:{crawl}/questions.jsonl#q",)),
            mixture=MixtureConfig(tokens=10_000, context_length=32),
            shards=ShardsConfig(megabytes=0.01, validation_fraction=0.2),
            execution=ExecutionConfig(part_megabytes=part_megabytes),
        )
        return resolve(dataclasses.replace(config, **changes))

    return make


@pytest.fixture
def prepared(configured, tmp_path):
    """Returns a function that prepares in this process: (folder, report, phases)."""

    def make(name="out", executor=None, **changes):
        bar = Silent()
        report = prepare(configured(**changes), tmp_path / name, executor or InProcess(), bar)
        return tmp_path / name, report, bar.phases

    return make
