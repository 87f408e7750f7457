"""The commands of OpenAI Evals, as their users spell them."""

import json
import shutil
from pathlib import Path

import pytest

from gptjax.evals.openai_evals.log import rows_of
from tests.support import openai_registry
from tests.support.binaries import call
from tests.support.http_stub import said, server

ANSWER = "python:tests.support.openai_registry:answer"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return openai_registry.write(tmp_path_factory.mktemp("openai"))


def oaieval(root, *arguments, binary="oaieval"):
    return call(binary, *arguments, f"--registry_path={root}")


def test_arguments_stand_by_place_or_by_name_and_flags_as_the_original_spells_them(root, tmp_path):
    first = oaieval(root, ANSWER, "match", f"--record_path={tmp_path / 'a'}", "--no-cache")
    assert first.code == 0, first
    (row,) = first.rows
    assert row["eval"] == "match.dev.v0" and row["record_path"] == str(tmp_path / "a")
    assert row["final_report"] == rows_of(tmp_path / "a")[-1]["final_report"]
    named = oaieval(
        root,
        "--max_samples",
        "4",
        "--local-run",
        f"--completion_fn={ANSWER}",
        "--eval=match",
        f"--record_path={tmp_path / 'b'}",
        "--user=me",
    )
    spec = rows_of(tmp_path / "b")[0]["spec"]
    assert named.code == 0 and spec["created_by"] == "me"
    settings = spec["run_config"]["initial_settings"]
    assert settings == {"visible": False, "cache": True}
    whole = rows_of(tmp_path / "a")[0]["spec"]["run_config"]["initial_settings"]
    assert whole == {"visible": True, "cache": False}


def test_a_dry_run_shows_events_and_writes_nothing(root, tmp_path):
    loud = oaieval(root, "dummy", "match", "--dry-run", "--max_samples=2")
    quiet = oaieval(root, "dummy", "match", "--dry-run", "--no-dry-run-logging", "--max_samples=2")
    assert loud.rows == quiet.rows and "record_path" not in loud.rows[0]
    assert loud.errors.count('"type": "match"') == 2 and quiet.errors == ""
    file = tmp_path / "said"
    filed = oaieval(root, "dummy", "match", "--dry-run", "--max_samples=2", f"--log_to_file={file}")
    assert filed.errors == "" and file.read_text().count('"type": "match"') == 2


def test_arguments_of_the_eval_and_of_the_function(root, tmp_path):
    path = tmp_path / "a"
    ended = oaieval(
        root,
        f"{ANSWER},{ANSWER}",
        "graded-classify.dev.v0",
        "--extra_eval_params=match_fn=exact,metaeval=0",
        "--completion_args=temperature=0.5,best_of=2",
        f"--record_path={path}",
        "--strict_choice",
    )
    assert ended.code == 0, ended
    config = rows_of(path)[0]["spec"]["run_config"]
    assert config["eval_spec"]["args"]["match_fn"] == "exact"
    assert config["completion_args"] == {"temperature": 0.5, "best_of": 2}
    assert config["strict_choice"] is True


def test_a_run_of_ours_answers(root, trained):
    """All samples of three classes by a language model, and by one of a chat that grades itself."""
    for kind, name in (
        ("pretrain", "test-match.s1.v0"),
        ("pretrain", "lambada.test.v0"),
        ("sft", "graded-meta.dev.v0"),
    ):
        ended = oaieval(
            root,
            str(trained(kind).path),
            name,
            "--dry_run",
            "--nodry_run_logging",
            f"--datasets=lambada={root / 'data' / 'lambada.jsonl'}",
        )
        assert ended.code == 0, ended
        report = ended.rows[0]["final_report"]
        assert report.get("accuracy", 0) == 0 and "failed_samples" not in report
        if kind == "sft":
            assert sum(report[key] for key in report if key.startswith("counts/")) == 8


