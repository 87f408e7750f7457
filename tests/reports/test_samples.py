"""The page of samples, read back by Python's own HTML parser."""

import html.parser

import pytest

from gptjax.data.dialogue.chat_format import Message
from gptjax.reports.samples import Sample, samples_page, write_samples

VOID = {"meta"}
FORGED = '</div><script>alert("x")</script><img src=x onerror=alert(1)>&amp;'


class Reader(html.parser.HTMLParser):
    """What a browser would make of a page: tags in order, properly nested, and text by class."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs).get("class")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.append((self.open[-1][1] or self.open[-1][0], data))

    def of(self, name):
        return [text for where, text in self.texts if where == name]


def page(**systems):
    prompts = [(Message("user", f"one {FORGED}"),), (Message("system", "s"), Message("user", "2"))]
    return samples_page(prompts, systems, title=f"t {FORGED}", note="how")


def test_everything_is_there_as_text_and_nothing_written_becomes_markup():
    read = Reader(
        page(
            sft=[Sample(FORGED, {"gold": 0.5, "length": -3}), Sample(" \n", {"gold": 0})],
            **{"ppo<b>": [Sample("  a\n  b", {"gold": 1.0}, finished=False), Sample("c")]},
        )
    )
    tags = {tag for tag, _ in read.tags}
    assert not tags & {"script", "img", "link", "iframe", "b"}
    loaded = [a for _, attributes in read.tags for a in attributes if a in ("src", "href")]
    assert loaded == [] and "url(" not in page(a=[Sample("x")] * 2)
    assert read.of("title") == read.of("h1") == [f"t {FORGED}"]
    assert read.of("prompt") == [f"one {FORGED}", "s", "2"]
    assert read.of("role") == ["user", "system", "user"]
    assert read.of("system") == ["sft", "ppo<b>"] * 2
    assert read.of("answer") == [FORGED, "  a\n  b", "c"]
    assert read.of("nothing") == ["cut off: the turn was not ended", "nothing"]
    assert [" ".join(text.split()) for text in read.of("rewards")] == [
        "gold 0.500 · length -3.000",
        "gold 1.000",
        "gold 0.000",
    ]
    assert read.of("td") == ["sft", "0.250", "-3.000", "ppo<b>", "1.000"]


def test_the_highest_first_reward_is_marked_unless_all_are_equal():
    def best(*rewards):
        systems = {f"s{i}": [Sample("x", {"r": r})] * 2 for i, r in enumerate(rewards)}
        marked = [attrs for tag, attrs in Reader(page(**systems)).tags if tag == "article"]
        return [i for i, attrs in enumerate(marked[: len(rewards)]) if attrs.get("class") == "best"]

    assert best(0.1, 0.9, 0.3) == [1]
    assert best(0.9, 0.9, 0.3) == [0, 1]
    assert best(0.5, 0.5) == []


def test_it_is_written_in_utf8(tmp_path):
    write_samples(
        tmp_path / "a.html", [(Message("user", "é"),)], {"a": [Sample("日本")]}, title="x"
    )
    assert "日本" in (tmp_path / "a.html").read_bytes().decode()


def test_a_system_that_lacks_an_answer_is_named():
    with pytest.raises(ValueError, match="samples of 'sft': got 1, expected 2, one for each promp"):
        page(sft=[Sample("x")])
