"""Comparisons, rankings and ratings on the page; what is stored; phones; what axe-core finds."""

import json
import os
from pathlib import Path

import pytest

from tests.serving.page.conftest import PHONE

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]

STORED = """(record) => new Promise((resolve) => {
  const open = indexedDB.open("gptjax", 1), name = "conversations";
  open.onsuccess = () => {
    const table = open.result.transaction(name, "readwrite").objectStore(name);
    const done = record ? table.put(record) : table.getAll();
    done.onsuccess = () => { open.result.close(); resolve(done.result); };
  };
})"""
TARGETS = """() => [...document.querySelectorAll("button, a, select, input, textarea, summary")]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest("[inert]"))
  .filter((one) => !one.matches(".visually-hidden, .skip, .prose a, .switch, [type=range]"))
  .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
  .filter(([, box]) => box.height < 40).map(([html]) => html)"""


def compared(walk, models, anonymous=True):
    """Asks some models one prompt; returns when all have answered."""
    page = walk.page
    page.wait_for_selector(".setup")
    if page.is_checked("#compare-anonymous") != anonymous:
        page.click("label[for=compare-anonymous]")
    for number, model in enumerate(models, 1):
        if page.locator(f"[aria-label='Model {number}']").count() == 0:
            page.click(".setup .button:has-text('Add')")
        page.select_option(f"[aria-label='Model {number}']", model)
    page.fill("#compare-prompt", "Say something")
    page.click("button:has-text('Ask all')")
    page.wait_for_selector("button:has-text('Ask all')")
    return page.locator("article.reply")


def kept(walk):
    walk.page.click("text=Keep the ranking")
    walk.page.wait_for_selector("text=The ranking is kept.")
    return walk.stub.asked("/feedback/rankings")[-1]


def test_replies_are_ranked_by_keys_with_ties_and_flags(start):
    walk = start("/#/compare")
    page = walk.page
    cards = compared(walk, ["tiny-chat", "wide-chat", "tiny-chat"], anonymous=False)
    assert cards.count() == 3
    assert page.locator(".card-name strong").all_inner_texts() == [
        "tiny-chat",
        "wide-chat",
        "tiny-chat",
    ]
    assert page.is_disabled("text=Keep the ranking")
    for card, key in ((0, "3"), (1, "1"), (2, "3")):
        cards.nth(card).focus()
        page.keyboard.press(key)
    page.click("label[for='flag-A-harmful-true']")
    page.focus("#flag-B-follows_instruction-null")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    ranking = kept(walk)
    assert ranking["ranks"] == [2, 1, 2]
    assert ranking["labels"][0] == {
        "follows_instruction": None,
        "harmful": True,
        "hallucination": None,
    }
    assert ranking["labels"][1]["follows_instruction"] is True
    assert ranking["prompt"] == [{"role": "user", "content": "Say something"}]
    assert [reply["model"] for reply in ranking["replies"]] == [
        "tiny-chat",
        "wide-chat",
        "tiny-chat",
    ]
    assert ranking["replies"][1]["text"].startswith("Reply")
    assert ranking["replies"][1]["policy"] == "temperature=0.7"
    assert ranking["anonymous"] is False
    page.click("text=Next prompt")
    assert page.input_value("#compare-prompt") == ""


def test_names_are_hidden_until_the_ranking_is_kept(start):
    walk = start("/#/compare")
    page = walk.page
    page.evaluate("Math.random = () => 0")  # the order is then known: the last comes first
    compared(walk, ["tiny-chat", "wide-chat"])
    results = page.locator(".results")
    assert "Name hidden" in results.inner_text()
    shown = page.evaluate("document.querySelector('.results').cloneNode(true).outerHTML")
    for text in page.locator(".reply .prose").all_inner_texts():
        shown = shown.replace(text, "")  # the stub says its name
    assert "wide-chat" not in shown and "temperature=" not in shown
    for letter, keys in (("A", ["2"]), ("B", ["ArrowLeft", "ArrowLeft"])):
        page.focus(f".chip:text-is('{letter}')")
        for key in keys:
            page.keyboard.press(key)
    ranking = kept(walk)
    assert ranking["ranks"] == [2, 1] and ranking["anonymous"] is True
    assert [reply["model"] for reply in ranking["replies"]] == ["wide-chat", "tiny-chat"]
    names = results.locator(".card-name strong").all_inner_texts()
    assert names == ["wide-chat", "tiny-chat"]


