"""The page of a pair as a person uses it: the way there and back, and a zoom that can be mailed."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect

from tests.browser.pages import PAGES
from tests.browser.visitor import Visitor, settled


def asked(page: Page) -> dict[str, str]:
    """The filters in the address."""
    return {name: values[-1] for name, values in parse_qs(urlsplit(page.url).query).items()}


def brush(page: Page, first: float, last: float) -> None:
    """Drag over the first chart, from one share of its width to another."""
    box = page.locator("figure.chart[data-zoom] svg").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 3
    page.mouse.move(box["x"] + first * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + last * box["width"], y, steps=5)
    page.mouse.up()


def test_a_zoom_is_an_address_that_can_be_mailed(visitor: Visitor) -> None:
    """Dragging over the chart asks for that part of the period; opened elsewhere, the address shows the same."""
    page = visitor.open(PAGES["pair"])

    brush(page, 0.4, 0.6)

    page.wait_for_url(re.compile("[?&]to="))
    settled(page)
    assert asked(page)["from"].startswith("2026-11-1")
    again = visitor.open(page.url.removeprefix(visitor.origin))
    assert again.locator("main").inner_text() == page.locator("main").inner_text()


def test_a_zoom_is_undone_by_the_back_button(visitor: Visitor) -> None:
    """The browser's history holds the period before."""
    page = visitor.open(PAGES["pair"])
    brush(page, 0.4, 0.6)
    page.wait_for_url(re.compile("[?&]to="))

    page.go_back()

    assert asked(page) == {"from": "-7d"}


def test_the_reverse_direction_is_a_link_away(visitor: Visitor) -> None:
    """The other direction is a page of its own, in the same period."""
    page = visitor.open(PAGES["pair"])

    page.get_by_role("link", name="reverse").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("zurich . frankfurt"))
    assert asked(page) == {"from": "-7d"}
