"""Without a mouse: everything can be reached in the order it is read, and one always sees where one is."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import PAGES
from tests.browser.visitor import Visitor

#: Presses of Tab until a page must have been gone through; the demo's matrix takes about fifty.
STOPS_MAX = 400
_HERE = """() => {
  const one = document.activeElement, look = getComputedStyle(one)
  if (one === document.body) return null
  return {
    name: one.getAttribute("aria-label") || one.textContent.trim() || one.name || one.tagName,
    at: Array.from(document.querySelectorAll("*")).indexOf(one),
    seen: (look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2) || look.boxShadow !== "none",
  }
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Something that has the focus."""

    name: str
    #: Its place among the elements of the page.
    at: int
    #: There is an outline of two pixels or more around it.
    seen: bool


def stops(page: Page) -> list[Stop]:
    """What Tab reaches, from the top of the page until the focus leaves it."""
    found: list[Stop] = []
    for _ in range(STOPS_MAX):
        page.keyboard.press("Tab")
        here = page.evaluate(_HERE)
        if here is None or (found and here["at"] == found[0].at):
            return found
        found.append(Stop(**here))
    raise AssertionError(f"after {STOPS_MAX} presses of Tab the focus is still in the page")


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_tab_goes_through_a_page_in_its_order_and_is_seen(visitor: Visitor, path: str) -> None:
    """The focus moves down the page and has an outline wherever it is."""
    found = stops(visitor.open(path))

    assert len(found) > 5
    assert [one.at for one in found] == sorted(one.at for one in found)
    assert [one.name for one in found if not one.seen] == []


def test_a_cell_is_opened_with_the_keyboard(visitor: Visitor) -> None:
    """Tab arrives at every pair that is measured, and Enter opens it."""
    page = visitor.open("/?group=europe-simulated")
    cells = [one.name for one in stops(page) if "windows good" in one.name]
    assert len(cells) == 12

    page.get_by_role("link", name=cells[0]).focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("frankfurt . zurich"))


def test_the_navigation_can_be_skipped(visitor: Visitor) -> None:
    """The first stop is a link that shows itself and goes past what stands on every page."""
    page = visitor.open("/")

    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.closest('main') !== null")
