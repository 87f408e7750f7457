"""Sets of conversations by name, and the real ones against what their files say."""

import json

import pytest

from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.conversations import load_conversations


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "q", "response": "a"}\n{"prompt": "q"}\n')
    with pytest.raises(ValueError, match=f"^{path}:2: row: got fields prompt, expected"):
        load_conversations(f"jsonl:{path}")
    path.write_text('{"prompt": "q", "response": "a"}\n')
    assert list(load_conversations(f"jsonl:{tmp_path}")) == [
        (Message("user", "q"), Message("assistant", "a"))
    ]


def test_unknown_sets_and_missing_files():
    with pytest.raises(ValueError, match=r"unknown set of conversations 'doly' \(did you mean 'do"):
        load_conversations("doly:x")
    with pytest.raises(ValueError, match=r"'chats.jsonl' \(did you mean 'jsonl:chats.jsonl'\?\)"):
        load_conversations("chats.jsonl")
    with pytest.raises(ValueError, match="no files at '/nowhere'"):
        load_conversations("dolly:/nowhere")


def test_dolly(shared_data):
    path = shared_data / "dolly_hhrlhf_small" / "dolly_hhrlhf_train_small.jsonl"
    records = load_conversations(f"dolly:{path.parent}")
    rows = lines(path)
    assert len(records) == len(rows) == 1000
    for (question, answer), row in zip(records, rows, strict=True):
        _, _, rest = row["prompt"].partition("### Instruction:\n")
        assert question == Message("user", rest.rpartition("\n\n### Response:\n")[0])
        assert answer == Message("assistant", row["response"])
    assert records[0][0].content == "what is kangen water?"


def test_dolly_without_its_wrapper_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "q", "response": "a"}\n')
    with pytest.raises(
        ValueError, match=r"a.jsonl:1: 'prompt': got 'q'..., expected Alpaca's wrap"
    ):
        load_conversations(f"dolly:{tmp_path}")


def test_self_instruct(shared_data):
    folder = shared_data / "self_instruct"
    seeds, users = (
        load_conversations(f"self_instruct:{folder}/{name}.jsonl")
        for name in ("seed_tasks", "user_oriented_instructions")
    )
    assert (len(seeds), len(users)) == (175, 252)
    assert len(load_conversations(f"self_instruct:{folder}")) == 427
    rows = lines(folder / "seed_tasks.jsonl")
    instances = [(row["instruction"], one) for row in rows for one in row["instances"]]
    for (question, answer), (instruction, one) in zip(seeds, instances, strict=True):
        separator = "\n\n" if one["input"] else ""
        assert question.content == instruction + separator + one["input"]
        assert answer.content == one["output"]


def test_self_instruct_names_a_bad_instance(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"instruction": "i", "instances": [{"input": "x"}]}\n')
    with pytest.raises(ValueError, match=r"a.jsonl:1: instances\[0\]: row: got fields input, expe"):
        load_conversations(f"self_instruct:{tmp_path}")


def test_open_assistant(shared_data):
    folder = shared_data / "oasst_100"
    records = load_conversations(f"oasst:{folder}/en_100_tree.jsonl")
    other_form = load_conversations(f"oasst:{folder}/en_100_message.jsonl")
    assert records.content_hash() == other_form.content_hash()

    def threads(node, path):
        """All paths to an assistant's message that nothing worth keeping goes on from."""
        path = [*path, node]
        below = [found for reply in node["replies"] for found in threads(reply, path)]
        answers = path[-2]["replies"] if node["role"] == "assistant" else [None]
        is_best = node is sorted(answers, key=lambda a: (a or {}).get("rank", 99))[0]
        return below or ([[n["text"] for n in path]] if is_best else [])

    trees = [row["prompt"] for row in lines(folder / "en_100_tree.jsonl")]
    expected = [thread for tree in trees for thread in threads(tree, [])]
    found = [[message.content for message in conversation] for conversation in records]
    assert found == expected and len(found) == 207
    assert all(conversation[-1].role == "assistant" for conversation in records)


def test_instructions():
    assert len(load_conversations("instructions:count=7")) == 7
    with pytest.raises(ValueError, match=r"option of 'instructions:cuont=7': 'cuont' \(did you"):
        load_conversations("instructions:cuont=7")
