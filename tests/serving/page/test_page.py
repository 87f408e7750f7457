"""The chat on the page, in a real browser before the stub: replies, branches, settings, keys."""

import json

import pytest

slow = pytest.mark.slow

FROM_END = """() => {
  const log = document.querySelector("#log");
  return log.scrollHeight - log.scrollTop - log.clientHeight;
}"""


def test_a_walk_a_chat_is_streamed_kept_and_there_after_a_reload(start):
    walk = start()
    page = walk.page
    assert walk.ask("Hello, who are you?").startswith("Reply 1 of tiny-chat")
    (body,) = walk.bodies()
    assert body["messages"] == [{"role": "user", "content": "Hello, who are you?"}]
    assert (body["model"], body["stream"], body["temperature"]) == ("tiny-chat", True, 0.7)
    assert "Reply 2" in walk.ask("And now?")
    assert [message["role"] for message in walk.bodies()[1]["messages"]] == [
        "user",
        "assistant",
        "user",
    ]
    page.wait_for_selector("#meter-text:has-text('left')")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.locator(".turn").count() == 4
    assert page.inner_text("#conversations li.current") == "Hello, who are you?"


@slow
@pytest.mark.parametrize("by", ["button", "key"])
def test_stop_ends_the_reply_on_the_page_and_on_the_server(start, by):
    walk = start()
    page = walk.page
    page.select_option("#model", "slow-chat")
    walk.say("prose please")
    page.wait_for_selector(".turn.assistant:has-text('A language')")
    assert page.get_attribute(".turn.assistant", "aria-busy") == "true"
    if by == "button":
        page.click("#send[aria-label=Stop]")
    else:
        page.keyboard.press("Escape")
    walk.replied(2)
    assert walk.stub.stopped.wait(10)
    assert "A language" in walk.last(".turn-body").inner_text()
    assert "Stopped." in walk.last(".note").inner_text()
    walk.stub.go_on()
    walk.last("button:has-text('Continue')").click()
    walk.replied(2)
    assert walk.last(".turn-body").inner_text() == "A language and it went on."
    assert len(walk.bodies()[-1]["assistant_tokens"]) == 2


@slow
def test_a_page_that_closes_keeps_what_was_written(start):
    walk = start()
    walk.page.select_option("#model", "slow-chat")
    walk.say("prose please")
    walk.page.wait_for_selector(".turn.assistant .prose p")
    walk.page.wait_for_url("**/#/chat/*")
    walk.page.reload()
    walk.page.wait_for_selector("body[data-ready]")
    assert "Stopped." in walk.last(".note").inner_text()
    assert walk.page.is_enabled("#draft")


@slow
def test_a_retry_and_an_edit_are_branches(walk):
    page = walk.page
    walk.ask("First question")
    walk.last("[aria-label='Another reply']").click()
    page.wait_for_selector("text=Reply 2 of")
    walk.replied(2)
    assert page.inner_text(".turn.assistant .switcher-text") == "2 / 2"
    page.click("[aria-label='Version before']")
    assert "Reply 1" in page.inner_text(".turn.assistant .turn-body")
    assert page.evaluate("document.activeElement.ariaLabel") == "Version after"
    walk.ask("Second question")
    assert "Reply 1 of" in walk.bodies()[-1]["messages"][1]["content"]

    page.locator("[aria-label='Edit this message']").first.click()
    page.fill("[aria-label='Edited message']", "Another question")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=to Another question")
    walk.replied(2)
    assert page.locator(".turn").count() == 2
    assert page.inner_text(".turn.user .switcher-text") == "2 / 2"
    assert walk.bodies()[-1]["messages"] == [{"role": "user", "content": "Another question"}]
    page.locator(".turn.user [aria-label='Version before']").click()
    assert page.locator(".turn").count() == 4
    assert "Second question" in page.inner_text("#turns")


@slow
@pytest.mark.parametrize(
    ("said", "error", "console"),
    [
        ("boom", "the device is out of memory", None),
        ("dies", "The connection ended before the reply did.", None),
        ("refused status", "temperature must be at most 2", "400"),
        ("not json", "The server answered 502: <h1>Bad gateway</h1>", "502"),
    ],
)
def test_a_failed_reply_says_why_and_can_be_tried_again(walk, said, error, console):
    walk.ask(said)
    assert error in walk.last(".note.failed").inner_text()
    if console:
        walk.expected_problem(console)
    walk.last(".note.failed button").click()
    walk.page.wait_for_selector("text=2 / 2")
    walk.replied(2)
    if console:
        walk.expected_problem(console)


@slow
def test_a_server_that_is_away_is_said(walk):
    walk.page.route("**/v1/chat/completions", lambda route: route.abort())
    walk.ask("hello")
    assert "The server cannot be reached." in walk.last(".note.failed").inner_text()
    walk.expected_problem("ERR_FAILED")


@slow
def test_what_moderation_withdraws_is_gone_and_is_not_sent_again(walk):
    walk.ask("forbidden")
    assert walk.last(".turn-body").inner_text() == ""
    note = walk.last(".note").inner_text()
    assert note == "Moderation withdrew this reply: violence, found by words, score 0.93."
    walk.ask("refuse me")
    assert "refused your message" in walk.last(".note").inner_text()
    walk.ask("fine")
    assert walk.bodies()[-1]["messages"] == [{"role": "user", "content": "fine"}]


