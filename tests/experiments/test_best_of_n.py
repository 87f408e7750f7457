"""Best-of-n from its command line, against the generator called prompt by prompt."""

import importlib
import json
import math
import sys

import jax
import numpy as np
import pytest

from gptjax.alignment.rewards import BatchReward, Reward
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.instructions import gold_reward
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.judging.best_answers import best_answers
from gptjax.judging.choices import MOST_ANSWERS
from gptjax.judging.policies import Answer, Policy
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import InitialCheckpoint, WorkDirectory
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tokenization import load_tokenizer
from tests.support.alignment_runs import make_config
from tests.support.binaries import call

PROMPTS, N, SEED, LONGEST = "instructions:split=held_out,count=4", 5, 3, 12
THRESHOLD = -4
MINE = """
def minus_length(prompt, response):
    return -len(response)

def broken(prompt, response):
    raise RuntimeError("out of order")
"""
WRONG = {
    "--rewards=gold --temperature=0 --output={folder}/x": (
        "--temperature: got 0 with 5 answers to a prompt, which would all be the same, expected ab"
    ),
    "--rewards=gold --threshold=0 --output={folder}/x": "--threshold: got it alone, expected",
    "--rewards=gold": "--output: got none, expected a file to write",
    "--output={folder}/x": "--rewards: got none, expected reward_model:WORKDIR, rubric:FILE, gold",
    "--rewards=python:mine:broken --output={folder}/x": (
        "reward 'broken', answer 0 to prompt 0 (prompt '{first}'): got RuntimeError: "
        "out of order, expec"
    ),
    "--rewards=gold --output={folder}/y --save_conversations={folder}/x --threshold=7": (
        "of 4 best answers that end, none of them above --threshold=7.0, expected one or more"
    ),
    "--rewards=gold --max_new_tokens=46 --output={folder}/x": (
        "'{prompts}': got none of 4 (4 prompts longer than 2 tokens) rows, expected"
    ),
    "--rewards=gold --prompts=nothing --output={folder}/x": "unknown set of prompts 'nothing'",
    "--rewards=reward_model:{sft} --output={folder}/x": "reward model: got {sft}, a run of kind",
    "--rewards=gold --workdir={folder} --output={folder}/x": "--workdir: no run in {folder}",
}


@pytest.fixture(scope="module")
def sft(cache, tmp_path_factory):
    """A run that nobody trained, whose answers are random, and end at one token in ten or so."""
    config = make_config(SFTConfig)
    tokenizer = load_tokenizer(config.data.tokenizer)
    shapes = kind_of(config).shapes(config)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.05, leaf.shape).astype(leaf.dtype), shapes)
    params["trunk"]["final_norm"]["bias"][0] = 1
    params["token_embedding"][:, 0] = 0
    params["token_embedding"][tokenizer.end_of_turn, 0] = np.log(50)
    workdir = WorkDirectory(str(tmp_path_factory.mktemp("runs") / "sft"))
    workdir.begin("made", config, {"tokenizer_hash": tokenizer.content_hash()}, InitialCheckpoint)
    workdir.keep_tokenizer(tokenizer)
    with workdir.checkpoints() as checkpoints:
        state = {"count": np.zeros((), np.float32)}
        checkpoints.save(1, params=params, opt_state=state, data={}, config={})
    return workdir


