"""Evals from the command line: tables, files, a page, and what is refused."""

import json
import shutil
import sqlite3

import pytest

from gptjax.evals.answer_store import AnswerStore
from gptjax.evals.registry import TASKS
from gptjax.runs.workdir import WorkDirectory
from tests.support.binaries import call

QUESTION = {"query": "Question: which?", "choices": ["this", "that <b>"], "gold": 1}
WRONG = {
    "--tasks=arithmetic": "--workdir: got none, expected work directories, commas between",
    "--workdir={run}": "--tasks: got none, expected tasks, commas between",
    "--workdir={run} --tasks=arithmetc": "unknown task 'arithmetc' (did you mean 'arithmetic'?)",
    "--workdir={run} --tasks=arithmetic --shots=x": "--shots: got 'x', expected 0 or more, or fit",
    "--workdir={run}@7 --tasks=arithmetic": "--restore_step: got 7, expected one of",
    "--workdir={folder} --tasks=arithmetic": "--workdir: no run in {folder}",
    "--workdir={run} --tasks=arithmetic(count=5) --shots=40": (
        "shots: got 40 for arithmetic(count=5), whose training split has 5 examples, expected 4"
    ),
    "--workdir={run} --tasks=arithmetic(count=30) --shots=20": (
        "of 30 items exceed the context of 48 tokens, expected 0 at most"
    ),
    "--workdir={run} --tasks=arc_easy --data={folder}": (
        "arc_easy: got no file {folder}/arc/arc_easy.jsonl, expected ARC-Easy as JSON lines"
    ),
    "--workdir={run} --tasks=arithmetic,arithmetic": "--tasks: got arithmetic twice, expected it",
    "--workdir={run} --tasks=arithmetic --contaminated={other}": (
        "--contaminated: got ids of arithmetic such as 'x:1' in {other}, expected some of its items"
    ),
    "--workdir={reward_model} --tasks=arithmetic": "holds a reward model, expected a run of a lang",
    "--workdir={run} --tasks=arithmetic --contaminated={dirty}": (
        "--contaminated: got the sets lambada in {dirty}, expected one at least of the tasks arith"
    ),
}


@pytest.fixture(scope="module")
def places(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evals")
    run = folder / "run"
    shutil.copytree(trained("sft").path, run)
    (folder / "arc.jsonl").write_text("".join(json.dumps(QUESTION) + "\n" for _ in range(3)))
    dirty = folder / "dirty.jsonl"
    dirty.write_text(json.dumps({"set": "lambada", "id": "x:1"}))
    other = folder / "other.jsonl"
    other.write_text(json.dumps({"set": "arithmetic", "id": "x:1"}))
    reward_model = trained("reward_model").path
    return {
        "folder": folder,
        "run": run,
        "dirty": dirty,
        "other": other,
        "reward_model": reward_model,
    }


def test_a_model_beside_itself_in_files_and_on_a_page(places, capsys):
    folder, run = places["folder"], places["run"]
    arc = f"arc_easy(path={folder}/arc.jsonl)"
    arguments = [
        f"--workdir={run},{places['run']}@{step_of(run)}",
        f"--tasks=arithmetic(count=4),{arc}",
        "--batch_size=4",
    ]
    ended = call("evals", *arguments)
    assert ended.code == 0, ended
    written = json.loads((run / "evals" / "evals.json").read_text())
    assert [row["items"] for row in written["evals"]] == [4, 3, 4, 3] and written["versions"]
    figures = written["evals"][1]["figures"]
    assert next(iter(figures)) == "accuracy" and figures["accuracy"]["interval"] == "wilson"
    assert {row["value"] for row in written["differences"]} == {0.0}
    rows = (run / "evals" / "examples.jsonl").read_text().splitlines()
    assert len(rows) == 14 and json.loads(rows[4])["expected"] == "that <b>"
    page = (run / "evals" / "evals.html").read_text()
    assert "that &lt;b&gt;" in page and "<b>" not in page and page.count("<img") == 1
    assert "Zero-shot. The choice of the highest log-probability less that of" in page
    assert f"examples and pictures: {run / 'evals' / 'evals.html'}" in ended.output
    with sqlite3.connect(run / "evals" / "answers.sqlite") as file:
        kept = file.execute("SELECT count(*) FROM answers").fetchone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AnswerStore, "ask", asks_nothing(AnswerStore.ask))
        assert call("evals", *arguments, f"--output={folder}/other").code == 0
    again = json.loads((folder / "other" / "evals.json").read_text())
    assert again["evals"] == written["evals"] and kept == (4 + 2 + 2,)


def step_of(run):
    return WorkDirectory(str(run)).resolve_step(None)


def asks_nothing(ask):
    def checked(store, model, requests, progress):
        def refuse(requests):
            raise AssertionError(requests)

        model.answers = refuse
        return ask(store, model, requests, progress)

    return checked


@pytest.mark.parametrize("arguments", WRONG)
def test_what_is_wrong_is_said_in_one_line(arguments, places):
    ended = call("evals", *arguments.format(**places).split())
    assert WRONG[arguments].format(**places) in ended.refusal


def test_the_list_has_every_task_with_its_options():
    output = call("evals", "--list").output
    assert (
        "lambada: LAMBADA, the last word" in output and "options: stop_words, path, train" in output
    )
    assert "gpt3_arithmetic: gpt3_two_digit_addition" in output
    assert all(f"{name}: " in output for name in TASKS)


@pytest.mark.slow
def test_pictures_are_asked_about_behind_shots_with_pictures(trained, places, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained("image_text").path, run)
    task = "image_choices(documents=shapes:count=40,fraction=0.2)"
    ended = call("evals", f"--workdir={run}", f"--tasks={task}", "--shots=0,1")
    rows = json.loads((run / "evals" / "evals.json").read_text())["evals"]
    assert ended.code == 0 and [row["shots"] for row in rows] == [0, 1]
    examples = map(json.loads, (run / "evals" / "examples.jsonl").read_text().splitlines())
    shown = [each["prompt"].count("<image>") for each in examples]
    assert shown == [1] * rows[0]["items"] + [2] * rows[0]["items"]
    many = call("evals", f"--workdir={run}", f"--tasks={task}", "--shots=7").refusal
    assert many.startswith(f"shots: got 7 for {task}, with which") and many[-9:] == "1 at most"
    text = call("evals", f"--workdir={places['run']}", f"--tasks={task}").refusal
    assert (
        text
        == f"{task}: pictures: got a request with some, expected text: the model reads text alone"
    )
