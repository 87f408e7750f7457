"""Runs of ours that answer evals, beside the same model asked directly."""

import pytest

from gptjax.data.dialogue.chat_format import Message
from gptjax.evals.models.of_runs import of_run
from gptjax.evals.openai_evals.classes.base import Call
from gptjax.evals.openai_evals.our_runs import ChatRun, TextRun, our_run
from gptjax.evals.requests import Generation
from gptjax.judging.policies import Policy

CHAT = [
    {"role": "system", "content": "Answer."},
    {"role": "system", "name": "example_user", "content": "copy: fox"},
    {"role": "system", "name": "example_assistant", "content": "fox"},
    {"role": "user", "content": "copy: jar"},
]
GREEDY = {"temperature": 0.0}


def answers(function, *calls):
    found = dict(function.answers(calls))
    return [found[number] for number in range(len(calls))]


@pytest.fixture(scope="module")
def text_run(trained):
    return our_run(str(trained("pretrain").path), {"chat": "false"}, 7)


def test_a_language_model_continues_text(trained, text_run):
    """Its options and the format's defaults: 16 tokens, temperature 1, the samples' own draws."""
    model = of_run(trained("pretrain"))
    calls = [
        Call("The fox", GREEDY),
        Call(CHAT[:1], {"temperature": 0.0, "max_tokens": 3}),
        Call("The fox", {}, draw=1),
        Call("The fox", {}, draw=2),
        Call(CHAT[2:], {"temperature": 0.0, "max_tokens": 2, "top_p": 1, "n": 1}),
    ]
    expected = model.all_answers(
        [
            Generation("The fox", max_new_tokens=16),
            Generation("Answer.", max_new_tokens=3),
            Generation("The fox", max_new_tokens=16, temperature=1.0, seed=7, draw=1),
            Generation("The fox", max_new_tokens=16, temperature=1.0, seed=7, draw=2),
            Generation("Assistant: fox\nUser: copy: jar\nAssistant:", max_new_tokens=2),
        ]
    )
    found = answers(text_run, *calls)
    assert isinstance(text_run, TextRun) and text_run.identity == model.content_hash
    assert [answer.text for answer in found] == [answer.text for answer in expected]
    assert found[2] != found[3]


def test_a_prompt_that_is_cut_is_marked(text_run):
    long, short = answers(text_run, Call("fox jar " * 60, GREEDY), Call("fox", GREEDY))
    assert long.details == {"cut": True} and short.details == {}


def test_options_take_the_place_of_what_an_eval_sends(trained, text_run):
    options = {"chat": "false", "max_tokens": 2, "temperature": 0, "stop": "\\n"}
    few = our_run(str(trained("pretrain").path), options, 7)
    (answer,) = answers(few, Call("The fox", {"max_tokens": 9, "temperature": 1.0}))
    model = of_run(trained("pretrain"))
    (expected,) = model.all_answers([Generation("The fox", stop=("\n",), max_new_tokens=2)])
    assert answer.text == expected.text
    (whole,) = answers(text_run, Call("The fox", GREEDY))
    assert whole.text.startswith(answer.text) and whole != answer


def test_a_model_of_a_chat_answers_messages_in_its_own_format(trained):
    function = our_run(str(trained("sft").path), {}, 7)
    assert isinstance(function, ChatRun)
    conversation = tuple(
        Message(role, message["content"])
        for role, message in zip(("system", "user", "assistant", "user"), CHAT, strict=True)
    )
    policy = Policy(trained("sft"))
    calls = [Call(CHAT, {"temperature": 0.0, "max_tokens": 6}), Call("copy: fox", GREEDY)]
    calls.append(Call(CHAT, {"max_tokens": 6}, draw=3))
    found = answers(function, *calls)
    few = policy.answers([conversation], 1, temperature=0.0, max_new_tokens=6)
    alone = policy.answers([(Message("system", "copy: fox"),)], 1, temperature=0.0)
    drawn = policy.answers([conversation], 4, seed=7, max_new_tokens=6)
    assert [answer.text for answer in found] == [few[0][0].text, alone[0][0].text, drawn[0][3].text]
    (long,) = answers(function, Call("fox jar " * 60, GREEDY))
    assert long.details == {"cut": True}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": 3}, "--completion_args: got 'top_k' for a run, expected one of: temperature, "),
        ({"chat": "no"}, "--completion_args: got chat=no, expected true or false"),
    ],
)
def test_an_option_that_there_is_not_is_refused(trained, options, said):
    with pytest.raises(ValueError) as refused:
        our_run(str(trained("pretrain").path), options, 0)
    assert str(refused.value).startswith(said)
