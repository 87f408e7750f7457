"""The page before the real server of small models: what the two say to each other fits."""

import pytest

from tests.serving.page.conftest import Walk, compared, watch

why = "there is no server yet"
live = pytest.importorskip("tests.serving.live", reason=why).live
chat_model = pytest.importorskip("tests.support.chat_models", reason=why).chat_model
feedback = pytest.importorskip("gptjax.serving.feedback", reason=why)
opening = pytest.importorskip("gptjax.data.feedback.opening", reason=why)
page_routes = pytest.importorskip("gptjax.serving.page_files").page_routes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    models = [chat_model("one", max_queue=64), chat_model("two", seed=3)]
    folder = tmp_path_factory.mktemp("feedback")
    with opening.open_store(str(folder / "feedback.sqlite"), create=True) as store:
        routes = [*page_routes(), *feedback.feedback_routes(store)]
        with live(*models, more=routes) as url:
            yield url


@pytest.fixture
def walk(address, browser):
    context = browser.new_context()
    context.set_default_timeout(60_000)  # a model is compiled
    walk = Walk(context.new_page(), address)
    watch(walk)
    walk.open()
    yield walk
    context.close()
    assert walk.problems == []


def test_a_reply_its_tokens_and_a_continuation(walk):
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


def test_what_people_say_is_kept_and_rated(walk):
    page = walk.page
    walk.set("max_tokens", "6")
    walk.ask("hi")
    walk.last("[aria-label='A good reply']").click()
    page.wait_for_selector("[aria-label='A good reply'][aria-pressed=true]")
    page.evaluate("location.hash = '#/compare'")
    cards = compared(walk, ["one", "two"])
    for index, key in ((0, "1"), (1, "2")):
        cards.nth(index).focus()
        page.keyboard.press(key)
    page.click("label[for='flag-A-harmful-false']")
    page.click("text=Keep the ranking")
    page.wait_for_selector("text=The ranking is kept.")
    page.evaluate("location.hash = '#/ratings'")
    page.wait_for_selector(".plot")
    names = page.locator(".ratings tbody th").all_inner_texts()
    assert len(names) == 2 and {name.split()[0].rstrip(",") for name in names} == {"one", "two"}
