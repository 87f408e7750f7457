"""A browser on the chat page, before the stub: one of each for a module.

A test fails if the page writes an error to the console, or asks any other host for anything.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.serving.page.page_stub import PageStub, serving

PATIENCE = 10_000  # milliseconds until a wait for an event has failed
PHONE = {"width": 390, "height": 844}


@dataclass
class Walk:
    """A page in a fresh profile of the browser, and what a user does on it."""

    page: Any
    url: str
    stub: Any = None
    problems: list[str] = field(default_factory=list)

    def open(self, address: str = "/") -> None:
        self.page.goto(self.url + address)
        self.page.wait_for_selector("body[data-ready]")

    def say(self, text: str) -> None:
        self.page.fill("#draft", text)
        self.page.press("#draft", "Enter")

    def ask(self, text: str) -> str:
        """Sends a message and waits for the end of the reply; returns what is shown of it."""
        turns = self.page.locator(".turn").count()
        self.say(text)
        return self.replied(turns + 2)

    def replied(self, turns: int) -> str:
        last = f".turn.assistant:nth-child({turns}):not(.running)"
        self.page.wait_for_selector(f"{last} [aria-label='Another reply']")
        return self.page.inner_text(f"{last} .turn-body")

    def set(self, name: str, value: str) -> None:
        """Fills a field of the settings."""
        self.page.click("#open-settings")
        self.page.fill(f"#set-{name}", value)
        self.page.keyboard.press("Tab")
        self.page.keyboard.press("Escape")

    def last(self, selector: str) -> Any:
        return self.page.locator(f".turn:last-child {selector}")

    def bodies(self) -> list[dict]:
        return self.stub.asked("/v1/chat/completions")

    def expected_problem(self, part: str) -> None:
        """A failed request is an error of the console's; the test says which it provoked."""
        assert any(part in problem for problem in self.problems), self.problems
        self.problems[:] = [problem for problem in self.problems if part not in problem]


def compared(walk, models, anonymous=True, prompt="Say something"):
    """Asks some models one prompt; returns when all have answered."""
    page = walk.page
    page.wait_for_selector(".setup")
    if page.is_checked("#compare-anonymous") != anonymous:
        page.click("label[for=compare-anonymous]")
    for number, model in enumerate(models, 1):
        if page.locator(f"[aria-label='Model {number}']").count() == 0:
            page.click(".setup .button:has-text('Add')")
        page.select_option(f"[aria-label='Model {number}']", model)
    page.fill("#compare-prompt", prompt)
    page.click("button:has-text('Ask all')")
    page.wait_for_selector("button:has-text('Ask all')")
    return page.locator("article.reply")


@pytest.fixture(scope="session")
def page_stub() -> Iterator[PageStub]:
    with serving() as stub:
        yield stub


@pytest.fixture(scope="module")  # while it is there, this thread's event loop is playwright's
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = os.environ.get("GPTJAX_CHROMIUM") or shutil.which("chromium")
    if not path or not Path(path).exists():
        pytest.skip("no chromium here; GPTJAX_CHROMIUM may name one")
    offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", offline, "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def start(browser: Any, page_stub: PageStub) -> Iterator[Any]:
    """A function that opens the page in a new profile; options are those of the profile."""
    page_stub.reset()
    walks, contexts = [], []

    def begin(address: str = "/", **options: Any) -> Walk:
        context = browser.new_context(**({"viewport": {"width": 1280, "height": 820}} | options))
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        walk = Walk(context.new_page(), page_stub.url, page_stub)
        walks.append(walk)
        watch(walk)
        walk.open(address)
        return walk

    yield begin
    page_stub.go_on()
    problems = [problem for walk in walks for problem in walk.problems]
    for context in contexts:
        context.close()
    assert problems == []


def watch(walk: Walk) -> None:
    problems, own = walk.problems, (walk.url, "blob:", "data:")
    walk.page.on("console", lambda m: m.type == "error" and problems.append(m.text))
    walk.page.on("pageerror", lambda error: problems.append(f"{error}\n{error.stack}"))
    walk.page.on("request", lambda r: r.url.startswith(own) or problems.append(f"asked {r.url}"))


@pytest.fixture
def walk(start: Any) -> Walk:
    return start()
