"""A whole eval: its log, its report, and what it is after it was stopped."""

import collections
import json
import random
import shutil
from pathlib import Path

import pytest
from absl import logging

from gptjax.evals.openai_evals import run as running
from gptjax.evals.openai_evals import samples
from gptjax.evals.openai_evals.completion import Answer, Failure, PythonFunction
from gptjax.evals.openai_evals.functions import Functions
from gptjax.evals.openai_evals.log import rows_of
from gptjax.evals.openai_evals.registry import Registry
from gptjax.evals.openai_evals.run import Settings, opened
from tests.support import openai_registry
from tests.support.openai_registry import answer

ANSWER = "python:tests.support.openai_registry:answer"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return openai_registry.write(tmp_path_factory.mktemp("openai"))


def run(root: Path, name: str, path: Path | None, functions=None, names=(ANSWER,), **settings):
    registry = Registry([root])
    settings = Settings(datasets=openai_registry.datasets(root), **settings)
    functions = functions or Functions(registry, settings.options)
    with opened(registry.eval(name), names, functions, registry, settings, path) as one:
        report = one()
    one.refuse_failures()
    return report


class Stopped(Exception):
    pass


class Counted:
    """Answers as `answer` does, and counts; after so many answers it stops or fails."""

    identity = "counted"

    def __init__(self, stop_after=None, fails=()):
        self.asked, self._stop_after, self._fails = [], stop_after, fails

    def __call__(self, name):
        return self

    def answers(self, calls):
        for number in random.Random(len(calls)).sample(range(len(calls)), len(calls)):
            if self._stop_after is not None and len(self.asked) >= self._stop_after:
                raise Stopped
            call = calls[number]
            self.asked.append(call)
            if any(mark in str(call.prompt) for mark in self._fails):
                yield number, Failure("HTTPError", "HTTP 500: busy")
            else:
                yield number, Answer(answer(call.prompt, **call.arguments), {"model": "m"})


def without_times(path: Path) -> list:
    """The rows of a log, less what another run has otherwise."""
    rows = rows_of(path)
    for row in rows:
        for name in ("created_at", "run_id", "event_id"):
            row.pop(name, None)
            row.get("spec", {}).pop(name, None)
    return rows


