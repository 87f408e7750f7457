"""The binary experiments.prepare_data, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gptjax.locks import DirectoryLock
from tests.support.binaries import call

MINIMAL = """
tokenizer: bytes
normalise: false
sources:
  notes: {{reader: text, location: {0}, heuristics: false}}
deduplication: {{scheme: null}}
shards: {{validation_fraction: 0.5}}
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(8):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"text {number} " * 20)
    path = tmp_path / "notes.yaml"
    path.write_text(MINIMAL.format(tmp_path / "texts"))
    return path


def prepare(config, output, *more):
    return call("prepare_data", f"--config={config}", f"--output={output}", "--processes=0", *more)


def test_a_folder_is_prepared_and_reported(config, tmp_path):
    output = tmp_path / "out"
    ended = prepare(config, output)
    assert (ended.code, ended.errors) == (0, "")
    assert "| notes  |    8 |" in ended.output
    report = json.loads((output / "report.json").read_text())
    assert report["sources"]["notes"]["kept"] == 8
    page = (output / "report.html").read_text()
    assert page.count("data:image/png") == 2 and "Dropped" not in page
    shown = call("inspect_data", f"--data={output}", "--check", "--ids=3.txt", "--rows=1")
    assert shown.code == 0 and "text 3 text 3" in shown.output
    assert "Inspection of out" in (output / "inspection.html").read_text()
    unknown = call("inspect_data", f"--data={output}", "--ids=33.txt").refusal
    assert unknown.startswith("--ids: got '33.txt', which no document") and ".txt" in unknown


def test_show_prints_every_field(config):
    shown = call("prepare_data", f"--config={config}", "--show")
    assert "packing: concatenate" in shown.output and "part_megabytes: 64.0" in shown.output
    smoke = call("prepare_data", "--experiment=prepare_smoke", "--show")
    assert "planted_noise:copies" in smoke.output


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("tokenizer:", "tokeniser:"), "unknown field 'tokeniser' (did you mean 'tokenizer'?)"),
        (("reader: text", "reader: txt"), "unknown reader of sources.notes: 'txt' (did you mean"),
        (("texts,", "nothing,"), "no files at"),
        (("tokenizer: bytes", "tokenizer: byte"), "unknown tokenizer 'byte' (did you mean"),
        (("scheme: null", "scheme: gpt4"), "unknown MinHash scheme 'gpt4' (did you mean 'gpt3'?)"),
        (
            ("scheme: null", "scheme: gpt3, options: {bnds: 2}"),
            "(did you mean 'deduplication.options.bands'?)",
        ),
        (("scheme: null", "options: {bands: 0}"), "deduplication.options.bands: got 0, expected"),
        (
            ("shards:", "heuristics: {c5: {}}\nshards:"),
            "unknown rule set 'c5' (did you mean",
        ),
        (
            ("shards:", "heuristics: {gopher_quality: {least_word: 5}}\nshards:"),
            "(did you mean 'heuristics.gopher_quality.least_words'?)",
        ),
        (
            ("shards:", "heuristics: {gopher_quality: {least_words: -5}}\nshards:"),
            "least_words: got -5, expected int or none >= 0",
        ),
        (("heuristics: false", "quality: true"), "sources.notes.quality: got true without"),
        (("notes:", "Notes:"), "sources: got the name 'Notes', expected small letters"),
        (("heuristics: false", "options: {field: a}"), "unknown option 'sources.notes.options.fie"),
        (("shards:", "decontamination: {sets: ['arc:none']}\nshards:"), "no files at 'none'"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line(config, tmp_path, change, expected):
    config.write_text(config.read_text().replace(*change))
    assert expected in prepare(config, tmp_path / "out").refusal


def test_what_is_wrong_on_the_command_line_is_one_line(config, tmp_path):
    assert "--output: got none" in call("prepare_data", f"--config={config}").refusal
    assert "got neither, expected one of them" in call("prepare_data", "--output=x").refusal
    both = call("prepare_data", f"--config={config}", "--experiment=prepare_smoke").refusal
    assert "got both" in both
    near = call("prepare_data", "--experiment=prepare_smok", "--output=x").refusal
    assert "did you mean 'prepare_smoke'?" in near
    assert "did you mean --processes?" in prepare(config, "x", "--proceses=1").refusal


@pytest.mark.slow
def test_the_second_of_two_runs_in_one_folder_is_refused(config, tmp_path):
    lock = DirectoryLock(tmp_path / "out")
    lock.take("process 1 on there, x")
    # A process may take a lock of its own twice: the second run is another process.
    command = [sys.executable, "-m", "experiments.prepare_data", f"--config={config}"]
    done = subprocess.run(
        [*command, f"--output={tmp_path / 'out'}"], capture_output=True, text=True, check=False
    )
    lock.release()
    assert done.returncode == 2
    assert "out is in use by process 1 on there; expected a directory that no other" in done.stderr


@pytest.mark.slow
def test_the_smoke_preparation_finds_what_was_planted(tmp_path):
    output = tmp_path / "smoke"
    command = [sys.executable, "-m", "experiments.prepare_data", "--experiment=prepare_smoke"]
    done = subprocess.run(
        [*command, f"--output={output}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sources = json.loads((output / "report.json").read_text())["sources"]
    logs = [
        json.loads(line)
        for path in Path(output / "dropped").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    copies = [row for row in logs if row["id"].startswith("copy of")]
    assert len(copies) == 19
    assert {row["reason"] for row in copies} == {"deduplication.equal_document"}
    assert sources["junk"]["kept"] <= 2
    assert sources["docs"]["kept"] == sources["docs"]["read"]
