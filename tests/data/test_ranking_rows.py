"""Batches of rankings and of prompts, by hand and put together again from their parts."""

import dataclasses

import numpy as np
import pytest

from gptjax.data.batches.ranking_rows import ranking_rows
from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.data.dialogue.instructions_sets import ranked_tasks
from gptjax.data.dialogue.prompts import PromptRows, load_prompts, prompt_rows
from gptjax.data.dialogue.rankings import Ranking
from gptjax.data.dialogue.records import Records
from gptjax.tokenization import load_tokenizer

USER, ASSISTANT, END, PAD = 257, 258, 259, 260
LIMITS = {"max_prompt_tokens": 50, "max_answer_tokens": 30}


@pytest.fixture(scope="module")
def template():
    return ChatTemplate(load_tokenizer("chat:bytes"))


def ranking(prompt, responses, *ranks):
    return Ranking((Message("user", prompt),), responses, ranks)


THREE = ranking("q", ("aa", "", "b"), (3, 1, 1), (10, 20, 5.5))
TWO = ranking("no", ("x", "yz"), (1, 2))


def test_a_batch_by_hand(template):
    rows = ranking_rows(Records("s", (THREE, TWO)), template, **LIMITS)
    batch = rows.batch(np.array([1, 2, 0]))
    q, a, b, n, o, x, y, z = b"qabnoxyz"
    start, other = [USER, q, END, ASSISTANT], [USER, n, o, END, ASSISTANT]
    assert batch["tokens"].tolist() == [
        [[*other, x, END, PAD], [*other, y, z, END], [PAD] * 8],
        [[PAD] * 8] * 3,
        [[*start, a, a, END, PAD], [*start, END, *[PAD] * 3], [*start, b, END, PAD, PAD]],
    ]
    assert batch["lengths"].tolist() == [[7, 8, 0], [0, 0, 0], [7, 5, 6]]
    assert batch["num_answers"].tolist() == [2, 0, 3]
    assert batch["preferred"].tolist() == [
        [[0, 1, 0], [0, 0, 0], [0, 0, 0]],
        [[0] * 3] * 3,
        [[0, 0.5, 0], [0.5, 0, 0], [1, 0.5, 0]],
    ]
    assert batch.keys() == {"tokens", "lengths", "num_answers", "preferred"}
    for key, values in batch.items():
        assert values.dtype == (np.float32 if key == "preferred" else np.int32), key


def test_a_shared_prompt_and_its_answers_are_the_whole(template):
    rankings = Records("s", (*ranked_tasks(count=15, answers=3), *ranked_tasks(count=5, answers=5)))
    whole = ranking_rows(rankings, template, **LIMITS)
    shared = ranking_rows(rankings, template, **LIMITS, share_prompts=True)
    order = np.array([7, 999, *range(len(whole))])
    a, b = whole.batch(order), shared.batch(order)
    for key in ("num_answers", "preferred"):
        np.testing.assert_array_equal(a[key], b[key])
    assert {"tokens", "lengths"}.isdisjoint(b) and {"prompts", "answers"}.isdisjoint(a)
    for row, index in enumerate(order.tolist()):
        prompt = b["prompts"][row, : b["prompt_lengths"][row]].tolist()
        for k in range(a["tokens"].shape[1]):
            answer = b["answers"][row, k, : b["answer_lengths"][row, k]].tolist()
            text = [*prompt, *answer] if answer else []
            assert a["tokens"][row, k, : a["lengths"][row, k]].tolist() == text
            assert (a["tokens"][row, k, a["lengths"][row, k] :] == PAD).all()
            if index < len(whole) and k < b["num_answers"][row]:
                assert template.response(answer) == (whole.rankings[index].responses[k], True)


class Counted(tuple):
    """A tuple that counts how often it is walked through."""

    walks = 0

    def __iter__(self):
        Counted.walks += 1
        return super().__iter__()


