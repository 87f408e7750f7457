"""The binary that trains; every kind of run is tested in tests/runs, tests/tasks."""

from gptjax.runs.workdir import WorkDirectory
from tests.support.alignment_runs import rows
from tests.support.binaries import call, registered


def test_an_experiment_is_trained_to_its_result_and_the_same_command_finds_it_there(
    trained, tmp_path, monkeypatch
):
    """It is the run that the library makes of the same configuration, to the last bit."""
    monkeypatch.setenv("GPTJAX_CACHE", str(trained.cache))
    whole, path = trained("sft"), tmp_path / "run"
    with registered(tiny=lambda: trained.config("sft")):
        command = ("train", "--experiment=tiny", f"--workdir={path}")
        done = call(*command)
        before = (path / "result.json").read_bytes()
        again = call(*command)
        refused = call(*command, "--restore_step=3").refusal
    assert (done.code, done.output.splitlines()[-1]) == (
        0,
        f"step 8: {path}/result.json, loss.png and checkpoints are written",
    )
    assert rows(WorkDirectory(str(path))) == rows(whole)
    assert again.code == 0 and (path / "result.json").read_bytes() == before
    assert f"no checkpoint of step 3 in {path}/checkpoints; expected one of: 4, 8" in refused


def test_rows_are_shown_without_training_on_them(tmp_path):
    small = ("--experiment=sft_smoke", "--config.sft.conversations=instructions:count=100")
    shown = call("train", f"--workdir={tmp_path / 'run'}", *small, "--show_examples=2")
    assert shown.code == 0
    heads = [line for line in shown.output.splitlines() if line.startswith("row ")]
    assert heads[0].startswith("row 0, part 0")
    assert {line.split(",")[0] for line in heads} == {"row 0", "row 1"}
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_trained_is_one_line(tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "Hi", "response": "Hello."}\n{"prompt": "Hi"}\n')
    wrong = {
        "": "--experiment: got none, expected one of: demo, ",
        "--experiment=demo --show_examples=1": "--show_examples: got 1 for a run of kind",
        "--experiment=sft_6b": "config.data.tokenizer: got none, expected ",
        f"--experiment=sft_smoke --config.sft.conversations=jsonl:{bad}": (
            f"{bad}:2: row: got fields prompt, expected 'prompt' and 'response'"
        ),
        "--experiment=sft_smoke --config.sft.random_start=False": (
            "config.checkpoint.init_from: got none for a new run of kind sft"
        ),
        "--experiment=sft_smoke --config.sft.epoch=3": "unknown config field 'sft.epoch'",
        "--experiment=sft_smoke --config.training.num_steps=1000": (
            "--config.training.num_steps: got 1000 with epochs, which decide the steps, exp"
        ),
        "--experiment=demo --coordinator=127.0.0.1:1": "--coordinator: got 127.0.0.1:1 with --num",
    }
    for line, expected in wrong.items():
        refused = call("train", f"--workdir={tmp_path / 'run'}", *line.split()).refusal
        assert refused.startswith(expected), line
