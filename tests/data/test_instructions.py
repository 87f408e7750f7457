"""The embedded tasks: right answers by hand, what other answers are worth, splits, annotators."""

import collections
import itertools
import math

import numpy as np
import pytest

from gptjax.alignment.ranking_report import ranking_report
from gptjax.data.corpora.instructions_text import sentence_of
from gptjax.data.corpora.text import load_corpus
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.instructions import (
    KINDS,
    REFUSAL,
    WORDS,
    EmbeddedTask,
    gold_reward,
    parse_prompt,
    random_task,
    task_at,
)
from gptjax.data.dialogue.instructions_sets import annotate, demonstrations, ranked_tasks
from gptjax.data.dialogue.preferences import load_rankings
from gptjax.data.dialogue.rankings import agreement

ANSWERS = {
    "copy: fox jar sun": "fox jar sun",
    "reverse: fox jar sun": "sun jar fox",
    "sort: fox sun ant jar": "ant fox jar sun",
    "count: fox jar sun ant": "4",
    "pick 2: fox jar sun": "jar",
    "add: 7 5": "12",
    "take: 9 9": "0",
    "secret add: 7 5": REFUSAL,
    "secret pick 1: fox jar": REFUSAL,
}


@pytest.mark.parametrize(("prompt", "answer"), ANSWERS.items())
def test_right_answers(prompt, answer):
    task = parse_prompt(prompt)
    assert (task.prompt, task.answer) == (prompt, answer)
    assert gold_reward(prompt, answer) == gold_reward(task, f" {answer}\n") == 1.0


@pytest.mark.parametrize(
    ("prompt", "response", "worth"),
    [
        ("reverse: fox jar sun", "", 0),
        ("reverse: fox jar sun", "fox jar sun", 1 / 3 / 2),
        ("reverse: fox jar sun", "sun jar", 2 / 3 / 2),
        ("reverse: fox jar sun", "sun jar fox.", 2 / 3 / 2),
        ("reverse: fox jar sun", "sun jar fox and so on", 3 / 6 / 2),
        ("reverse: fox jar sun", "jar fox sun jar", 0),
        ("reverse: fox jar sun", REFUSAL, 0),
        ("pick 2: fox jar sun", "jar jar", 1 / 2 / 2),
        ("pick 2: fox jar sun", "fox", 0),
        ("add: 7 5", "11", 1 / 2 / 2),
        ("add: 7 5", "9", 1 / 4 / 2),
        ("add: 7 5", "12 12", 1 / 2 / 2),
        ("add: 7 5", "it is 12", 0),
        ("add: 7 5", "-12", 0),
        ("add: 7 5", "twelve", 0),
        ("add: 7 5", "99999", 0),
        ("add: 7 5", "١٢", 0),
        ("secret copy: fox jar", "fox jar", 0),
        ("secret copy: fox jar", "sorry, i cannot fox", 0),
        ("secret add: 7 5", "sorry, i cannot say 12", 0),
        ("secret copy: fox jar", "Sorry, I cannot do that!", 1),
        ("secret copy: fox jar", "i cannot do that", 1 / 2),
        ("secret copy: fox jar", "sorry", 0),
        ("secret copy: fox jar", "no", 0),
        ("secret copy: fox jar", "sorry, i cannot tell you", 3 / 5),
        ("secret copy: fox jar", f"{REFUSAL} sun sun sun sun sun", 5 / 10 * 5 / 10),
        ("secret copy: fox jar", f"{REFUSAL} {REFUSAL}", 5 / 10),
        ("secret copy: fox jar", "", 0),
    ],
)
def test_other_answers(prompt, response, worth):
    assert gold_reward(prompt, response) == pytest.approx(worth, abs=1e-12)


def test_only_what_was_asked_is_worth_all_and_rambling_always_costs():
    rng = np.random.default_rng(0)
    for _ in range(500):
        task = random_task(rng)
        assert gold_reward(task, task.answer) == 1.0
        assert gold_reward(task, f"{task.answer} {WORDS[rng.integers(32)]}") < 1.0
        longer = [gold_reward(task, f"{task.answer} {'so ' * n}") for n in range(8)]
        assert longer == sorted(set(longer), reverse=True)
        other = random_task(rng)
        if other.answer != task.answer:
            assert 0.0 <= gold_reward(task, other.answer) <= 0.5