def test_a_server_answers_and_a_failed_call_is_exit_code_2(root, tmp_path):
    def reply(path, body, number):
        if path == "/events":
            return 200, {}
        failing = number % 8 == 0
        return (400, {"error": {"message": "too long"}}) if failing else said("fox")

    flags = ("match", f"--record_path={tmp_path / 'a'}")
    with server(reply) as (url, requests):
        first = oaieval(root, f"{url}/v1#m", *flags)
        assert first.code == 2 and first.rows[0]["final_report"]["failed_samples"] == 4
        assert first.errors.startswith(
            "error: eval 'match.dev.v0': got no answer for 4 samples (first match.dev."
        )
        assert "HTTP 400: too long), expected one for each" in first.errors
        sent = ("--http-run", f"--http-run-url={url}/events", "--http-batch-size=50")
        second = oaieval(root, f"{url}/v1#m", *flags, *sent)
    report = second.rows[0]["final_report"]
    assert (second.code, second.errors) == (0, "")
    assert report["accuracy"] == 4 / 32 and report["usage_total_tokens"] == 64
    assert [path for path, *_ in requests[:36]] == ["/v1/chat/completions"] * 36
    events = [event for path, body, _ in requests if path == "/events" for event in body]
    assert len(events) == 65 and events[-1]["data"] == report


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dummy"], "--eval: got none, expected: oaieval COMPLETION_FN[,GRADER] EVAL"),
        ([], "--completion_fn: got none, expected: oaieval COMPLETION_FN[,GRADER] EVAL"),
        (["dummy", "match", "more"], "unexpected argument 'more'; expected flags, as --name=value"),
        (["dummy", "match", "--eval=x"], "--eval: got it twice, the second time as 'match'"),
        (["dummy", "mach"], "unknown eval 'mach' (did you mean 'match'?); expected one of the"),
        (
            ["dummy", "odd.dev.v0"],
            "eval 'odd.dev.v0': got the class somewhere.else:Odd, which needs a class that is not "
            "known here, expected one of Match, Includes",
        ),
        (
            ["dummy", "agent.dev.v0"],
            "eval 'agent.dev.v0': got the class evals.elsuite.bluff.eval:BluffEval, which needs a "
            "solver that acts over several turns",
        ),
        (["runs/none", "match"], "completion_fn: got 'runs/none', which is no run, no URL and no"),
        (["python:tests.gone:f", "match"], "completion_fn 'python:tests.gone:f': got ModuleNotFou"),
        (["dummy", "choice.val.v0"], "data set 'hendrycks_test': got no file of it, expected one "),
        (["dummy,dummy", "match"], "eval 'match.dev.v0': Match: got 2 completion functions, expec"),
        (
            ["dummy", "match", "--no-local-run"],
            "--local_run: got false, which means Snowflake, exp",
        ),
        (["dummy", "match", "--http-run"], "--http_run: expected --http_run_url with it, and no -"),
        (["dummy", "match", "--completion_args=x"], "--completion_args: got 'x', expected NAME=VA"),
        (["dummy", "match", "--completion_args=api_key=x"], "--completion_args: got api_key, exp"),
        (["dummy", "match", "--max-samples=0"], "flag --max_samples=0: expected int >= 1"),
        (["dummy", "match", "--max-sample=0"], "unknown flag --max_sample (did you mean --max_sam"),
        (["dummy", "match", "--seed=-1"], "--seed: got -1, expected int >= 0"),
    ],
)
def test_bad_input_is_one_line(root, arguments, expected):
    assert oaieval(root, *arguments).refusal.startswith(expected)


def test_a_registry_that_is_not_there_is_refused(tmp_path):
    refused = call("oaieval", "dummy", "match", f"--registry_path={tmp_path / 'none'}").refusal
    assert refused == f"--registry_path: got '{tmp_path / 'none'}', expected a folder"


def test_the_list_says_what_runs_here_and_what_the_rest_needs(root):
    ended = oaieval(root, "--list", f"--datasets=lambada={root / 'data' / 'lambada.jsonl'}")
    lines = ended.output.splitlines()
    assert "match.dev.v0 (Match): runs" in lines
    assert "agent.dev.v0 (BluffEval): needs a solver that acts over several turns" in lines
    assert "choice.val.v0 (MultipleChoice): no samples: --datasets=hendrycks_test=PATH" in lines
    assert lines[-1].startswith("19 of 21 evals (90%) have a class that runs here; 18 of these")


def test_a_set_goes_on_where_it_was_and_says_which_pattern_is_idle(root, tmp_path):
    folder = tmp_path / "logs"
    ended = oaieval(root, ANSWER, "basic", f"--record_path={folder}", binary="oaievalset")
    assert ended.code == 0, ended
    assert "eval set basic: 'nowhere' matches no eval" in ended.errors
    names = ["match.dev.v0", "includes.dev.v0", "fuzzy.dev.v0"]
    assert [row["eval"] for row in ended.rows] == names
    (folder / f"{names[1]}.jsonl").unlink()
    before = [rows_of(folder / f"{name}.jsonl")[0]["spec"]["run_id"] for name in names[::2]]
    again = oaieval(root, ANSWER, "basic", f"--record_path={folder}", binary="oaievalset")
    assert again.output == ended.output
    after = [rows_of(folder / f"{name}.jsonl")[0]["spec"]["run_id"] for name in names[::2]]
    assert after == before
    anew = ("basic", f"--record_path={folder}", "--no-resume")
    assert oaieval(root, ANSWER, *anew, binary="oaievalset").output == ended.output
    assert rows_of(folder / "match.dev.v0.jsonl")[0]["spec"]["run_id"] != before[0]


def test_a_set_stops_at_an_eval_that_fails_or_goes_on_and_names_it(root, tmp_path):
    few = tmp_path / "registry"
    shutil.copytree(root, few)
    (few / "eval_sets" / "more.yaml").write_text(
        "two:\n  evals: [odd.dev.v0, agent.dev.v0, match]\n"
    )
    stop = oaieval(few, "dummy", "two", f"--record_path={tmp_path / 'a'}", binary="oaievalset")
    assert stop.code == 2 and [row["eval"] for row in stop.rows] == ["match.dev.v0"]
    assert stop.errors.startswith("error: eval 'agent.dev.v0': got the class")
    flags = (f"--record_path={tmp_path / 'a'}", "--no-exit-on-error")
    on = oaieval(few, "dummy", "two", *flags, binary="oaievalset")
    assert on.code == 2 and [row["eval"] for row in on.rows] == ["match.dev.v0"]
    assert on.errors.splitlines()[-1] == (
        "error: eval set 'two': 2 of 3 evals failed: agent.dev.v0, odd.dev.v0"
    )
    assert "agent.dev.v0: eval 'agent.dev.v0': got the class" in on.errors
    assert json.loads(on.output)["final_report"]["accuracy"] == 0.0
    unknown = oaieval(root, "dummy", "basik", binary="oaievalset").refusal
    assert unknown.startswith("unknown eval set 'basik' (did you mean 'basic'?)")
