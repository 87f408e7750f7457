"""Best-of-n from its command line, against the generator called prompt by prompt."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gptjax.alignment.rewards import BatchReward, Reward
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.instructions import gold_reward
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.inference.generate import Generator
from gptjax.judging.best_answers import best_answers
from gptjax.judging.policies import MOST_ANSWERS, Answer, Policy
from tests.support.alignment_runs import fine_tuned

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PROMPTS, N, SEED = "instructions:split=held_out,count=6", 5, 3
MINE = """
def minus_length(prompt, response):
    return -len(response)

def broken(prompt, response):
    raise RuntimeError("out of order")
"""
# Many command lines in one process, which is to import everything once.
CHILD = """
import sys
from absl.testing import flagsaver
from experiments import best_of_n
from experiments.flags.command_line import run

shared, lines = sys.argv[1].split(), sys.argv[2:]
for line in lines:
    sys.argv[1:] = [*shared, *line.split()]
    with flagsaver.flagsaver():
        try:
            run(best_of_n.main)
        except SystemExit as leaving:
            if leaving.code:
                print("code", leaving.code)
"""
WRONG = {
    "--judge=gold --temperature=0 --output={folder}/x": (
        "--temperature: got 0 with 5 answers to a prompt, which would all be the same, expected ab"
    ),
    "--judge=gold --threshold=0 --output={folder}/x": "--threshold: got it alone, expected it with",
    "--judge=gold": "--output: got none, expected a file to write",
    "--output={folder}/x": "--judge: got none, expected reward_model:WORKDIR, rubric:FILE, gold",
    "--judge=python:mine:broken --output={folder}/x": (
        "reward 'broken', answer 0 to prompt 0 (prompt '{first}'): got RuntimeError: "
        "out of order, expec"
    ),
    "--judge=gold --output={folder}/y --save_conversations={folder}/x --threshold=7": (
        "--save_conversations: got {ends} of {count} best answers that end, none o"
    ),
    "--judge=gold --max_new_tokens=46 --output={folder}/x": (
        "'{prompts}': got none of 6 (1 prompts that came before, "
    ),
    "--judge=gold --prompts=nothing --output={folder}/x": "unknown set of prompts 'nothing'",
    "--judge=reward_model:{sft} --output={folder}/x": "reward model: got {sft}, a run of kind sf",
    "--judge=gold --workdir={folder} --output={folder}/x": "--workdir: no run in {folder}",
}


@pytest.fixture(scope="module", autouse=True)
def _cache(cache):
    return cache


@pytest.fixture(scope="module")
def sft(tmp_path_factory):
    return fine_tuned(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def made(sft, tmp_path_factory):
    """The folder that two good command lines wrote to, and what they and WRONG printed."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "mine.py").write_text(MINE)
    good = [
        f"--judge=gold --output={folder}/gold.jsonl",
        f"--judge=python:mine:minus_length --output={folder}/short.jsonl --unfinished_reward=-100 "
        f"--save_conversations={folder}/chats.jsonl --threshold=-30",
    ]
    wrong = [line.format(folder=folder, sft=sft.path) for line in WRONG]
    shared = f"--workdir={sft.path} --prompts={PROMPTS} --n={N} --seed={SEED} --max_new_tokens=12"
    done = subprocess.run(
        [sys.executable, "-c", CHILD, shared, *good, *wrong],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return folder, done.stdout.splitlines(), done.stderr.splitlines()


@pytest.fixture(scope="module")
def answers(sft):
    """Each answer drawn by itself: (text, whether it ended), of each prompt."""
    template, drawn = ChatTemplate(sft.tokenizer()), []
    generator = Generator(sft.model(), sft.params(), slots=1)
    for number, prompt in enumerate(load_prompts(PROMPTS)):
        ids = [
            generator.submit(
                template.prompt(prompt),
                max_new_tokens=12,
                seed=SEED,
                sample_index=number * MOST_ANSWERS + i,
                stop_token=template.tokenizer.end_of_turn,
            ).result()
            for i in range(N)
        ]
        drawn.append([template.response(each) for each in ids])
    return drawn


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_best_is_the_first_of_the_highest_reward(made, answers):
    folder, printed, _ = made
    rows, rewards = lines_of(folder / "gold.jsonl"), []
    prompts = [prompt[0].content for prompt in load_prompts(PROMPTS)]
    for row, prompt, drawn in zip(rows, prompts, answers, strict=True):
        given = [gold_reward(prompt, text) for text, _ in drawn]
        best = given.index(max(given))
        assert row["prompt"] == prompt
        assert (row["answer"], row["finished"]) == drawn[best]
        assert row["rewards"] == pytest.approx(given) and row["reward"] == row["rewards"][best]
        assert row["parts"] == {"gold": row["reward"]}
        assert (row["n"], row["kl"]) == (N, pytest.approx(math.log(5) - 4 / 5))
        rewards.append(given)
    summary = json.loads(printed[0])
    assert summary["prompts"] == len(prompts)
    assert summary["reward"] == pytest.approx(np.max(rewards, axis=1).mean())
    assert [point["n"] for point in summary["curve"]] == [1, 2, 4, 5]
    assert summary["curve"][0]["reward"] == pytest.approx(np.mean(rewards))
    assert summary["curve"][-1]["reward"] == pytest.approx(summary["reward"])


def test_saved_conversations_are_the_good_ones_that_end_and_sft_reads_them(made, answers):
    folder, printed, _ = made
    expected = []
    for prompt, drawn in zip(load_prompts(PROMPTS), answers, strict=True):
        given = [-len(text) if ended else -100 for text, ended in drawn]
        text, ended = drawn[given.index(max(given))]
        if ended and max(given) > -30:
            expected.append((*prompt, Message("assistant", text)))
    assert expected and any(not ended for drawn in answers for _, ended in drawn)
    assert tuple(load_conversations(f"jsonl:{folder}/chats.jsonl")) == tuple(expected)
    assert json.loads(printed[1])["conversations"] == len(expected)


def test_bad_input_is_one_line_and_leaves_nothing_half_done(made, sft):
    folder, printed, said = made
    prompts = load_prompts(PROMPTS)
    assert printed.count("code 2") == len(WRONG)
    errors = [line for line in said if line.startswith("error: ")]
    names = {"folder": folder, "sft": sft.path, "prompts": PROMPTS, "first": prompts[0][0].content}
    names |= {"count": len(prompts), "ends": len(prompts)}
    for line, expected in zip(errors, WRONG.values(), strict=True):
        assert line.startswith("error: " + expected.format(**names)[:70])
    written = {path.name for path in folder.iterdir() if path.is_file()}
    assert written == {"mine.py", "gold.jsonl", "short.jsonl", "chats.jsonl", "y"}


class _Says:
    """A policy whose answer i to prompt j is "i to j"."""

    def answers(self, prompts, count, *, first, **_):
        numbers = range(first, first + len(prompts))
        return [[Answer(f"{i} to {number}", True) for i in range(count)] for number in numbers]


def _fails_at(prompt, response):
    if response == "3 to 57":
        raise RuntimeError(f"row 5 (prompt {prompt[0].content}) is out of order")
    return 0.0


def _fails_of_all(prompts, responses):
    return [float("nan") if response == "3 to 57" else 0.0 for response in responses]


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (Reward("mine", _fails_at), "got RuntimeError: row 5 (prompt p57) is out of order"),
        (Reward("mine", lambda _, response: "" if response == "3 to 57" else 0.0), "got ''"),
        (BatchReward("mine", _fails_of_all), "got nan"),
    ],
    ids=["raises", "no number", "a batch of them"],
)
def test_what_fails_is_named_by_its_prompt_and_answer_of_all(reward, message):
    """Prompt 57 of 60, with five answers each, is not among those that are scored first."""
    prompts = [(Message("user", f"p{i}"),) for i in range(60)]
    chosen = best_answers(_Says(), [reward], prompts, N)
    assert [next(chosen).answer.text for _ in range(51)] == [f"0 to {i}" for i in range(51)]
    with pytest.raises(ValueError) as error:
        next(chosen)
    assert str(error.value).startswith(
        f"reward 'mine', answer 3 to prompt 57 (prompt 'p57'): {message}"
    )


def test_what_names_no_row_is_said_as_it_is():
    def broken(prompts, responses):
        raise RuntimeError("reward 'x', row 5 (prompt 'y')")

    prompts = [(Message("user", f"p{i}"),) for i in range(60)]
    with pytest.raises(ValueError, match=r"^reward 'mine', of 255 rows: got .*, row 5 \(prompt 'y"):
        next(best_answers(_Says(), [BatchReward("mine", broken)], prompts, N))


def test_answers_do_not_change_with_their_number_or_with_prompts_after_them(sft):
    policy, prompts = Policy(sft), load_prompts(PROMPTS)
    few = policy.answers(prompts[:2], 2, seed=1, max_new_tokens=6)
    many = policy.answers(prompts[:3], 4, seed=1, max_new_tokens=6)
    assert few == [many[0][:2], many[1][:2]]
    assert policy.answers(prompts[1:2], 2, seed=1, max_new_tokens=6, first=1) == [few[1]]