def test_the_report_is_that_of_a_loop(root):
    report = run(root, "match", None)
    lines = (root / "data" / "words" / "samples.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    right = 0
    for row in rows:
        ideals = row["ideal"] if isinstance(row["ideal"], list) else [row["ideal"]]
        text = answer(row["input"], temperature=0.0)
        right += any(text[: len(ideal)] == ideal for ideal in ideals)
    assert 0 < right < len(rows)
    assert report["accuracy"] == right / len(rows)
    assert [*report] == ["accuracy", "boostrap_std"] and report["boostrap_std"] > 0


def test_the_log_has_the_events_of_the_format(root, tmp_path):
    path = tmp_path / "logs" / "one.jsonl"
    report = run(root, "match", path, max_samples=3, user="me", extra={"num_few_shot": 0})
    spec, *events, last = rows_of(path)
    assert [*spec["spec"]] == [
        *("completion_fns", "eval_name", "base_eval", "split", "run_config"),
        *("created_by", "run_id", "created_at"),
    ]
    assert spec["spec"]["eval_name"] == "match.dev.v0"
    assert (spec["spec"]["base_eval"], spec["spec"]["split"]) == ("match", "dev")
    config = spec["spec"]["run_config"]
    assert config["max_samples"] == 3 and config["seed"] == samples.SEED
    assert config["eval_spec"]["args"]["num_few_shot"] == 0
    run_id = spec["spec"]["run_id"]
    assert len(run_id) == 20 and run_id[:12].isdigit()
    assert last == {"final_report": report, "run_id": run_id}
    order = samples.order(32, 3)
    assert [row["sample_id"] for row in events[::2]] == [f"match.dev.{i}" for i in order]
    assert [row["type"] for row in events] == ["sampling", "match"] * 3
    assert [row["event_id"] for row in events] == [*range(6)]
    for row in events:
        assert [*row] == [
            *("run_id", "event_id", "sample_id", "type", "data", "created_by", "created_at")
        ]
        assert (row["created_by"], row["run_id"]) == ("me", run_id)
    assert [*events[0]["data"]] == ["prompt", "sampled"]
    assert events[0]["data"]["sampled"] == [events[1]["data"]["sampled"]]
    assert not Path(f"{path}.lock").exists()


@pytest.mark.parametrize("name", ["match", "fuzzy.dev.v0", "graded-best.dev.v0"])
def test_an_eval_that_was_stopped_goes_on_to_the_same_report(root, tmp_path, monkeypatch, name):
    monkeypatch.setattr(running, "_AT_ONCE", 4)
    whole, path = Counted(), tmp_path / "one.jsonl"
    report = run(root, name, tmp_path / "whole.jsonl", whole)
    most = len(whole.asked)
    first = Counted(stop_after=most // 2)
    with pytest.raises(Stopped):
        run(root, name, path, first)
    with path.open("a") as file:
        file.write('{"run_id": "cut off')
    second = Counted()
    assert run(root, name, path, second) == report
    assert most <= len(first.asked) + len(second.asked) < most + 16 and len(second.asked) < most
    assert collections.Counter(map(str, without_times(path))) == collections.Counter(
        map(str, without_times(tmp_path / "whole.jsonl"))
    )
    assert [row["event_id"] for row in rows_of(path)[1:-1]] == [*range(len(rows_of(path)) - 2)]
    third = Counted()
    assert run(root, name, path, third) == report and third.asked == []


def test_a_sample_whose_last_event_is_missing_is_asked_again(root, tmp_path):
    path = tmp_path / "one.jsonl"
    report = run(root, "fuzzy.dev.v0", path)
    lines = path.read_text().splitlines(keepends=True)
    assert json.loads(lines[-2])["type"] == "metrics"
    path.write_text("".join(lines[:-2]))
    counted = Functions(Registry([root]), {})
    asked = []
    one = PythonFunction(ANSWER, lambda prompt, **given: asked.append(1) or answer(prompt, **given))
    assert run(root, "fuzzy.dev.v0", path, lambda name: one) == report and len(asked) == 1
    assert counted(ANSWER).identity == ANSWER


def test_more_samples_go_on_with_a_log_of_few(root, tmp_path):
    path, first, second = tmp_path / "one.jsonl", Counted(), Counted()
    run(root, "match", path, first, max_samples=5)
    assert run(root, "match", path, second) == run(root, "match", None, Counted())
    assert (len(first.asked), len(second.asked)) == (5, 27)


def test_another_runs_log_is_refused(root, tmp_path):
    path = tmp_path / "one.jsonl"
    run(root, "match", path)
    for name, settings, said in (
        ("includes.dev.v0", {}, 'its eval_name is "match.dev.v0", expected "includes.dev.v0"'),
        ("match", {"seed": 3}, "its seed is 20220722, expected 3"),
        ("match", {"options": {"temperature": 1}}, "its completion_args is {}, expected"),
        ("match", {"strict_choice": True}, "its strict_choice is false, expected true"),
        ("match", {"names": ("dummy",)}, f'its completion_fns is ["{ANSWER}"], expected ["dummy"]'),
    ):
        with pytest.raises(ValueError) as refused:
            run(root, name, path, **settings)
        assert said in str(refused.value), str(refused.value)
    run(root, "match", path, seed=3, again=True)
    assert rows_of(path)[0]["spec"]["run_config"]["seed"] == 3
    path.write_text("{}\n")
    with pytest.raises(ValueError, match="got no log of an eval, expected one, or no file"):
        run(root, "match", path)


def test_a_log_goes_on_with_a_registry_elsewhere_and_not_with_another_question(root, tmp_path):
    path, moved = tmp_path / "one.jsonl", tmp_path / "registry"
    report = run(root, "graded-own.dev.v0", path)
    shutil.copytree(root, moved)
    assert run(moved, "graded-own.dev.v0", path) == report
    assert len(rows_of(path)) == 3 * 32 + 2
    for name, file, word in (
        ("graded-own.dev.v0", "modelgraded/all.yaml", "criteria"),
        ("match-few.dev.v0", "data/shots.jsonl", "fox"),
    ):
        path = tmp_path / f"{name}.jsonl"
        run(moved, name, path)
        text = (moved / file).read_text()
        (moved / file).write_text(text.replace(f'"{word}', f'"a {word}').replace("{cri", "A {cri"))
        with pytest.raises(ValueError, match="got the log of another run: its samples is "):
            run(moved, name, path)


def test_one_process_at_a_time_writes_a_log(root, tmp_path):
    path, registry = tmp_path / "one.jsonl", Registry([root])
    functions = Functions(registry, {})
    entry = registry.eval("match")
    with (
        opened(entry, [ANSWER], functions, registry, Settings(), path),
        pytest.raises(ValueError, match="another process is writing this log"),
    ):
        run(root, "match", path)
    assert run(root, "match", path)


def test_a_failed_call_is_shown_left_out_and_asked_again(root, tmp_path):
    path, failing = tmp_path / "one.jsonl", Counted(fails=("sun", "owl"))
    with pytest.raises(ValueError) as refused:
        run(root, "match", path, failing)
    assert "got no answer for 8 samples (first match.dev." in str(refused.value)
    assert "HTTP 500: busy), expected one for each" in str(refused.value)
    rows = rows_of(path)
    report = rows[-1]["final_report"]
    assert report["failed_samples"] == 8
    errors = [row for row in rows[1:-1] if row["type"] == "error"]
    assert [row["data"] for row in errors] == [
        {"type": "HTTPError", "message": "HTTP 500: busy"}
    ] * 8
    right = [row["data"]["correct"] for row in rows[1:-1] if row["type"] == "match"]
    assert len(right) == 24 and report["accuracy"] == sum(right) / 24
    mended = Counted()
    assert run(root, "match", path, mended) == run(root, "match", None, Counted())
    assert len(mended.asked) == 8
    assert not [row for row in rows_of(path)[1:-1] if row["type"] == "error"]


def test_a_grader_that_names_no_choice_is_counted_and_said(root, monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    functions = {"a": PythonFunction("a", answer), "b": PythonFunction("b", lambda *_, **__: "?")}
    report = run(root, "graded-classify.dev.v0", None, functions.get, names=("a", "b"))
    assert report == {"counts/__invalid__": 8, "score": 0.0}
    assert said == [
        "graded-classify.dev.v0: 8 of 8 answers of the grader name none of the choices: they are "
        "counted as __invalid__, with the lowest score"
    ]


def test_usage_and_prompts_that_were_cut_are_in_the_report(root):
    class Used(Counted):
        def answers(self, calls):
            for number, _ in super().answers(calls):
                details = {"usage": {"total_tokens": 3, "prompt_tokens": None, "details": {}}}
                yield number, Answer("x", {**details, **({"cut": True} if number < 2 else {})})

    report = run(root, "match", None, Used())
    assert report["usage_total_tokens"] == 96 and report["usage_prompt_tokens"] == 0
    assert report["cut_prompts"] == 2 and "usage_details" not in report


def test_draws_tell_equal_prompts_of_a_sample_apart(root):
    counted = Counted()
    run(root, "graded-best.dev.v0", None, counted)
    draws = [call.draw for call in counted.asked]
    assert len({*draws}) == len(draws) == 4 * 8


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (3, "got a int, expected a text, a list of texts, or what has get_completions()"),
        (KeyError("x"), "it raised KeyError: 'x', expected a text"),
    ],
)
def test_a_wrong_python_function_is_named(root, result, said):
    def wrong(prompt, **arguments):
        if isinstance(result, Exception):
            raise result
        return result

    with pytest.raises(ValueError) as refused:
        run(root, "match", None, lambda name: PythonFunction("python:mine:f", wrong))
    assert str(refused.value) == f"completion_fn 'python:mine:f': {said}"


def test_a_python_function_may_answer_as_the_originals_do(root):
    class Result:
        def get_completions(self):
            return ["fox", "jar"]

    for result in ("fox", ["fox"], Result()):
        made = PythonFunction("f", lambda *_, given=result, **__: given)
        assert run(root, "match", None, lambda name, made=made: made)["accuracy"] == 4 / 32
    with pytest.raises(ValueError, match="the function gave no completion"):
        run(root, "match", None, lambda name: PythonFunction("f", lambda *_, **__: []))


def test_a_wrong_sample_names_its_number(root, tmp_path):
    file = tmp_path / "bad.jsonl"
    file.write_text('{"input": "x", "ideal": "y"}\n{"input": "x"}\n')
    with pytest.raises(ValueError, match=r"eval 'match.dev.v0': sample 1: sample: got input, exp"):
        run(root, "match", None, extra={"samples_jsonl": str(file)})


class Made:
    """A completion function of a registry: a class of a user's."""

    def __init__(self, word: str):
        self._word = word

    def __call__(self, prompt, **arguments):
        return self._word


def test_functions_of_a_registry(root, tmp_path):
    (tmp_path / "completion_fns").mkdir()
    file = tmp_path / "completion_fns" / "mine.yaml"
    file.write_text(f"mine/fox:\n  class: {__name__}:Made\n  args: {{word: fox}}\n")
    registry = Registry([root, tmp_path])
    functions = Functions(registry, {})
    assert run(root, "match", None, functions, names=("mine/fox",))["accuracy"] == 4 / 32
    assert functions("ours").identity == "http://127.0.0.1:1/v1/chat/completions#small"
    for name, said in {
        "thoughts": "class evals.completion_fns.cot:ChainOfThoughtCompletionFn, which needs the",
        "ous": "which is no run, no URL and no name of a registry (did you mean 'ours'?)",
    }.items():
        with pytest.raises(ValueError) as refused:
            functions(name)
        assert said in str(refused.value)
    with pytest.raises(ValueError, match="expected the arguments of"):
        Functions(registry, {"letter": 3})("mine/fox")


def test_openais_names_go_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1/")
    functions = Functions(Registry([]), {})
    base = "http://127.0.0.1:1/v1"
    assert functions("gpt-9").identity == f"{base}/chat/completions#gpt-9"
    assert functions("davinci-002").identity == f"{base}/completions#davinci-002"
