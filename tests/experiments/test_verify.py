"""The verify binary; test_kinds has that every kind of run is replayed to the same bits."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gptjax.runs import replay
from gptjax.runs.inputs import load_model_tokenizer, prepare_corpus, training_batches
from gptjax.runs.replay import learner_in
from gptjax.runs.train import train
from gptjax.runs.workdir import InitialCheckpoint, WorkDirectory
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.configs.reward_modelling import RewardModelConfig
from tests.support import alignment_runs
from tests.support.binaries import call

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def whole(programs_once, tmp_path_factory, make_config):
    """A run of 8 steps with rows at 2, 4, 6 and 8, evaluated at 4 and 8, kept at 6 and 8."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    train("tiny", make_config(), WorkDirectory(str(path)))
    return path


@pytest.fixture
def changed(whole, tmp_path):
    """A copy of the run whose rows of step 6 say the next float32 for a loss."""
    path = Path(shutil.copytree(whole, tmp_path / "copy"))
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if row["step"] == 6:
            row["loss"] = float(np.nextafter(np.float32(row["loss"]), np.float32(np.inf)))
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _verify(path, *given):
    """What the binary prints, line by line, and its exit code."""
    done = call("verify", f"--workdir={path}", *given)
    assert done.errors == ""
    return done.output.splitlines(), done.code


def test_a_run_comes_out_the_same_to_the_last_bit(whole):
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    lines, code = _verify(whole)
    told = [" ".join(line.split()[:2]) for line in lines[1:-1]]
    assert told == ["2 train", "4 train", "4 validation", "6 train", "8 train", "8 validation"]
    assert (lines[-1], code) == ("steps 0 to 8: 6 of 6 rows agree", 0)
    lines, code = _verify(whole, "--from_step=8", "--to_step=8")
    assert lines[1].split()[:2] == ["8", "validation"]
    assert (lines[-1], code) == ("steps 8 to 8: 1 of 1 rows agree", 0)
    assert before == {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}


def test_one_bit_of_one_row_is_told_and_tolerated_on_request(changed):
    lines, code = _verify(changed)
    assert [line.split()[0] for line in lines if line.endswith("differs")] == ["6"]
    assert (lines[-1], code) == ("steps 0 to 8: 5 of 6 rows agree", 1)
    lines, code = _verify(changed, "--relative_tolerance=1e-5")
    assert (lines[-1], code) == ("steps 0 to 8: 6 of 6 rows agree", 0)
    _, code = _verify(changed, "--from_step=6")  # the row of its own step is not replayed
    assert code == 0


def test_a_run_of_more_devices_than_there_are_is_replayed_on_one(whole, tmp_path):
    path = Path(shutil.copytree(whole, tmp_path / "copy"))
    said = json.loads((path / "config.json").read_text())
    said["config"]["parallelism"] |= {"strategy": "mesh", "data": 16}
    (path / "config.json").write_text(json.dumps(said))
    assert "product is 8, the devices" in call("verify", f"--workdir={path}").refusal
    lines, code = _verify(path, "--single", "--from_step=6")
    assert (lines[-1], code) == ("steps 6 to 8: 2 of 2 rows agree", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (SFTConfig, {"sft__epochs": 1, "sft__pretraining_share": 0.25}),
        (RewardModelConfig, {"reward__epochs": 1, "reward__share_prompts": True}),
    ],
)
def test_what_comes_after_pretraining_is_replayed_too(tmp_path, kind, changes):
    """Every row, those of all that is judged among them, and a changed one is told."""
    workdir = alignment_runs.run(tmp_path / "run", alignment_runs.make_config(kind, **changes))
    rows = alignment_runs.rows(workdir)
    lines, code = _verify(workdir.path)
    told = [tuple(line.split()[:2]) for line in lines[1:-1]]
    assert sorted(told) == sorted((str(row["step"]), row.get("split", "train")) for row in rows)
    last = rows[-1]["step"]
    assert (code, lines[-1]) == (0, f"steps 0 to {last}: {len(rows)} of {len(rows)} rows agree")
    assert _verify(workdir.path, "--from_step=4")[1] == 0
    (workdir.path / "metrics.jsonl").write_text(
        "".join(json.dumps(row | {"loss": row["loss"] * 1.01}) + "\n" for row in rows)
    )
    lines, code = _verify(workdir.path, f"--from_step={last}")
    assert code == 1 and all(line.endswith("differs") for line in lines[1:-1])


def test_sets_that_have_changed_are_refused(tmp_path):
    chats = tmp_path / "chats.jsonl"
    row = {"prompt": "copy: fox jar", "response": "fox jar"}
    chats.write_text(json.dumps(row) + "\n")
    config = alignment_runs.make_config(
        SFTConfig, sft__conversations=f"jsonl:{chats}", training__num_steps=1
    )
    prepared = alignment_runs.prepared(config)
    workdir = WorkDirectory(str(tmp_path / "run"))
    workdir.begin("tiny", prepared.config, prepared.hashes, InitialCheckpoint)
    workdir.keep_tokenizer(prepared.tokenizer)
    learner_in(workdir, workdir.config())
    chats.write_text(json.dumps(row | {"response": "fox"}) + "\n")
    with pytest.raises(ValueError, match=r"conversations_hash: got \w{12} as it is now, expected"):
        learner_in(workdir, workdir.config())


def test_a_loss_that_is_not_finite_agrees_with_null():
    assert replay.Comparison(3, "train", None, None).difference == 0.0
    assert replay.Comparison(3, "train", None, 1.0).difference == np.inf
    assert replay.Comparison(3, "train", 2.0, 1.0).difference == 0.5


def test_what_cannot_be_replayed_is_one_line(whole, trained):
    for line, message in {
        "--from_step=3": f"no checkpoint of step 3 in {whole}/checkpoints; expected one of: 6, 8",
        "--documents_of_step=9": "--documents_of_step: got 9, expected at most 8, the run's la",
        "--from_step=6 --to_step=7": "--to_step: got 7 from step 6, expected rows between",
        f"--workdir={trained('sft').path} --documents_of_step=1": (
            "--documents_of_step: got 1 of a run of kind sft"
        ),
    }.items():
        refused = call("verify", f"--workdir={whole}", *line.split()).refusal
        assert refused.startswith(message), line


def test_another_text_under_the_same_name_is_refused(whole, folder):
    document = folder / "00.txt"
    text = document.read_text()
    document.write_text(text + " again")
    try:
        refused = call("verify", f"--workdir={whole}").refusal
    finally:
        document.write_text(text)
    assert refused.startswith(f"{whole}: corpus_hash: got ")
    assert " as it is now, expected " in refused


def test_the_documents_of_a_step_hold_its_tokens(whole, make_config):
    lines, code = _verify(whole, "--documents_of_step=3")
    assert code == 0
    tokenizer = load_model_tokenizer(make_config())
    prepared = prepare_corpus(make_config(), tokenizer)
    batch = next(training_batches(make_config(), prepared.train, 2))
    assert sorted({int(line.split()[0]) for line in lines[1:]}) == [0, 1, 2, 3]
    for row, tokens in enumerate(batch["tokens"]):
        held = []
        for line in lines[1:]:
            at, _, first, _, last, name = line.split()
            if int(at) == row:
                text = Path(name.partition("@")[0]).read_text()
                document = [tokenizer.end_of_text, *tokenizer.encode_batch([text])[0].tolist()]
                held += [*document, tokenizer.end_of_text][int(first) : int(last) + 1]
        assert held == tokens.tolist()
