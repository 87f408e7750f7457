"""Comparisons, rankings and ratings on the page."""

import pytest

from tests.serving.page.conftest import PHONE, compared

pytestmark = pytest.mark.slow


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


def test_replies_of_the_same_text_are_tied(start):
    walk = start("/#/compare")
    cards = compared(walk, ["tiny-chat", "wide-chat", "tiny-chat"], prompt="markdown")
    cards.nth(0).focus()
    walk.page.keyboard.press("2")
    assert walk.page.inner_text(".slot[data-rank='2'] .slot-chips").split() == ["A", "B", "C"]
    assert kept(walk)["ranks"] == [1, 1, 1]


def test_names_are_hidden_until_the_ranking_is_kept(start):
    walk = start("/#/compare")
    page = walk.page
    page.evaluate("Math.random = () => 0")  # the order is then known: the last comes first
    compared(walk, ["tiny-chat", "wide-chat"])
    results = page.locator(".results")
    assert "Hidden until ranked" in results.inner_text()
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
    page.fill("#compare-system", "Be brief.")
    page.click("button:has-text('Ask all')")
    page.wait_for_selector(".reply[aria-busy=false] .prose p")
    messages = walk.bodies()[-1]["messages"]
    assert messages[0] == {"role": "system", "content": "Be brief."}
    assert [message["role"] for message in messages[1:]] == roles
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
    assert page.locator(".other-group").count() == 0
    assert min(low for low, _ in ends) == 8 and max(high for _, high in ends) == 252