@slow
def test_an_edit_stops_the_reply_that_is_being_written(walk):
    page = walk.page
    page.select_option("#model", "slow-chat")
    walk.say("prose")
    page.wait_for_selector(".turn.assistant .prose p")
    page.click("[aria-label='Edit this message']")
    page.select_option("#model", "tiny-chat")
    page.fill("[aria-label='Edited message']", "hello")
    page.press("[aria-label='Edited message']", "Enter")
    page.wait_for_selector("text=to hello")
    assert walk.stub.stopped.wait(10)
    page.locator(".turn.user [aria-label='Version before']").click()
    assert "Stopped." in walk.last(".note").inner_text()


@slow
def test_a_full_context_is_said(walk):
    walk.ask("dropped and cut")
    notes = walk.page.locator(".turn:last-child .note").all_inner_texts()
    assert notes == ["2 earlier messages no longer fit.", "Cut: no room left."]


@slow
def test_settings_reach_the_request_and_stay(walk):
    page = walk.page
    page.click("#open-settings")
    page.fill("#set-system", "Be short.")
    page.fill("#set-seed", "7")
    page.fill("#set-num_beams", "4")
    page.fill("#set-max_tokens", "50")
    page.fill("#set-top_logprobs", "0")
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    assert "num_beams=4" in walk.ask("hello")
    body = walk.bodies()[-1]
    assert body["messages"][0] == {"role": "system", "content": "Be short."}
    assert (body["seed"], body["num_beams"], body["max_tokens"]) == (7, 4, 50)
    assert not {"temperature", "logprobs", "top_logprobs"} & body.keys()
    assert walk.last(".policy").inner_text() == "num_beams=4"
    assert walk.last("[data-tokens]").count() == 0
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.keyboard.press("Control+k")
    page.wait_for_selector(".welcome")
    page.click("#open-settings")
    assert page.input_value("#set-num_beams") == "4"
    assert page.input_value("#set-system") == ""  # a conversation's own
    page.fill("#set-num_beams", "99")
    page.keyboard.press("Tab")
    assert page.input_value("#set-num_beams") == "16"


@slow
def test_sliders_and_numbers_are_one(walk):
    page = walk.page
    page.click("#open-settings")
    page.fill("#set-temperature", "0.25")
    page.keyboard.press("Tab")
    slider = page.locator("[aria-label='Temperature, slider']")
    assert slider.input_value() == "0.25"
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert page.input_value("#set-temperature") == "0.3"
    page.fill("#set-top_p", "7")
    page.keyboard.press("Tab")
    assert page.input_value("#set-top_p") == "1"
    page.mouse.click(100, 400)  # beside the drawer
    page.wait_for_selector("#settings", state="hidden")
    walk.ask("hello")
    assert walk.bodies()[-1]["temperature"] == 0.3
    assert "top_p" not in walk.bodies()[-1]


@slow
def test_a_key_is_sent_and_forgotten_with_the_tab(start, page_stub):
    page_stub.key = "secret"
    walk = start()
    walk.expected_problem("401")
    page = walk.page
    assert "The key is set in the settings" in page.inner_text("#notices")
    page.click("#open-settings")
    page.fill("#set-key", "secret")
    page.keyboard.press("Tab")
    page.wait_for_selector("#model option[value=tiny-chat]", state="attached")
    page.keyboard.press("Escape")
    assert "Reply" in walk.ask("hello")
    assert page.evaluate("JSON.stringify(localStorage)").count("secret") == 0
    assert page.evaluate("sessionStorage['gptjax.key']") == "secret"


@slow
def test_a_model_without_a_chat_format_cannot_be_chosen(walk):
    page = walk.page
    assert page.get_attribute("#model option[value=base]", "disabled") is not None
    page.select_option("#model", "wide-chat")
    assert "Talk to wide-chat" in page.inner_text(".welcome")
    walk.ask("hello")
    assert walk.bodies()[-1]["model"] == "wide-chat"


@slow
def test_the_keys(walk):
    page = walk.page
    page.focus("#draft")
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    page.keyboard.press("Enter")
    walk.replied(2)
    assert walk.bodies()[-1]["messages"][0]["content"] == "one\ntwo"
    page.keyboard.press("Control+k")
    page.wait_for_selector(".welcome")
    assert page.evaluate("document.activeElement.id") == "draft"


@slow
def test_the_end_is_followed_only_from_the_end(walk):
    page = walk.page
    walk.ask("long")
    assert page.evaluate(FROM_END) < 2
    page.select_option("#model", "slow-chat")
    walk.say("long again")
    page.wait_for_selector(".turn:last-child .prose:has-text('word1')")
    page.evaluate("document.querySelector('#log').scrollTop = 0")
    page.wait_for_selector("#to-end:not([hidden])")
    walk.stub.go_on()
    walk.replied(4)
    assert page.evaluate("document.querySelector('#log').scrollTop") == 0
    page.click("#to-end")
    assert page.evaluate(FROM_END) < 2


@slow
def test_votes_go_to_the_store(walk):
    walk.ask("hello")
    walk.last("[aria-label='A good reply']").click()
    walk.page.wait_for_selector("[aria-label='A good reply'][aria-pressed=true]")
    (vote,) = walk.stub.asked("/feedback/votes")
    assert vote["vote"] == 1 and vote["prompt"] == [{"role": "user", "content": "hello"}]
    assert vote["reply"]["model"] == "tiny-chat" and vote["reply"]["policy"] == "temperature=0.7"
    json.dumps(vote)