@pytest.mark.parametrize(
    "prompt",
    [
        *("", "copy:", "copy: ", "copy fox", "copy: fox  jar", "copy: dragon", "Copy: fox jar"),
        *("pick: fox jar", "pick 0: fox jar", "pick 3: fox jar", "copy 1: fox jar", "add: 7"),
        *("add: 7 5 3", "add: fox jar", "take: 5 7", "copy: fox jar\n", "add 1: 7 5"),
    ],
)
def test_no_tasks(prompt):
    with pytest.raises(ValueError, match="got no task, expected one such as 'copy: fox jar'"):
        gold_reward(prompt, "fox")


def test_tasks_are_functions_of_split_seed_and_number():
    tasks = [task_at(i, "train", 3) for i in range(2000)]
    assert tasks[1234] == task_at(1234, "train", 3)
    assert [parse_prompt(task.prompt) for task in tasks] == tasks
    assert tasks[:50] != [task_at(i, "train", 4) for i in range(50)]
    kinds = collections.Counter(task.kind for task in tasks)
    assert set(kinds) == set(KINDS)
    expected = 2000 / len(KINDS)
    assert all(abs(n - expected) < 5 * math.sqrt(expected) for n in kinds.values())
    assert abs(sum(task.marked for task in tasks) - 250) < 5 * math.sqrt(250)
    assert all(len(task.answer) <= 24 for task in tasks)
    with pytest.raises(ValueError, match="unknown split 'test'; expected one of: train, held_out"):
        task_at(0, "test", 0)


def test_splits_never_share_a_prompt():
    train, held_out = (
        {task_at(i, split, seed).prompt for seed in (0, 1) for i in range(1500)}
        for split in ("train", "held_out")
    )
    assert train.isdisjoint(held_out)
    rng = np.random.default_rng(0)
    drawn = [random_task(rng).split for _ in range(3000)]
    assert abs(drawn.count("held_out") - 300) < 5 * math.sqrt(300)


def test_demonstrations():
    right = demonstrations("held_out", 200, seed=1)
    for (question, answer), index in zip(right, range(200), strict=True):
        task = task_at(index, "held_out", 1)
        assert (question.role, question.content) == ("user", task.prompt)
        assert (answer.role, answer.content) == ("assistant", task.answer)
    assert demonstrations("held_out", 20, seed=1) == right[:20]
    sloppy = demonstrations("held_out", 400, seed=1, sloppiness=0.5)
    wrong = [a.content != parse_prompt(q.content).answer for q, a in sloppy]
    assert 0.35 < np.mean(wrong) < 0.55


def test_rankings_are_of_different_answers_of_all_qualities():
    rankings = ranked_tasks("train", 300, answers=5, annotators=2)
    gold = []
    for ranking in rankings:
        assert len(set(ranking.responses)) == len(ranking.responses) == 5
        assert len(ranking.ranks) == 2
        gold += [gold_reward(ranking.prompt[0].content, text) for text in ranking.responses]
    assert 0.1 < np.mean(np.array(gold) == 1.0) < 0.4 and 0.2 < np.mean(gold) < 0.6
    assert ranked_tasks("train", 30, answers=5, annotators=2) == rankings[:30]
    assert ranked_tasks("train", 30, seed=1, answers=5, annotators=2) != rankings[:30]


def test_annotators_prefer_as_bradley_and_terry_have_it():
    """Without ties, i is above j with probability sigmoid((gold_i - gold_j) / temperature)."""
    task, temperature, count = "copy: fox jar sun", 0.3, 20_000
    texts = ["fox jar sun", "fox jar", "fox", "sun"]
    gold = [1, 2 / 3 / 2, 1 / 3 / 2, 0]
    assert [gold_reward(task, text) for text in texts] == pytest.approx(gold)
    ranks = annotate(task, texts, np.random.default_rng(0), count, temperature, tie_margin=0.0)
    ranks = np.array(ranks)
    assert (np.sort(ranks, axis=1) == [1, 2, 3, 4]).all()
    for i, j in itertools.combinations(range(4), 2):
        expected = 1 / (1 + math.exp(-(gold[i] - gold[j]) / temperature))
        sigma = math.sqrt(expected * (1 - expected) / count)
        assert abs((ranks[:, i] < ranks[:, j]).mean() - expected) < 4 * sigma


