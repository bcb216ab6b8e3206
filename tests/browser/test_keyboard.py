"""Keyboard navigation: Tab reaches everything in reading order, and the focus is always visible."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import PAGES
from tests.browser.visitor import Visitor

#: Maximum number of Tab presses on a page; the demo's matrix needs about fifty.
STOPS_MAX = 800
_FOCUS_SCRIPT = """() => {
  const element = document.activeElement, style = getComputedStyle(element)
  if (element === document.body) return null
  return {
    name: element.getAttribute("aria-label") || element.textContent.trim() || element.name || element.tagName,
    index: Array.from(document.querySelectorAll("*")).indexOf(element),
    is_visible: (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2) || style.boxShadow !== "none",
  }
}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Element with the focus."""

    name: str
    #: Position among the elements of the page.
    index: int
    #: It has an outline of at least two pixels, or a shadow.
    is_visible: bool


def collect_stops(page: Page) -> list[Stop]:
    """Press Tab from the top of the page until the focus leaves it, and return the focused elements."""
    stops: list[Stop] = []
    for _ in range(STOPS_MAX):
        page.keyboard.press("Tab")
        focus = page.evaluate(_FOCUS_SCRIPT)
        if focus is None or (stops and focus["index"] == stops[0].index):
            return stops
        stops.append(Stop(**focus))
    raise AssertionError(f"after {STOPS_MAX} presses of Tab the focus is still in the page")


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_tab_follows_the_order_of_a_page_with_visible_focus(visitor: Visitor, path: str) -> None:
    """The focus moves down the page and always has an outline."""
    stops = collect_stops(visitor.open(path))

    assert len(stops) > 5
    assert [stop.index for stop in stops] == sorted(stop.index for stop in stops)
    assert [stop.name for stop in stops if not stop.is_visible] == []


def test_a_cell_opens_with_the_keyboard(visitor: Visitor) -> None:
    """Tab reaches every measured pair, and Enter opens it."""
    page = visitor.open("/?group=europe-simulated")
    cells = [stop.name for stop in collect_stops(page) if "windows good" in stop.name]
    assert len(cells) == 12

    page.get_by_role("link", name=cells[0]).focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("frankfurt . zurich"))


def test_the_navigation_can_be_skipped(visitor: Visitor) -> None:
    """The first stop is a link that becomes visible and leads past the header."""
    page = visitor.open("/")

    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.closest('main') !== null")