@pytest.mark.parametrize("share_prompts", [False, True])
def test_a_batch_looks_at_its_own_rows_alone(template, share_prompts):
    rankings = Records("s", (*ranked_tasks(count=30, answers=3), THREE))
    rows = ranking_rows(rankings, template, **LIMITS, share_prompts=share_prompts)
    rows = dataclasses.replace(rows, prompts=Counted(rows.prompts), answers=Counted(rows.answers))
    first = rows.batch(np.array([0]))
    Counted.walks = 0
    for _ in range(3):
        assert rows.batch(np.array([0])).keys() == first.keys()
    assert Counted.walks == 0
    prompts = PromptRows(Records("s", ((Message("user", "q"),),)), PAD, Counted(rows.prompts))
    prompts.batch(np.array([0]))
    Counted.walks = 0
    prompts.batch(np.array([0]))
    assert Counted.walks == 0


def test_what_is_dropped_is_counted(template):
    tied = ranking("q", ("a", "b"), (1, 1), (2, 2))
    long_prompt, long_answer = (
        ranking("q" * 9, ("a", "b"), (1, 2)),
        ranking("q", ("a" * 9, ""), (1, 2)),
    )
    records = Records("s", (TWO, tied, long_prompt, long_answer, THREE, tied))
    rows = ranking_rows(records, template, max_prompt_tokens=11, max_answer_tokens=9)
    assert [r.responses for r in rows.rankings] == [TWO.responses, THREE.responses]
    assert rows.rankings.dropped == {
        "rankings with nothing but ties": 2,
        "prompts longer than 11 tokens": 1,
        "answers longer than 9 tokens": 1,
    }
    assert len(ranking_rows(records, template, max_prompt_tokens=12, max_answer_tokens=10)) == 4
    few = ranking_rows(records, template, max_prompt_tokens=11, max_answer_tokens=9, max_answers=2)
    assert few.rankings.dropped["rankings of more than 2 answers"] == 1
    assert [r.responses for r in few.rankings] == [TWO.responses]
    with pytest.raises(
        ValueError, match=r"^'s': got none of 6 .*, expected at least one to be left"
    ):
        ranking_rows(records, template, max_prompt_tokens=3, max_answer_tokens=9)


def test_prompts_of_every_kind_of_set(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"prompt": "q"}\n{"messages": [{"role": "user", "content": "q"}]}\n'
        '{"prompt": "r", "response": "a"}\n{"prompt": "q", "chosen": "a", "rejected": "b"}\n'
    )
    prompts = load_prompts(f"jsonl:{path}")
    assert [p[0].content for p in prompts] == ["q", "r"]
    assert prompts.dropped == {"prompts that came before": 2}
    tasks = load_prompts("instructions:count=30")
    assert len(tasks) + sum(tasks.dropped.values()) == 30
    assert all(len(prompt) == 1 and prompt[0].role == "user" for prompt in tasks)
    with pytest.raises(
        ValueError, match=r"unknown set of prompts 'hhh' .*expected one of: jsonl, do"
    ):
        load_prompts("hhh:x")


def test_prompts_of_rankings(shared_data):
    prompts = load_prompts(f"hh:{shared_data}/hh_harmless/test.jsonl.gz")
    assert len(prompts) + sum(prompts.dropped.values()) == 2312
    assert len(set(prompts)) == len(prompts)


def test_batches_of_prompts(template):
    prompts = Records("s", tuple((Message("user", text),) for text in ("a", "bcd", "toolong")))
    rows = prompt_rows(prompts, template, max_prompt_tokens=6)
    assert (len(rows), rows.prompts.dropped) == (2, {"prompts longer than 6 tokens": 1})
    batch = rows.batch(np.array([1, 9, 0]))
    a, b, c, d = b"abcd"
    assert batch["tokens"].tolist() == [
        [USER, b, c, d, END, ASSISTANT],
        [PAD] * 6,
        [USER, a, END, ASSISTANT, PAD, PAD],
    ]
    assert (batch["lengths"].tolist(), batch["indices"].tolist()) == ([6, 0, 4], [1, 9, 0])
    with pytest.raises(
        ValueError, match=r"got none of 3 .3 prompts longer than 3 tokens. rows, exp"
    ):
        prompt_rows(prompts, template, max_prompt_tokens=3)
