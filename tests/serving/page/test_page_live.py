"""The page before the real server of a small model: what the two say to each other fits."""

import pytest

from tests.serving.page.conftest import Walk, watch

why = "there is no server yet"
live = pytest.importorskip("tests.serving.live", reason=why).live
chat_model = pytest.importorskip("tests.support.chat_models", reason=why).chat_model
page_routes = pytest.importorskip("gptjax.serving.page_files").page_routes

pytestmark = pytest.mark.slow
NO_FEEDBACK = "404 (Not Found)"  # of GET /feedback, where the server has no store


@pytest.fixture(scope="module")
def address():
    models = [chat_model("one", max_queue=64), chat_model("two", seed=3)]
    with live(*models, more=page_routes()) as url:
        yield url


def test_a_reply_its_tokens_and_a_continuation(address, browser):
    context = browser.new_context()
    context.set_default_timeout(60_000)  # a model is compiled
    walk = Walk(context.new_page(), address)
    watch(walk)
    walk.open()
    page = walk.page
    walk.set("max_tokens", "8")
    walk.ask("hi")
    assert "the longest reply was reached" in walk.last(".note").inner_text()
    assert "temperature=0.7, seed=" in walk.last(".policy").inner_text()
    walk.last("[data-tokens]").click()
    assert walk.last(".token").count() == 8
    first = walk.last(".token").evaluate_all("t => t.slice(0, 3).map((one) => one.ariaLabel)")
    walk.last(".token").nth(3).click()
    page.locator("#popover .alternative:not(.current)").first.click()
    page.wait_for_selector("text=2 / 2")
    walk.replied(2)
    assert walk.last(".note.failed").count() == 0
    again = walk.last(".token").evaluate_all("t => t.slice(0, 3).map((one) => one.ariaLabel)")
    assert again == first
    assert 4 < walk.last(".token").count() <= 12
    walk.set("max_tokens", "4")
    for name, value, policy in (
        ("best_of", "3", "best_of=3, temper"),
        ("num_beams", "2", "num_be"),
    ):
        walk.set(name, value)
        walk.ask("more")
        assert walk.last(".note.failed").count() == 0
        assert walk.last(".policy").inner_text().startswith(policy)
    page.wait_for_selector("#meter-text:has-text('tokens,')")
    context.close()
    assert [problem for problem in walk.problems if NO_FEEDBACK not in problem] == []
