"""Readers of comparisons and rankings: every form of a row, bad rows, and the real sets."""

import collections
import gzip
import itertools
import json

import pytest

from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.preferences import load_rankings, ranking_of, transcript
from gptjax.data.dialogue.rankings import agreement
from gptjax.data.dialogue.records import Row

PROMPT = (Message("user", "q"),)


@pytest.mark.parametrize(
    ("fields", "responses", "ranks"),
    [
        ({"chosen": "a", "rejected": "b"}, ("a", "b"), ((1, 2),)),
        ({"responses": ["a", "b", ""], "ranks": [2, 1, 2]}, ("a", "b", ""), ((2, 1, 2),)),
        ({"responses": ["a", "b"], "ranks": [[1, 2], [2, 1.5]]}, ("a", "b"), ((1, 2), (2, 1.5))),
        (
            {"responses": ["a", "b"], "annotators": {"x": [1, 2], "y": [1, 1]}},
            ("a", "b"),
            ((1, 2), (1, 1)),
        ),
    ],
)
def test_forms_of_a_row(fields, responses, ranks):
    for prompt in ("q", [{"role": "user", "content": "q"}]):
        ranking = ranking_of(Row("f:1", {"prompt": prompt, **fields}))
        assert (ranking.prompt, ranking.responses, ranking.ranks) == (PROMPT, responses, ranks)


TWO = {"responses": ["a", "b"]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {},
            "row: got fields prompt, expected 'chosen' and 'rejected', or 'responses' and 'ranks'",
        ),
        ({"chosen": "a"}, "row: got fields prompt, chosen, expected a field 'rejected'"),
        ({"chosen": "a", **TWO}, "row: got 'chosen' and 'responses', expected one form or the oth"),
        (TWO, "row: got fields prompt, responses, expected a field 'ranks'"),
        ({"responses": ["a"], "ranks": [1]}, r"ranking: got 1 answer\(s\), expected at least 2"),
        ({"responses": [], "ranks": []}, "'responses': got an empty list, expected a list that"),
        ({"responses": ["a", 3], "ranks": [1, 2]}, r"responses\[1\]: got int, expected a string"),
        (
            {**TWO, "ranks": [1, 2, 3]},
            "ranks of annotator 0: got 3 for 2 answers, expected as many",
        ),
        ({**TWO, "ranks": [[1, 2], [1]]}, "ranks of annotator 1: got 1 for 2 answers, expected as"),
        ({**TWO, "ranks": ["1", "2"]}, "ranks of annotator 0: got '1', expected finite numbers"),
        ({**TWO, "ranks": [[1, 2], 1]}, r"ranks of annotator 0: got \[1, 2\], expected finite num"),
        ({**TWO, "ranks": [1, None]}, "ranks of annotator 0: got null, expected finite numbers"),
        ({**TWO, "ranks": 1}, "'ranks': got int, expected a list that is not empty"),
        ({**TWO, "annotators": {}}, "'annotators': got {}, expected an object from names to rank"),
        ({**TWO, "annotators": {"x": 1}}, "ranks of 'x': got int, expected a list that is not em"),
        (
            {"responses": ["a", "a"], "annotators": {"x": [2, 2], "y": [1, 2]}},
            "ranks of annotator 1: got 1 and 2 for the same answer 'a', expected the same rank",
        ),
        ({**TWO, "annotators": {}, "ranks": [1, 2]}, "got 'ranks' and 'annotators', expected one"),
    ],
)
def test_bad_rows(fields, message):
    with pytest.raises(ValueError, match="^f:1: .*" + message) as caught:
        ranking_of(Row("f:1", {"prompt": "q", **fields}))
    assert "\n" not in str(caught.value)


def test_rows_whose_answers_are_the_same_are_dropped_and_counted(tmp_path):
    same = [{"chosen": "a", "rejected": "a"}, {"responses": ["b", "b"], "ranks": [1, 1]}]
    rows = [{"prompt": "q", **fields} for fields in (*same, {"chosen": "a", "rejected": "b"})]
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rankings = load_rankings(f"jsonl:{path}")
    assert [ranking.responses for ranking in rankings] == [("a", "b")]
    assert rankings.dropped == {"rankings of one and the same answer": 2}


def test_a_row_without_prompt():
    with pytest.raises(
        ValueError, match=r"^f:1: row: got fields chosen, rejected, expected a field"
    ):
        ranking_of(Row("f:1", {"chosen": "a", "rejected": "b"}))