@pytest.mark.parametrize("size", [{"width": 1280, "height": 820}, PHONE])
def test_replies_are_ranked_by_dragging(start, size):
    walk = start("/#/compare", viewport=size)
    page = walk.page
    compared(walk, ["tiny-chat", "wide-chat"])
    page.locator(".board").scroll_into_view_if_needed()
    for letter, rank in (("A", 2), ("B", 1)):
        chip = page.locator(f".chip:text-is('{letter}')").bounding_box()
        slot = page.locator(f".slot[data-rank='{rank}']").bounding_box()
        page.mouse.move(chip["x"] + 20, chip["y"] + 20)
        page.mouse.down()
        page.mouse.move(slot["x"] + 60, slot["y"] + 30, steps=4)
        page.mouse.up()
    assert page.inner_text(".slot[data-rank='1'] .slot-chips") == "B"
    assert kept(walk)["ranks"] == [2, 1]


def test_a_stopped_comparison_is_not_ranked(start):
    walk = start("/#/compare")
    page = walk.page
    page.wait_for_selector(".setup")
    page.select_option("[aria-label='Model 2']", "slow-chat")
    page.fill("#compare-prompt", "hello")
    page.keyboard.press("Enter")
    page.wait_for_selector("button:has-text('Stop')")
    page.wait_for_selector(".reply[aria-busy=false]")
    page.keyboard.press("Escape")
    page.wait_for_selector(".card-notes:has-text('Stopped.')")
    assert walk.stub.stopped.wait(10)
    assert page.is_disabled("text=Keep the ranking")
    walk.stub.go_on()
    page.click(".card-notes button")
    page.wait_for_selector("text=2 still without a rank.")


def test_a_turn_is_compared_with_what_was_said_before(walk):
    page = walk.page
    walk.ask("One")
    walk.ask("Two")
    page.locator("[aria-label='Compare models on this message']").nth(1).click()
    assert "With 2 earlier messages" in page.inner_text("#compare-before")
    page.click("button:has-text('Ask all')")
    page.wait_for_selector(".reply[aria-busy=false] .prose p")
    roles = [message["role"] for message in walk.bodies()[-1]["messages"]]
    assert roles == ["user", "assistant", "user"]
    walk.stub.go_on()
    page.click("nav >> text=Chat")
    assert page.locator(".turn").count() == 4


def test_feedback_that_is_off_says_so(start, page_stub):
    page_stub.feedback = False
    walk = start()
    page = walk.page
    walk.ask("hello")
    thumb = walk.last("[aria-label^='A good reply']")
    assert "feedback is off on this server" in thumb.get_attribute("aria-label")
    thumb.press("Enter")
    page.wait_for_selector("text=Votes are not kept: feedback is off")
    page.goto(walk.stub.url + "/#/compare")
    compared(walk, ["tiny-chat", "wide-chat"])
    assert "feedback is off on this server" in page.inner_text(".submit")
    page.click("text=Show the names")
    assert page.locator(".card-name strong").count() == 2
    page.goto(walk.stub.url + "/#/ratings")
    page.wait_for_selector("text=There are no ratings: feedback is off on this server.")


