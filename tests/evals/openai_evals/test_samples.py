"""Where samples are, in which order they are asked, and how a prompt becomes text."""

import gzip
import json
import random

import pytest
import zstandard

from gptjax.evals.openai_evals import prompts, samples

ROWS = [{"input": "é", "ideal": "1"}, {"input": "b", "ideal": ["2", "3"]}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


@pytest.mark.parametrize(
    ("name", "compress"),
    [("a.jsonl", bytes), ("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.compress)],
    ids=["plain", "gz", "zst"],
)
def test_a_file_is_read_by_its_ending(tmp_path, name, compress):
    (tmp_path / name).write_bytes(compress(LINES))
    assert samples.read(tmp_path / name) == ROWS


def test_a_folder_is_read_whole(tmp_path):
    for name in ("b/two.jsonl", "a.jsonl", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f'"{name}"\n')
    assert samples.read(tmp_path) == ["a.jsonl", "b/two.jsonl"]


def test_a_file_from_here_comes_before_that_of_the_registry(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry" / "data").mkdir(parents=True)
    (tmp_path / "registry" / "data" / "x.jsonl").write_text("1\n")
    root = tmp_path / "registry"
    assert samples.read(samples.located("x.jsonl", root)) == [1]
    (tmp_path / "x.jsonl").write_text("2\n")
    assert samples.read(samples.located("x.jsonl", root)) == [2]
    with pytest.raises(ValueError, match=r"got neither a file of that path nor .*data/y.jsonl"):
        samples.located("y.jsonl", root)
    with pytest.raises(ValueError, match="got a remote file, expected one on this machine"):
        samples.located("gs://bucket/y.jsonl", root)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '1\n{"a": \n', "line 2: .*, expected JSON"),
        ("a.jsonl", "version https://git-lfs.github.com/spec/v1\n", "got a pointer of Git LFS"),
        ("a.jsonl.lz4", "", "got lz4, expected a file that is plain, .gz or .zst"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=said):
        samples.read(tmp_path / name)


def test_samples_are_shuffled_and_then_cut():
    expected = list(range(7))
    random.Random(123).shuffle(expected)
    assert samples.order(7) == expected != sorted(expected)
    assert samples.order(7, 3) == expected[:3] and samples.order(7, 9) == expected
    made = samples.draws("base", "dev", 4, 9).random()
    assert made == random.Random(b"base.dev.4:9").random()


CHAT = [
    {"role": "system", "content": "Add."},
    {"role": "system", "name": "example_user", "content": "1+1"},
    {"role": "system", "name": "example_assistant", "content": "2"},
    {"role": "user", "content": "2+{x}"},
]


def test_a_chat_as_text():
    """The format's own rule: prefixes for who speaks, none for a system or a single message."""
    lines = "Add.\nUser: 1+1\nAssistant: 2\nUser: 2+{x}\n"
    assert prompts.as_text(CHAT) == f"{lines}Assistant:"
    assert prompts.as_text(CHAT, for_completion=False) == lines
    assert prompts.as_text(CHAT[3:]) == "2+{x}" and prompts.as_text("as it is") == "as it is"
    assert prompts.as_chat("Say.") == [{"role": "system", "content": "Say."}]
    assert [prompts.speaker(each) for each in CHAT] == ["system", "user", "assistant", "user"]


def test_a_template_is_filled_and_escaped_braces_come_back():
    assert prompts.filled(prompts.escaped(CHAT), {}) == CHAT
    assert prompts.filled("{a} of {n}: {chat}", {"a": "{b}", "n": 2, "chat": CHAT[3:]}) == (
        "{b} of 2: 2+{x}"
    )
    with pytest.raises(ValueError, match="got no value for 'b', expected one of: a"):
        prompts.filled("{a} {b}", {"a": 1})
    with pytest.raises(ValueError, match=r"expected fields as {name}"):
        prompts.filled("{a", {"a": 1})


@pytest.mark.parametrize("prompt", [3, [], ["text"], [{"role": "user"}], [{"content": "x"}]])
def test_what_is_no_prompt_is_refused(prompt):
    with pytest.raises(ValueError, match=r"here: got .*, expected"):
        prompts.checked(prompt, "here")
