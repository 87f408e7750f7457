"""Tokens of replies on the page, and what might have stood in their place."""

import pytest

pytestmark = pytest.mark.slow


def test_an_alternative_token_is_hovered_and_the_reply_goes_on_from_there(walk):
    page = walk.page
    text = walk.ask("prose")
    walk.last("[data-tokens]").click()
    assert walk.last(".tokens").inner_text() == text
    walk.last(".token").nth(4).hover()
    page.wait_for_selector("#popover:not([hidden])")
    rows = page.locator("#popover .alternative").all_inner_texts()
    chances = [float(row.split()[-2]) for row in rows]
    assert chances == sorted(chances, reverse=True) and len(rows) == 8
    assert abs(sum(chances) - 100) < 1
    page.locator("#popover .alternative", has_text="quite").click()
    page.wait_for_selector("text=and it went on.")
    walk.replied(2)
    body = walk.bodies()[-1]
    words = [walk.stub.vocabulary[token] for token in body["assistant_tokens"]]
    assert words == [b"A", b" language", b" model", b" gives", b" quite"]
    assert walk.last(".tokens").inner_text() == "A language model gives quite and it went on."
    assert page.inner_text(".turn.assistant .switcher-text") == "2 / 2"
    assert walk.last(".token.forced").text_content() == " quite"


def test_tokens_are_shown_while_they_come(walk):
    page = walk.page
    page.click("#open-settings")
    page.check("#set-show_tokens")
    page.keyboard.press("Escape")
    page.select_option("#model", "slow-chat")
    walk.say("prose")
    page.wait_for_selector(".token:nth-child(2)")
    assert page.locator(".turn.assistant .waiting").count() == 0
    assert walk.last(".token").all_text_contents() == ["A", " language"]
    walk.last(".token").nth(1).hover()
    assert "language" in page.inner_text("#popover .popover-head")
    walk.stub.go_on()
    walk.replied(2)
    assert walk.last(".tokens").inner_text().endswith("wants to see.")


def test_the_end_of_the_turn_may_be_chosen(walk):
    page = walk.page
    walk.ask("prose")
    walk.last("[data-tokens]").click()
    walk.last(".token").nth(3).click()
    page.locator("#popover .alternative", has_text="<|end|>").click()
    page.wait_for_selector("text=2 / 2")
    assert walk.last(".prose").inner_text() == "A language model"
    assert len(walk.bodies()) == 1


def test_the_best_of_several_comes_as_a_whole(walk):
    page = walk.page
    page.click("#open-settings")
    page.fill("#set-best_of", "3")
    page.keyboard.press("Tab")
    page.select_option("#set-rank_by", "reward")
    page.keyboard.press("Escape")
    text = walk.ask("hello")
    body = walk.bodies()[-1]
    assert (body["best_of"], body["rank_by"], body.get("stream")) == (3, "reward", None)
    walk.last("[data-tokens]").click()
    assert walk.last(".tokens").inner_text() == text
    assert walk.last(".policy").inner_text() == "best_of=3, temperature=0.7, seed=1234"


def test_tokens_and_alternatives_are_reached_by_keys(walk):
    page = walk.page
    walk.ask("prose")
    walk.last("[data-tokens]").press("Enter")
    walk.last(".token").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.textContent") == " model"
    page.keyboard.press("End")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Home")
    chosen = page.evaluate("document.activeElement.querySelector('.alternative-text').textContent")
    page.keyboard.press("Escape")
    assert page.is_hidden("#popover")
    assert page.evaluate("document.activeElement.textContent") == " language"
    page.keyboard.press("Enter")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=and it went on.")
    last = walk.stub.vocabulary[walk.bodies()[-1]["assistant_tokens"][-1]].decode()
    assert last.replace(" ", "␣") == chosen


def test_emoji_are_whole_and_text_has_its_direction(walk):
    text = walk.ask("emoji")
    assert text == "שלום 🙂 done"
    assert walk.page.evaluate(
        "getComputedStyle(document.querySelector('.turn.assistant .prose p')).direction === 'rtl'"
    )
    walk.last("[data-tokens]").click()
    pieces = walk.last(".token").all_text_contents()
    assert pieces == ["שלום", " ", "🙂", " done"]
    assert walk.last(".token").nth(1).get_attribute("aria-label").startswith("‹20 f0 9f›")


def test_tokens_do_not_show_what_moderation_blanked(walk):
    walk.ask("redacted")
    assert "blanked a part of this reply" in walk.last(".note").inner_text()
    assert walk.last("[data-tokens]").count() == 0