def test_ratings_are_a_table_with_intervals(start):
    walk = start("/#/ratings")
    page = walk.page
    page.wait_for_selector(".plot")
    assert page.locator(".ratings tbody th").first.inner_text() == "wide-chat (best_of=4)"
    row = page.locator(".ratings tbody tr").first.inner_text()
    assert "1108" in row and "1061 to 1157" in row and "61" in row
    centres = page.locator(".plot circle").evaluate_all("c => c.map((e) => e.cx.baseVal.value)")
    ends = page.locator(".plot line:first-of-type").evaluate_all(
        "l => l.map((e) => [e.x1.baseVal.value, e.x2.baseVal.value])"
    )
    assert centres == sorted(centres, reverse=True)
    assert all(low < centre < high for centre, (low, high) in zip(centres, ends, strict=True))
    assert min(low for low, _ in ends) == 8 and max(high for _, high in ends) == 252


def test_conversations_are_exported_and_imported(start, tmp_path):
    walk = start()
    page = walk.page
    walk.ask("To be kept 🙂")
    walk.last("[aria-label='Another reply']").click()
    page.wait_for_selector("text=2 / 2")
    walk.replied(2)
    with page.expect_download() as download:
        page.click("#export")
    path = tmp_path / "export.json"
    download.value.save_as(path)
    data = json.loads(path.read_text())
    assert data["format"] == "gptjax-conversations" and data["version"] == 1

    broken = json.loads(path.read_text())["conversations"][0]
    broken["turns"]["root"]["children"] = ["none"]
    data["conversations"].append(broken)
    path.write_text(json.dumps(data))
    other = start()
    other.page.set_input_files("#import-file", path)
    other.page.wait_for_selector("text=1 conversation imported.")
    notices = other.page.inner_text("#notices")
    assert "Conversation 2: turn root has a child that there is not." in notices
    other.page.click("#conversations a")
    other.page.wait_for_selector(".turn")
    assert other.page.inner_text(".turn.assistant .switcher-text") == "2 / 2"
    assert other.page.locator(".turn.user").inner_text() == "To be kept 🙂"
    other.page.set_input_files("#import-file", path)  # the same again changes nothing
    other.page.wait_for_selector("text=0 conversations imported.")
    assert other.page.locator("#conversations li").count() == 1
    path.write_text('{"format": "other"}')
    other.page.set_input_files("#import-file", path)
    other.page.wait_for_selector("text=Nothing was imported: The file is no export")


def test_broken_storage_does_not_break_the_page(walk):
    page = walk.page
    walk.ask("A good one")
    for record in ({"id": "bad", "format": 1}, {"id": "new", "format": 9, "turns": {}}):
        page.evaluate(STORED, record)
    page.evaluate(
        "for (const name of ['settings', 'model', 'theme', 'columns'])"
        "localStorage['gptjax.' + name] = '{x'"
    )
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert "2 stored conversations could not be read" in page.inner_text("#notices")
    assert page.locator("#conversations li").count() == 1
    assert "Reply" in walk.ask("Still there?")
    assert len(page.evaluate(STORED, None)) == 3  # nothing was thrown away


def test_a_browser_that_keeps_nothing_still_chats(browser, page_stub):
    page_stub.reset()
    context = browser.new_context()
    context.add_init_script(
        "for (const n of ['indexedDB', 'localStorage', 'sessionStorage'])"
        "Object.defineProperty(window, n, { get() { throw new DOMException('denied'); } });"
    )
    page = context.new_page()
    page.goto(page_stub.url)
    page.wait_for_selector("text=This browser keeps no conversations: denied")
    page.fill("#draft", "hello")
    page.press("#draft", "Enter")
    page.wait_for_selector("text=Reply 1")
    context.close()


def test_conversations_are_renamed_and_deleted(walk):
    page = walk.page
    walk.ask("Old name")
    page.click("#conversations summary")
    page.click("text=Rename")
    page.fill("#ask-input", "New name")
    page.keyboard.press("Enter")
    page.wait_for_selector("#conversations a:has-text('New name')")
    page.click("#conversations summary")
    page.click("#conversations >> text=Give as feedback")
    page.wait_for_selector("text=The conversation is kept on the server.")
    (given,) = walk.stub.asked("/feedback/conversations")
    assert [message["role"] for message in given["messages"]] == ["user", "assistant"]
    page.click("#conversations summary")
    page.click("text=Delete")
    page.click("#ask >> text=Cancel")
    assert page.locator("#conversations li").count() == 1
    page.click("#conversations summary")
    page.click("#conversations >> text=Delete")
    page.click("#ask .primary")
    page.wait_for_selector("#conversations-empty:not([hidden])")
    assert page.evaluate(STORED, None) == []


