"""Common tests of all pages: they open without a fault, fit a phone, print, and are readable without JavaScript.

The fixture ``visitor`` asserts that no page has a fault.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route

from tests.browser.pages import PAGES, PROBLEM
from tests.browser.visitor import PHONE, Visitor

every_page = pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
#: A4 in PDF points, and its width without the style sheet's margins of 13 mm in CSS pixels.
A4_POINTS = (595, 842)
A4_INSIDE_PX = int((210 - 2 * 13) / 25.4 * 96)
#: Finds elements that are cut off, need horizontal scrolling, or exceed the page; an SVG counts as one element.
_CUT_OFF = """width => [...document.body.querySelectorAll("*")]
  .filter(item => item.checkVisibility() && !item.ownerSVGElement
    && !item.closest(".symbols, .visually-hidden, .sr-only"))
  .filter(item => (item.scrollWidth > item.clientWidth + 1
    && /auto|scroll|hidden/.test(getComputedStyle(item).overflowX))
    || item.getBoundingClientRect().right > width + 1)
  .map(item => `${item.tagName} ${item.className} ${item.textContent.trim().slice(0, 40)}`)"""
BROKEN = """<!doctype html><title>broken</title>
<script>document.title = "inline"</script><img src="http://elsewhere.invalid/a.png"><img src="/static/nothing.png">"""
EXPECTED_FAULTS = (
    "violates script-src-elem",
    "another host: http://elsewhere.invalid/a.png",
    "nothing.png 404",
    "warning: look",
    "exception: thrown",
)


@every_page
def test_a_page_opens(visitor: Visitor, path: str) -> None:
    """It has a title and one main heading."""
    page = visitor.open(path)

    assert page.title().endswith(" · leadline")
    assert page.locator("h1").count() == 1


def test_a_problem_is_a_page(visitor: Visitor) -> None:
    """An unknown site gets a page with the reason and a link back."""
    page = visitor.open(PROBLEM, status=404)

    assert "atlantis" in page.locator("main").inner_text()
    page.get_by_role("link", name="matrix", exact=True).click()
    assert page.title() == "Matrix · leadline"


@every_page
def test_a_phone_shows_a_page_without_scrolling_sideways(visitor: Visitor, path: str) -> None:
    """Wide tables scroll inside their frames; the page does not."""
    page = visitor.open(path, size=PHONE)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


@every_page
def test_a_page_prints_on_a4(visitor: Visitor, path: str) -> None:
    """The paper is A4, and nothing is cut off."""
    page = visitor.open(path, size=(A4_INSIDE_PX, 1_000))

    sizes = set(re.findall(rb"/MediaBox \[\s*0 0 ([\d.]+) ([\d.]+)", page.pdf(prefer_css_page_size=True)))
    page.emulate_media(media="print")

    assert {tuple(sorted(round(float(length)) for length in size)) for size in sizes} == {A4_POINTS}
    assert page.evaluate(_CUT_OFF, A4_INSIDE_PX) == []


@every_page
def test_a_page_can_be_read_without_javascript(visitor: Visitor, path: str) -> None:
    """The server renders the tables; only fragments that load later are replaced by a link."""
    page = visitor.open(path, script=False)

    assert page.locator("h1").is_visible()
    assert all(link.is_visible() for link in page.locator("[data-fragment] a").all())
    assert page.locator("[data-fragment] a").count() == page.locator("[data-fragment]").count()
    assert visible_texts(page)
    assert visible_texts(page) == visible_texts(visitor.open(path))


def visible_texts(page: Page) -> list[str]:
    """Return the text of all visible tables and lists, without those loaded by a script."""
    elements = page.locator("main :is(table, dl):not([data-part] *)").all()
    return [" ".join(element.inner_text().split()) for element in elements if element.is_visible()]


def test_every_kind_of_fault_is_recorded(visitor: Visitor) -> None:
    """A forbidden script, another host, a missing file, a warning and an exception are faults."""
    page = visitor.blank()
    policy = {"Content-Security-Policy": "script-src 'none'"}

    def fulfil(route: Route) -> None:
        route.fulfill(body=BROKEN, content_type="text/html", headers=policy)

    page.route("**/broken", fulfil)
    page.goto(f"{visitor.origin}/broken")
    page.evaluate("console.warn('look')")
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('thrown') })")

    faults, visitor.faults = visitor.faults, []
    assert all(any(text in fault for fault in faults) for text in EXPECTED_FAULTS), faults
