"""What the page reads and shows: events that are cut, Markdown, and what must never run."""

import pytest

pytestmark = pytest.mark.slow

PIECES = """async ([text]) => {
  const { EventReader } = await import(new URL("page/sse.js", document.baseURI));
  const found = [];
  for (let at = 0; at <= text.length; at++) {
    const reader = new EventReader();
    const parts = [text.slice(0, at), text.slice(at)];
    found.push([...parts.flatMap((part) => reader.push(part)), ...reader.end()]);
  }
  return found;
}"""
INLINE = [
    ("a * b * c and snake_case_name", "a * b * c and snake_case_name", []),
    ("***both*** and **bold *it* end**", "both and bold it end", ["strong", "em"] * 2),
    ("`a``b` and ``c`d``", "a``b and c`d", ["code", "code"]),
    (r"\*plain\* and <b>", "*plain* and <b>", []),
    ("**open and `open", "**open and `open", []),
    ("one\ntwo", "one\ntwo", ["br"]),
    ("see (https://a.org/b_c_d).", "see (https://a.org/b_c_d).", ["a"]),
    ("~~no~~ 2 ** 3 ** 4 * 5", "no 2 ** 3 ** 4 * 5", ["del"]),
    ('[a](https://a.org "t") [b](//a.org)', "a [b](//a.org)", ["a"]),
]


def test_an_event_may_be_cut_anywhere(walk):
    text = (
        'data: {"a": "b"}\r\n\r\n: ping\n\ndata:x\ndata: y\n\nevent: e\n\ndata: [DONE]\n\ndata: end'
    )
    for found in walk.page.evaluate(PIECES, [text]):
        assert found == ['{"a": "b"}', "x\ny", "[DONE]", "end"]


def test_nothing_that_a_model_writes_runs(walk):
    page = walk.page
    walk.ask("attack")
    assert page.evaluate("window.ran") is None
    prose = page.locator(".turn.assistant .prose")
    assert prose.locator("script, img, svg, iframe, b, i").count() == 0
    addresses = prose.locator("a").evaluate_all("a => a.map((one) => [one.href, one.rel])")
    rel = "noopener noreferrer nofollow"
    assert addresses == [["https://example.org/a", rel], ["https://example.org/b", rel]]
    assert "<script>window.ran = 'fence'</script>" in prose.locator("pre").inner_text()
    assert "[click](javascript:window.ran='link')" in prose.inner_text()
    walk.last("[data-tokens]").click()
    assert page.evaluate("window.ran") is None
    page.evaluate("document.querySelector('.turn').outerHTML.length")
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.querySelector('.turn').innerHTML = '<b>x</b>'")
    walk.problems.clear()  # the browser's own word of the refusal


def test_markdown_is_what_it_says(walk):
    walk.ask("markdown")
    prose = walk.page.locator(".turn.assistant .prose")
    tags = prose.evaluate("e => [...e.children].map((one) => one.tagName.toLowerCase())")
    assert tags == ["h4", "p", "ol", "blockquote", "div", "div", "p"]
    assert prose.locator("ol > li").count() == 3
    assert prose.locator("ol > li > ul > li").all_text_contents() == [
        "the likely ones",
        "and the others",
    ]
    assert prose.locator("strong").first.inner_text() == "one token at a time"
    assert prose.locator("em").inner_text() == "probabilities"
    assert prose.locator("pre").inner_text().splitlines()[1].startswith("    token = draw")
    assert prose.locator("tbody tr").count() == 2
    assert prose.locator("td.align-right").all_text_contents() == ["0", "0.7"]


def test_inline_markdown(walk):
    found = walk.page.evaluate(
        """async (texts) => {
          const { markdown } = await import(new URL("page/markdown.js", document.baseURI));
          return texts.map((text) => {
            const box = document.createElement("div");
            document.body.append(box);
            box.append(markdown(text));
            return [box.innerText, [...box.querySelectorAll("p *")].map((one) => one.localName)];
          });
        }""",
        [text for text, _, _ in INLINE],
    )
    assert found == [[shown, tags] for _, shown, tags in INLINE]


def test_a_growing_text_ends_as_the_whole_one(walk):
    """What is shown at the end does not depend on how the text came."""
    same = walk.page.evaluate(
        """async () => {
          const address = new URL("page/markdown.js", document.baseURI);
          const { GrowingMarkdown, markdown } = await import(address);
          const text = "# A\\n\\none\\n\\n```\\ncode\\n\\nmore\\n```\\n\\n- x\\n- y\\n\\nend";
          const box = document.createElement("div"), whole = document.createElement("div");
          const growing = new GrowingMarkdown(box);
          for (let at = 1; at <= text.length; at++) growing.update(text.slice(0, at));
          whole.append(markdown(text));
          const grown = box.isEqualNode(whole);
          growing.finish(text);
          return [grown, box.isEqualNode(whole)];
        }"""
    )
    assert same == [True, True]
