"""Map in a browser: readable labels on every screen, and an image without scripts."""

from __future__ import annotations

from itertools import combinations

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import PHONE, WIDE, Visitor

#: Each label once, with its extent; the SVG also contains each label as a halo.
_LABELS = """() => Object.entries(Object.fromEntries([...document.querySelectorAll("figure.map svg text")]
  .filter(one => one.textContent.trim())
  .map(one => [one.textContent, one.getBoundingClientRect()])
)).map(([name, box]) => [name, box.left, box.top, box.right, box.bottom])"""


@pytest.mark.parametrize("size", [WIDE, (760, 900), PHONE], ids=["screen", "tablet", "phone"])
@pytest.mark.parametrize("path", ["/map", "/map?group=", "/map?group=world-simulated"])
def test_labels_do_not_overlap_and_are_not_cut_off(visitor: Visitor, path: str, size: tuple[int, int]) -> None:
    """With the real letter widths of the browser."""
    page = visitor.open(path, size=size)
    canvas = page.locator("figure.map svg").bounding_box()
    assert canvas is not None

    labels = page.evaluate(_LABELS)

    assert len(labels) >= 3
    for label, left, top, right, bottom in labels:
        assert left >= canvas["x"], label
        assert right <= canvas["x"] + canvas["width"], label
        assert canvas["y"] <= top, label
        assert bottom <= canvas["y"] + canvas["height"], label
    for a, b in combinations(labels, 2):
        are_separate = a[3] <= b[1] or b[3] <= a[1] or a[4] - 3 <= b[2] or b[4] - 3 <= a[2]
        assert are_separate, (a, b)


def test_the_map_links_to_groups_and_to_all_sites(visitor: Visitor) -> None:
    """It starts with the group in Europe, where sites are separable; "all" adds those overseas."""
    page = visitor.open("/map")
    expect(page.get_by_role("link", name="europe-simulated")).to_have_attribute("aria-current", "page")

    page.get_by_role("link", name="all", exact=True).click()

    expect(page.get_by_role("row", name="singapore simulated")).to_be_visible()


def test_without_scripts_an_image_replaces_the_chart(visitor: Visitor) -> None:
    """The empty frame of the chart is hidden."""
    page = visitor.open("/map", script=False)

    expect(page.get_by_role("img").first).to_be_visible()
    assert not page.locator(".chart-view").first.is_visible()
