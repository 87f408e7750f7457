"""The chat binary: one message, lines of a pipe, policies, and what it refuses."""

import json

import pytest

from gptjax.judging.policies import Policy
from tests.support.binaries import call
from tests.support.trained import trained  # noqa: F401


@pytest.fixture(scope="module")
def chat(trained):  # noqa: F811
    path = trained("sft").path
    return lambda *flags, **options: call("chat", f"--workdir={path}", *flags, **options)


def test_one_message_is_answered_as_the_policy_of_the_run_answers(chat, trained):  # noqa: F811
    from gptjax.data.dialogue.chat_format import Message

    done = chat("--prompt=copy: fox", "--temperature=0", "--max_new_tokens=4")
    prompt = (Message("user", "copy: fox"),)
    ((answer,),) = Policy(trained("sft")).answers([prompt], 1, temperature=0, max_new_tokens=4)
    assert done.code == 0 and done.output == f"{answer.text}\n"


def test_lines_of_a_pipe_are_turns_and_commands(chat, tmp_path):
    kept = tmp_path / "kept.jsonl"
    lines = f"copy: fox\n/beam 2\ncopy: hen\n/save {kept}\n"
    done = chat("--max_new_tokens=3", "--system=hi", stdin=lines)
    assert done.code == 0, done.errors
    messages = json.loads(kept.read_text())["messages"]
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 2]
    said = [message["content"] for message in messages if message["role"] == "assistant"]
    assert done.output == "".join(f"{text}\n" for text in said)
    wrong = chat(stdin="/tempo 3\n")
    assert (wrong.code, wrong.output) == (2, "") and "unknown command '/tempo'" in wrong.errors


def test_what_is_no_chat_and_flags_that_exclude_each_other_are_refused(chat, trained):  # noqa: F811
    plain = call("chat", f"--workdir={trained('pretrain').path}", "--prompt=a").refusal
    assert "expected one with the tokens of a chat, chat:INNER" in plain
    assert chat("--num_beams=2", "--best_of=2").refusal.startswith("--num_beams: got it with")
    assert chat("--ranker=gold").refusal.startswith("--ranker: got it without --best_of")
    assert chat("--num_beams=2", "--top_k=3").refusal.startswith("--num_beams: got it with --top_k")
