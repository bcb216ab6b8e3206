"""The map as a browser draws it: names that can be read on any screen, and a picture where no script runs."""

from __future__ import annotations

from itertools import combinations

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import PHONE, WIDE, Visitor

#: Each name once, with its extent; under each lies the same in the colour of the paper.
_NAMES = """() => Object.entries(Object.fromEntries([...document.querySelectorAll("figure.map svg text")]
  .filter(one => one.textContent.trim())
  .map(one => [one.textContent, one.getBoundingClientRect()])
)).map(([name, box]) => [name, box.left, box.top, box.right, box.bottom])"""


@pytest.mark.parametrize("size", [WIDE, (760, 900), PHONE], ids=["screen", "tablet", "phone"])
@pytest.mark.parametrize("path", ["/map", "/map?group=", "/map?group=world-simulated"])
def test_no_name_covers_another_or_leaves_the_sheet(visitor: Visitor, path: str, size: tuple[int, int]) -> None:
    """As wide as the browser's letters really are."""
    page = visitor.open(path, size=size)
    sheet = page.locator("figure.map svg").bounding_box()
    assert sheet is not None

    names = page.evaluate(_NAMES)

    assert len(names) >= 3
    for name, left, top, right, bottom in names:
        assert left >= sheet["x"], name
        assert right <= sheet["x"] + sheet["width"], name
        assert sheet["y"] <= top, name
        assert bottom <= sheet["y"] + sheet["height"], name
    for one, other in combinations(names, 2):
        apart = one[3] <= other[1] or other[3] <= one[1] or one[4] - 3 <= other[2] or other[4] - 3 <= one[2]
        assert apart, (one, other)


def test_a_group_is_a_link_away_and_the_whole_too(visitor: Visitor) -> None:
    """The map begins in Europe, where sites can be told apart; the world has those overseas."""
    page = visitor.open("/map")
    expect(page.get_by_role("link", name="europe-simulated")).to_have_attribute("aria-current", "page")

    page.get_by_role("link", name="all", exact=True).click()

    expect(page.get_by_role("row", name="singapore simulated")).to_be_visible()


def test_without_scripts_the_picture_takes_the_place_of_the_chart(visitor: Visitor) -> None:
    """No empty frame stands above it."""
    page = visitor.open("/map", script=False)

    expect(page.get_by_role("img").first).to_be_visible()
    assert not page.locator(".chart-view").first.is_visible()