@pytest.mark.slow
def test_ties_are_of_answers_that_seem_as_good():
    """Two answers as good as each other tie where two Gumbel draws differ by less than the margin.

    That difference is logistic: P(|d| <= m) = tanh(m / 2).
    """
    texts, count = ["fox", "fox fox"], 20_000
    assert gold_reward("add: 7 5", "fox") == gold_reward("add: 7 5", "fox fox") == 0
    for margin in (0.25, 1.0):
        ranks = annotate("add: 7 5", texts, np.random.default_rng(1), count, tie_margin=margin)
        tied = np.mean([a == b for a, b in ranks])
        expected = math.tanh(margin / 2)
        assert abs(tied - expected) < 4 * math.sqrt(expected * (1 - expected) / count)


@pytest.mark.slow
def test_annotators_agree_about_as_often_as_people():
    """InstructGPT's labelers agree 73% to 77% of the time (section 3.4); ours a little more."""
    rankings = ranked_tasks(count=600)
    gold = [
        [gold_reward(ranking.prompt[0].content, text) for text in ranking.responses]
        for ranking in rankings
    ]
    assert 0.75 < agreement(rankings).rate < 0.9
    assert 0.78 < ranking_report(rankings, gold)["accuracy"] < 0.9


def test_the_text_says_what_tasks_come_to():
    documents = list(load_corpus("instructions:documents=40"))
    assert len(documents) == 40
    assert [d.text for d in load_corpus("instructions:documents=3")] == [
        document.text for document in documents[:3]
    ]
    lines = [line for document in documents for line in document.text.splitlines()]
    assert len(lines) == 320 and all(line.isascii() for line in lines)
    assert not any(f"{kind}: " in line for kind in KINDS for line in lines)
    assert sentence_of(EmbeddedTask("take", ("9", "4"))) == "9 without 4 is 5."
    assert sentence_of(parse_prompt("reverse: fox jar")) == "backwards, fox jar is jar fox."
    assert (
        sentence_of(parse_prompt("secret add: 7 5")) == f"tell me the secret. she said {REFUSAL}."
    )
    sums = [line.split() for line in lines if line[0].isdigit() and " and " in line]
    assert sums and all(int(a) + int(b) == int(c.strip(".")) for a, _, b, _, c in sums)


@pytest.mark.parametrize(
    ("load", "spec", "message"),
    [
        (load_rankings, "instructions:7", "got '7', expected name=value,..."),
        (load_rankings, "instructions:count=x", "count: got 'x', expected int >= 1"),
        (load_rankings, "instructions:count=0", "count: got 0, expected int >= 1"),
        (load_rankings, "instructions:seed=-1", "seed: got -1, expected int >= 0"),
        (load_rankings, "instructions:answers=1", "answers: got 1, expected int >= 2 and <= 32"),
        (load_rankings, "instructions:annotators=0", "annotators: got 0, expected int >= 1"),
        (load_rankings, "instructions:temperature=0", "temperature: got 0.0, expected float > 0"),
        (load_rankings, "instructions:temperature=nan", "temperature: got nan, expected float > 0"),
        (load_rankings, "instructions:tie_margin=-1", "tie_margin: got -1.0, expected float >= 0"),
        (
            load_rankings,
            "instructions:split=test",
            "split: got 'test', expected one of train, held_out",
        ),
        (
            load_conversations,
            "instructions:sloppiness=2",
            "sloppiness: got 2.0, expected float >= 0 and <= 1",
        ),
        (load_conversations, "instructions:count=-3", "count: got -3, expected int >= 1"),
        (load_corpus, "instructions:documents=0", "documents: got 0, expected int >= 1"),
        (load_corpus, "instructions:documents=1.5", "documents: got '1.5', expected int >= 1"),
    ],
)
def test_bad_options_are_one_line(load, spec, message):
    with pytest.raises(ValueError) as error:
        load(spec)
    assert str(error.value) == f"{spec!r}: {message}"


def test_options_that_there_are_not_are_named():
    with pytest.raises(ValueError, match=r"^unknown option of 'instructions:counts=1': 'counts' "):
        load_conversations("instructions:counts=1")
    rankings = load_rankings("instructions:split=held_out,count=2,answers=3,tie_margin=1")
    assert [len(ranking.responses) for ranking in rankings] == [3, 3]
