"""The page of a pair as a person uses it: the way there and back, and a zoom that can be mailed."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect

from tests.browser.pages import PAGES
from tests.browser.visitor import PHONE, Visitor, settled


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

    settled(page)

    page.go_back()

    assert asked(page) == {"from": "-7d"}


def test_the_reverse_direction_is_a_link_away(visitor: Visitor) -> None:
    """The other direction is a page of its own, in the same period."""
    page = visitor.open(PAGES["pair"])

    page.get_by_role("link", name="reverse").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("zurich . frankfurt"))
    assert asked(page) == {"from": "-7d"}


def test_what_is_folded_opens_by_its_link_and_on_paper(visitor: Visitor) -> None:
    """The list of windows is long and asked for seldom: a link at the top leads into it, and print shows it."""
    page = visitor.open(PAGES["pair"])
    windows = page.get_by_role("region", name="Latest windows")
    expect(windows).to_be_hidden()

    page.get_by_role("link", name="Latest windows").click()
    expect(windows).to_be_in_viewport()

    page = visitor.open(PAGES["pair"])
    page.emulate_media(media="print")
    assert (page.locator("#latest .windows").bounding_box() or {"height": 0})["height"] > 100


def test_no_words_run_together_on_a_phone(visitor: Visitor) -> None:
    """What is small stands on a line of its own where a cell is a line of a list."""
    page = visitor.open(PAGES["pair"], size=PHONE)

    lines = page.locator("table.directions").inner_text().splitlines()

    assert [line for line in lines if "evidence" in line] == ["adequate evidence"] * 2
    assert all(line.startswith("Korn") for line in lines if "Korn" in line)


def test_no_line_is_drawn_outside_of_its_axis(visitor: Visitor) -> None:
    """A limit to the right of the values has its place in the plot."""
    page = visitor.open(PAGES["pair"])
    chart = page.locator("figure.distribution svg")

    plot = chart.locator(".mark-rule line").first.bounding_box()
    edge = chart.bounding_box()
    assert plot is not None
    assert edge is not None
    for line in chart.locator(".mark-rule line").all():
        box = line.bounding_box()
        assert box is not None
        assert plot["x"] - 1 <= box["x"] <= plot["x"] + plot["width"] + 1
