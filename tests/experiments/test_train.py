"""The binary that trains; every kind of run is tested in tests/runs, tests/tasks."""

from gptjax.runs.workdir import WorkDirectory
from gptjax.training.reporting import curves
from gptjax.training.reporting.metrics import read_metrics
from tests.support.alignment_runs import rows
from tests.support.binaries import call

MINE = """
from gptjax.runs import WorkDirectory

def tiny():
    '''Mine.'''
    return WorkDirectory({path!r}).config()
"""

TRACKER = "python:tests.training.test_trackers:CSV"


def test_an_experiment_is_trained_to_its_result_and_the_same_command_finds_it_there(
    trained, tmp_path, monkeypatch
):
    """It is the run that the library makes of the same configuration, to the last bit.

    The experiment is a function of a file in a folder of the user's, with samples of its text, and
    a tracker of one's own, which the library's has not.
    """
    monkeypatch.setenv("GPTJAX_CACHE", str(trained.cache))
    monkeypatch.setattr(curves, "REDRAW_SECONDS", 0.0)
    drawn = []
    monkeypatch.setattr(
        curves, "plot_curves", lambda rows, *_: drawn.append(len(read_metrics(rows)))
    )
    whole, path = trained("sft"), tmp_path / "run"
    (tmp_path / "mine_to_train.py").write_text(MINE.format(path=str(whole.path)))
    monkeypatch.syspath_prepend(tmp_path)
    experiment = "--experiment=python:mine_to_train:tiny"
    flags = (f"--workdir={path}", f"--tracker={TRACKER}", "--config.training.sample_tokens=5")
    command = ("train", experiment, *flags)
    done = call(*command)
    samples = read_metrics(path / "samples.jsonl")
    with (path / "samples.jsonl").open("a") as file:
        file.write('{"step": 9}\n\n{"st\n')  # of a checkpoint that was lost, and a damaged line
    before = (path / "result.json").read_bytes()
    again = call(*command)
    refused = call(*command, "--restore_step=3").refusal
    shown = call("list", experiment).output
    assert shown.startswith("Mine.") and "model.d_model                   16" in shown
    assert (done.code, done.output.splitlines()[-1]) == (
        0,
        f"step 8: {path}/result.json, loss.png and checkpoints are written",
    )
    assert rows(WorkDirectory(str(path))) == rows(whole)
    parameters = f"{whole.result()['parameters']:,}"
    shown = [f"parameters  {parameters}, ", "attention   dense: reference", "compiling took "]
    shown += ["samples     5 tokens at each evaluation", f"writes to   {path}", "tokenising took "]
    lines = done.output.splitlines()
    assert all(sum(line.startswith(one) for line in lines) == 1 for one in shown)
    assert [row["step"] for row in samples] == [4, 8]
    assert all(f"step {row['step']} sample: {row['prompt']!r} goes on" in lines for row in samples)
    assert len(samples[0]["text"]) and read_metrics(path / "samples.jsonl") == samples
    told = (path / "mine.csv").read_text()
    assert f"8,train/loss,{rows(whole)[-2]['loss']}\n" in told and "8,validation/loss," in told
    assert not (path / "tensorboard").exists()
    assert drawn[:3] == [5, 10, 10]  # after each evaluation, and at the end
    assert again.code == 0 and (path / "result.json").read_bytes() == before
    assert f"no checkpoint of step 3 in {path}/checkpoints; expected one of: 4, 8" in refused


def test_a_function_that_makes_no_experiment_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "mine_that_fails.py").write_text(
        "def number(): return 3\ndef fails(): return 1 / 0\ndef asks(x): return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    wrong = {
        "mine_that_fails": "got 'mine_that_fails', expected python:MODULE:FUNCTION",
        "no_such:tiny": "got ModuleNotFoundError: No module named 'no_such', expected a module",
        "mine_that_fails:none": "got 'none', which is no function of mine_that_fails, expected",
        "mine_that_fails:number": "got a function that returns int, expected one of () -> Exp",
        "mine_that_fails:fails": "got ZeroDivisionError: division by zero, expected a function",
        "mine_that_fails:asks": "got TypeError: asks() missing 1 required positional argument",
    }
    for name, expected in wrong.items():
        for binary in ("train", "list", "compare"):
            refused = call(binary, f"--experiment=python:{name}").refusal
            assert refused.startswith(f"experiment 'python:{name}': {expected}")


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
        "": "--experiment: got none, expected one of: bert_base, ",
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
