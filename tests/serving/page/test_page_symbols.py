"""The net of nine pixels on the page, against experiments/symbols.py."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from tests.serving.page.conftest import PHONE
from tests.support.binaries import names_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def symbols():
    return SimpleNamespace(**names_of("symbols"))


def figures(page) -> list[float]:
    """Steps, loss, share that is right and the best possible one, as they are shown."""
    return [float(each) for each in re.findall(r"\d+\.?\d*", page.inner_text(".figures"))]


def said(page) -> list[float]:
    return [float(each.rstrip("%")) for each in page.locator(".share").all_inner_texts()]


def test_the_net_is_that_of_the_experiment(start, symbols):
    page = start("/#/symbols").page
    page.click("text=Weights by hand")
    weights = symbols.by_hand()
    expected = {}
    for steps in (0, 1, 2):
        answers = symbols.forward(weights, symbols.IMAGES)[-1]
        right = sum(
            chance[answer.argmax()] for chance, answer in zip(symbols.CHANCE, answers, strict=True)
        )
        expected[steps] = [steps, symbols.loss_of(weights), 100 * right]
        weights = symbols.learn(weights, 1)
    for steps in (0, 1, 2):
        assert figures(page)[:3] == pytest.approx(expected[steps], abs=6e-3)
        page.click("text=One step")
    assert figures(page)[3] == pytest.approx(100 * symbols.CHANCE.max(1).sum(), abs=6e-3)


def test_pixels_are_drawn_and_training_runs_until_it_is_stopped(start, symbols):
    page = start("/#/symbols").page
    page.click("text=Weights by hand")
    page.click("[aria-label='Draw horizontal'] >> nth=1")
    on = page.locator(".pixel[aria-pressed='true']")
    assert on.count() == 3
    page.click("[aria-label='Pixel 1']")
    assert on.count() == 4
    image = [-1.0] * 9
    for i in (0, 3, 4, 5):
        image[i] = 1.0
    answers = symbols.forward(symbols.by_hand(), np.array([image]))[-1][0]
    assert said(page) == pytest.approx([100 * each for each in answers], abs=0.06)
    page.click("text=Start again")
    page.click(".nine-actions >> text=Train")
    page.wait_for_selector(r".figures:text-matches('After [0-9]{2,} steps')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".nine-actions >> text=Train")
    steps = figures(page)[0]
    page.click("text=One step")
    assert figures(page)[0] == steps + 1


def test_the_net_fits_a_phone(start):
    page = start("/#/symbols").page
    page.set_viewport_size(PHONE)
    width = page.evaluate("document.querySelector('#symbols').scrollWidth")
    assert width <= PHONE["width"]
