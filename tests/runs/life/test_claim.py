import dataclasses
import re

import pytest

from gptjax.config import ExperimentConfig
from gptjax.locks import open_locked
from gptjax.runs.life import claim
from gptjax.runs.life.claim import claimed
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import load_tokenizer
from tests.support.alignment_runs import make_config, refusal, run
from tests.support.binaries import call

IN_USE = r"is in use by process \d+ on .+; expected a directory that no other run is writing to"


def _contents(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_second_start_in_one_directory_changes_nothing_there(tmp_path, trained, monkeypatch):
    """It comes before the first has logged a row, and is of another configuration."""
    monkeypatch.setenv("GPTJAX_CACHE", str(trained.cache))
    path, said = tmp_path / "run", []
    config = make_config(ExperimentConfig, training__num_steps=1)
    other = make_config(ExperimentConfig, training__num_steps=1, training__seed=5)

    def overlapping(task):
        def batches(*given):
            before = _contents(path)
            said.append(refusal(run, path, other))
            assert _contents(path) == before
            return task.batches(*given)

        return dataclasses.replace(task, batches=batches)

    workdir = run(path, config, change=overlapping)
    assert re.search(IN_USE, said[0])
    assert workdir.config() == config and workdir.has_result()


def test_a_start_that_is_refused_leaves_nothing(tmp_path):
    def fails():
        raise ValueError("no source")

    for made in (tmp_path / "new", tmp_path):
        with pytest.raises(ValueError, match="no source"):
            WorkDirectory(str(made)).begin("tiny", make_config(ExperimentConfig), {}, fails)
    assert tmp_path.is_dir() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("binary", "flags"),
    [
        ("train", ["--experiment=demo", "--workdir={}"]),
        ("instruct", ["--experiment=instruct_smoke", "--workdir={}"]),
        ("attention_report", ["--lengths=16", "--output={}"]),
        ("train_tokenizer", ["--corpus=python_docs", "--vocab_size=300", "--output={}"]),
    ],
)
def test_whatever_writes_a_directory_claims_it_first(tmp_path, binary, flags):
    with claimed(tmp_path, "--directory"):
        refused = call(binary, *(flag.format(tmp_path) for flag in flags)).refusal
        assert re.fullmatch(rf"--\w+: {tmp_path} {IN_USE}", refused)
        assert [file.name for file in tmp_path.iterdir()] == ["lock"]


@pytest.mark.slow
def test_studies_of_runs_claim_their_directory_first(tmp_path, trained, monkeypatch):
    monkeypatch.setenv("GPTJAX_CACHE", str(trained.cache))
    source = f"--workdir={trained('pretrain').path}"
    judge = (source, "--attention=banded(window=2)", f"--output={tmp_path}")
    with claimed(tmp_path, "--directory"):
        for more in ([], ["--continue_steps=4"]):
            assert re.search(IN_USE, call("sparsify", *judge, *more).refusal)
        assert [file.name for file in tmp_path.iterdir()] == ["lock"]


def test_what_a_killed_process_left_claims_nothing(tmp_path):
    (tmp_path / "lock").write_text("process 1 on another, 3")
    workdir = WorkDirectory(str(tmp_path))
    workdir.begin("tiny", make_config(ExperimentConfig), {})
    workdir.keep_tokenizer(load_tokenizer("bytes"))
    assert not (tmp_path / "lock").exists()


def test_a_lock_on_a_file_that_was_renamed_meanwhile_is_none(tmp_path, monkeypatch):
    path = tmp_path / "file"
    monkeypatch.setattr("os.path.samestat", lambda *_: False)
    with pytest.raises(BlockingIOError):
        open_locked(path)


def test_a_process_that_sees_another_directory_says_so_and_leaves_nothing(tmp_path):
    there = tmp_path / "there"
    with claimed(there, "--workdir"):
        note = (there / "lock").read_text()
        claim._check_shared(there / "lock", "--workdir", note)
        elsewhere = tmp_path / "elsewhere"
        with pytest.raises(ValueError, match="elsewhere of process 0 is not the directory of proc"):
            claim._check_shared(elsewhere / "lock", "--workdir", note)
        assert not elsewhere.exists() and (there / "lock").read_text() == note