def test_sets_are_found_by_name_and_named_in_errors(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n{"prompt": "q"}\n')
    with pytest.raises(ValueError, match=f"^{path}:2: row: got fields prompt, expected 'chosen'"):
        load_rankings(f"jsonl:{path}")
    path.write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n')
    records = load_rankings(f"jsonl:{path}")
    assert records.name == f"jsonl:{path}" and records[0].responses == ("a", "b")
    path.write_text("")
    with pytest.raises(ValueError, match="got 0 rows, expected at least one to be left"):
        load_rankings(f"jsonl:{path}")
    with pytest.raises(ValueError, match=r"unknown set of rankings 'json' \(did you mean 'jsonl'"):
        load_rankings("json:x")


def test_transcripts():
    row = Row("f:1", {"c": "\n\nHuman: a\n\nb: c\n\nAssistant:  d \n\nHuman:\n\nAssistant: "})
    assert transcript(row, "c") == (
        Message("user", "a\n\nb: c"),
        Message("assistant", "d"),
        Message("user", ""),
        Message("assistant", ""),
    )
    for text in ("Assistant: a", "\n\nHuman: a", "x\n\nHuman: a\n\nAssistant: b", ""):
        with pytest.raises(
            ValueError, match=r"'c': got .*, expected turns from a Human's to an Ass"
        ):
            transcript(Row("f:1", {"c": text}), "c")


def test_hh_pairs_without_a_common_prompt_are_dropped(tmp_path):
    def line(chosen, rejected):
        return json.dumps({"chosen": chosen, "rejected": rejected}) + "\n"

    start = "\n\nHuman: a\n\nAssistant:"
    path = tmp_path / "a.jsonl"
    path.write_text(
        line(f"{start} x", f"{start} y")
        + line(f"{start} x", "\n\nHuman: b\n\nAssistant: y")
        + line(f"{start} x", f"{start} x\n\nAssistant: y")
        + line(f"{start} x", f"{start}  x")
    )
    records = load_rankings(f"hh:{path}")
    assert [r.responses for r in records] == [("x", "y")] and list(records.dropped.values()) == [3]


def test_hh_harmless(shared_data):
    """A transcript is cut at its last Assistant, and what is before must be the same."""
    path = shared_data / "hh_harmless" / "test.jsonl.gz"
    records = load_rankings(f"hh:{path}")
    expected = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            pair = json.loads(line)
            cut = {key: text.rpartition("\n\nAssistant:") for key, text in pair.items()}
            if cut["chosen"][0].strip() == cut["rejected"][0].strip():
                expected.append((cut["chosen"][0].count("\n\nHuman:"), cut))
    assert (len(records), sum(records.dropped.values()), len(expected)) == (2307, 5, 2307)
    for ranking, (humans, cut) in zip(records, expected, strict=True):
        assert ranking.responses == (cut["chosen"][2].strip(), cut["rejected"][2].strip())
        assert sum(m.role == "user" for m in ranking.prompt) == humans
        assert ranking.prompt[-1].role == "user" and ranking.ranks == ((1, 2),)


def test_pandalm(shared_data):
    path = shared_data / "pandalm_prefs" / "testset-v1.json"
    records = load_rankings(f"pandalm:{path}")
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert len(records) == len(rows) == 999
    sides = collections.Counter()
    same = 0
    for ranking, row in zip(records, rows, strict=True):
        labels = [row[f"annotator{i}"] for i in (1, 2, 3)]
        for label, (first, second) in zip(labels, ranking.ranks, strict=True):
            assert label == (0 if first == second else 1 if first < second else 2)
            sides[label] += 1
        same += sum(a == b for a, b in itertools.combinations(labels, 2))
        assert ranking.responses == (str(row["response1"]), str(row["response2"]))
        assert ranking.prompt[0].content.startswith(row["instruction"])
        assert ranking.prompt[0].content.endswith(row["input"])
    assert sides == {1: 1255, 2: 1416, 0: 326}
    assert agreement(records).rate_with_ties == pytest.approx(same / (3 * 999), abs=1e-12)
    assert load_rankings(f"pandalm:{path.parent}").content_hash() == records.content_hash()


def test_pandalm_refuses_other_labels(tmp_path):
    row = {"instruction": "i", "input": "", "response1": "a", "response2": "b"}
    row |= {"annotator1": 1, "annotator2": 3, "annotator3": 0}
    (tmp_path / "a.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match=r"a.json#0: annotator's label: got 3, expected 0, 1 or 2"):
        load_rankings(f"pandalm:{tmp_path}")


def test_open_assistant(shared_data):
    path = shared_data / "oasst_100" / "en_100_tree.jsonl"
    records = load_rankings(f"oasst:{path}")
    sizes = collections.Counter()
    stack = [json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").splitlines()]
    while stack:
        node = stack.pop()
        ranked = sum(reply.get("rank") is not None for reply in node["replies"])
        sizes[ranked] += node["role"] == "prompter" and ranked > 1
        stack += node["replies"]
    assert collections.Counter(len(r.responses) for r in records) == +sizes
    assert len(records) == sum(sizes.values()) == 212
    for ranking in records:
        assert ranking.prompt[-1].role == "user"
        assert sorted(ranking.ranks[0]) == list(range(len(ranking.responses)))


def test_instructions():
    records = load_rankings("instructions:count=20,answers=5,annotators=2")
    assert len(records) == 20 and {len(r.responses) for r in records} == {5}
    assert {len(r.ranks) for r in records} == {2}