@pytest.fixture(scope="module")
def best_of(sft, tmp_path_factory):
    """Returns a function from more flags to how the binary ends, and the folder it writes to."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "mine.py").write_text(MINE)
    shared = f"--workdir={sft.path} --prompts={PROMPTS} --n={N} --seed={SEED}"

    def end(line):
        return call("best_of_n", *f"{shared} --max_new_tokens={LONGEST} {line}".split())

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        importlib.invalidate_caches()
        yield end, folder
    sys.modules.pop("mine", None)


@pytest.fixture(scope="module")
def answers(sft):
    """Each answer drawn by itself: (text, whether it ended), of each prompt."""
    template, drawn = ChatTemplate(sft.tokenizer()), []
    sampler = without_marks(template, 1.0)
    generator = Generator(sft.model(), sft.params(), slots=1)
    for number, prompt in enumerate(load_prompts(PROMPTS)):
        ids = [
            generator.submit(
                template.prompt(prompt),
                max_new_tokens=LONGEST,
                sampler=sampler,
                seed=SEED,
                sample_index=number * MOST_ANSWERS + i,
                stop_token=template.tokenizer.end_of_turn,
            ).result()
            for i in range(N)
        ]
        drawn.append([template.response(each) for each in ids])
    return drawn


def without_marks(template, temperature):
    """No answer holds padding or another's turn; the marks are the last of the vocabulary."""
    size, end = template.tokenizer.vocab_size, template.tokenizer.end_of_turn
    banned = [token for token in range(size - 5, size) if token != end]
    return make_sampler(temperature, banned_tokens=banned, vocab_size=size)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_best_is_the_first_of_the_highest_reward(best_of, answers):
    end, folder = best_of
    done, rewards = end(f"--rewards=gold --output={folder}/gold.jsonl"), []
    assert (done.code, done.errors) == (0, "")
    rows = lines_of(folder / "gold.jsonl")
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
    (summary,) = done.rows
    assert summary["prompts"] == len(prompts)
    assert summary["reward"] == pytest.approx(np.max(rewards, axis=1).mean())
    assert [point["n"] for point in summary["curve"]] == [1, 2, 4, 5]
    assert summary["curve"][0]["reward"] == pytest.approx(np.mean(rewards))
    assert summary["curve"][-1]["reward"] == pytest.approx(summary["reward"])


@pytest.mark.slow
def test_the_most_probable_tokens_are_taken_where_that_is_asked_for(best_of, sft, answers):
    end, folder = best_of
    assert end(f"--rewards=gold --output={folder}/one.jsonl --n=1 --temperature=0").code == 0
    template = ChatTemplate(sft.tokenizer())
    expected = Generator(sft.model(), sft.params()).generate(
        [template.prompt(prompt) for prompt in load_prompts(PROMPTS)],
        max_new_tokens=LONGEST,
        sampler=without_marks(template, 0.0),
        stop_token=template.tokenizer.end_of_turn,
    )
    found = [(row["answer"], row["finished"]) for row in lines_of(folder / "one.jsonl")]
    assert found == [template.response(ids) for ids in expected]
    assert found != [several[0] for several in answers]


def test_saved_conversations_are_the_good_ones_that_end_and_sft_reads_them(best_of, answers):
    end, folder = best_of
    done = end(
        f"--rewards=python:mine:minus_length --output={folder}/short.jsonl "
        f"--unfinished_reward=-100 --save_conversations={folder}/chats.jsonl "
        f"--threshold={THRESHOLD}"
    )
    expected = []
    for prompt, drawn in zip(load_prompts(PROMPTS), answers, strict=True):
        given = [-len(text) if ended else -100 for text, ended in drawn]
        text, ended = drawn[given.index(max(given))]
        if ended and max(given) > THRESHOLD:
            expected.append((*prompt, Message("assistant", text)))
    assert 0 < len(expected) < len(answers)
    assert any(not ended for drawn in answers for _, ended in drawn)
    assert tuple(load_conversations(f"jsonl:{folder}/chats.jsonl")) == tuple(expected)
    assert done.rows[0]["conversations"] == len(expected)


def test_bad_input_is_one_line_and_leaves_nothing_half_done(best_of, sft):
    end, folder = best_of
    prompts = load_prompts(PROMPTS)
    names = {"folder": folder, "sft": sft.path, "prompts": PROMPTS, "first": prompts[0][0].content}
    before = {path.name for path in folder.iterdir()}
    for line, expected in WRONG.items():
        assert expected.format(**names) in end(line.format(**names)).refusal, line
    assert {path.name for path in folder.iterdir()} - before <= {"y", "__pycache__"}


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


@pytest.mark.slow
def test_answers_do_not_change_with_the_prompts_before_and_after_them(sft):
    """The first test has each drawn by itself; here prompts come in parts."""
    policy, prompts = Policy(sft), load_prompts(PROMPTS)
    whole = policy.answers(prompts, N, seed=SEED, max_new_tokens=LONGEST)
    part = policy.answers(prompts[1:2], N, seed=SEED, max_new_tokens=LONGEST, first=1)
    assert part == [whole[1]] and whole[1] != whole[2]
