"""Pair page in a browser: zoom, reverse direction, layout."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.pages import PAGES
from tests.browser.visitor import PHONE, Visitor, query_params, wait_until_drawn


def brush(page: Page, first: float, last: float) -> None:
    """Drag over the first chart, between two shares of its width."""
    box = page.locator("figure.chart[data-zoom] svg").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 3
    page.mouse.move(box["x"] + first * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + last * box["width"], y, steps=5)
    page.mouse.up()


def test_a_zoom_is_part_of_the_url(visitor: Visitor) -> None:
    """Dragging over the chart selects a part of the period; the URL shows the same in another browser."""
    page = visitor.open(PAGES["pair"])

    brush(page, 0.4, 0.6)

    page.wait_for_url(re.compile("[?&]to="))
    wait_until_drawn(page)
    assert query_params(page)["from"].startswith("2026-11-1")
    second_page = visitor.open(page.url.removeprefix(visitor.origin))
    assert second_page.locator("main").inner_text() == page.locator("main").inner_text()


def test_the_back_button_undoes_a_zoom(visitor: Visitor) -> None:
    """The browser's history has the previous period."""
    page = visitor.open(PAGES["pair"])
    brush(page, 0.4, 0.6)
    page.wait_for_url(re.compile("[?&]to="))

    wait_until_drawn(page)

    page.go_back()

    assert query_params(page) == {"from": "-7d"}


def test_a_pair_links_to_its_reverse_direction(visitor: Visitor) -> None:
    """The link keeps the period."""
    page = visitor.open(PAGES["pair"])

    page.get_by_role("link", name="reverse").click()

    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("zurich . frankfurt"))
    assert query_params(page) == {"from": "-7d"}


def test_the_collapsed_windows_open_by_a_link_and_in_print(visitor: Visitor) -> None:
    """The long list of windows is collapsed; a link at the top opens it, and print shows it."""
    page = visitor.open(PAGES["pair"])
    windows = page.get_by_role("region", name="Latest windows")
    expect(windows).to_be_hidden()

    page.get_by_role("link", name="Latest windows").click()
    expect(windows).to_be_in_viewport()

    page = visitor.open(PAGES["pair"])
    page.emulate_media(media="print")
    assert (page.locator("#latest .windows").bounding_box() or {"height": 0})["height"] > 100


def test_words_do_not_run_together_on_a_phone(visitor: Visitor) -> None:
    """Small text has its own line in the list layout."""
    page = visitor.open(PAGES["pair"], size=PHONE)

    lines = page.locator("table.directions").inner_text().splitlines()

    origins = [line for line in lines if "probes a minute" in line]
    assert len(origins) == 2
    assert all(line.startswith("simulated; 60 probes a minute") for line in origins)
    assert all(line.startswith("Korn") for line in lines if "Korn" in line)


def test_lines_are_drawn_inside_the_axis(visitor: Visitor) -> None:
    """The plot includes a limit to the right of the values."""
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
