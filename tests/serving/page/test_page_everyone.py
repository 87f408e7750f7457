"""The page on phones, in both themes, and what axe-core finds."""

import os
from pathlib import Path

import pytest

from tests.serving.page.conftest import PHONE, compared

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
TARGETS = """() => [...document.querySelectorAll("button, a, select, input, textarea, summary")]
  .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest("[inert]"))
  .filter((one) => !one.matches(".visually-hidden, .skip, .prose a, .switch, [type=range]"))
  .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
  .filter(([, box]) => box.height < 40).map(([html]) => html)"""


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
    page.evaluate("location.hash = '#/symbols'")
    page.wait_for_selector(".pixel")
    check("symbols")
    assert found == []