def test_two_tabs_show_the_same(walk):
    walk.ask("hello")
    other = walk.page.context.new_page()
    other.goto(walk.page.url)
    other.wait_for_selector(".turn")
    walk.ask("more")
    other.wait_for_selector(".turn:nth-child(4)")


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_has_room_for_everything(start, width):
    walk = start(viewport={"width": width, "height": 700}, has_touch=True, is_mobile=True)
    page = walk.page
    walk.ask("markdown")
    walk.last("[data-tokens]").tap()
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert not page.evaluate(wide)
    assert page.evaluate(TARGETS) == []
    walk.last(".token").nth(5).tap()
    box = page.locator("#popover").bounding_box()
    assert box["x"] == 0 and box["width"] == width
    page.locator("#popover .alternative").first.tap()
    page.wait_for_selector("text=and it went on.")
    assert page.is_hidden("#new-chat")
    page.tap("#side-open")
    page.wait_for_selector("#new-chat", state="visible")
    assert page.evaluate("document.activeElement.id") == "side-close"
    page.keyboard.press("Escape")
    page.wait_for_selector("#new-chat", state="hidden")
    assert page.evaluate("document.activeElement.id") == "side-open"
    for view in ("compare", "ratings"):
        page.evaluate(f"location.hash = '#/{view}'")
        page.wait_for_selector(f"#{view} .card")
        assert not page.evaluate(wide)
        assert page.evaluate(TARGETS) == []


def test_the_theme_follows_the_system_or_a_choice(start):
    walk = start(color_scheme="dark")
    page = walk.page
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.click("#theme")
    light = page.evaluate(paper)
    assert dark != light
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate(paper) == light


def axe_source():
    places = [os.environ.get("GPTJAX_AXE"), ROOT / "node_modules" / "axe-core" / "axe.min.js"]
    for place in places:
        if place and Path(place).is_file():
            return Path(place).read_text(encoding="utf-8")
    return pytest.skip("no axe-core: GPTJAX_AXE names axe.min.js, or npm install axe-core")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1280, "height": 820}, PHONE])
def test_axe_finds_no_serious_fault(start, scheme, size):
    source = axe_source()
    walk = start(color_scheme=scheme, viewport=size, reduced_motion="reduce", bypass_csp=True)
    page = walk.page
    phone = size is PHONE
    page.evaluate(source)
    found = []

    def check(where):
        result = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
        for fault in result["violations"]:
            if fault["impact"] in ("serious", "critical"):
                found.append((where, fault["id"], [node["html"] for node in fault["nodes"]][:3]))

    check("welcome")
    walk.ask("markdown")
    check("chat")
    walk.ask("forbidden")
    walk.ask("this goes boom")
    walk.ask("dropped and cut prose")
    check("notes")
    walk.last("[data-tokens]").click()
    walk.last(".token").nth(4).click()
    check("tokens")
    page.keyboard.press("Escape")
    page.locator("[aria-label='Edit this message']").last.click()
    check("edit")
    page.keyboard.press("Escape")
    page.click("#open-settings")
    check("settings")
    page.keyboard.press("Escape")
    if phone:
        page.click("#side-open")
    page.click("#conversations summary")
    check("list")
    page.click("text=Rename")
    check("question")
    page.keyboard.press("Escape")
    page.evaluate("location.hash = '#/compare'")
    compared(walk, ["tiny-chat", "wide-chat"])
    page.keyboard.press("1")
    check("compare")
    page.evaluate("location.hash = '#/ratings'")
    page.wait_for_selector(".plot")
    check("ratings")
    assert found == []
