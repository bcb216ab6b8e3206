"""What every page has to keep: it opens without a fault, fits a phone, prints, and can be read without JavaScript.

That nothing goes wrong on the way is asserted by the fixture ``visitor``, for every page that any test opens.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route

from tests.browser.pages import PAGES, PROBLEM
from tests.browser.visitor import PHONE, Visitor

every_page = pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
#: A4 in points, as PDF counts, and what the style sheet's margins of 13 mm leave of its width in CSS pixels.
A4_POINTS = (595, 842)
A4_INSIDE_PX = int((210 - 2 * 13) / 25.4 * 96)
#: Every element that a reader has to move sideways to see, or that sticks out of the page; a drawing counts as a whole.
_CUT_OFF = """width => [...document.body.querySelectorAll("*")]
  .filter(one => one.checkVisibility() && !one.ownerSVGElement && !one.closest(".symbols, .visually-hidden, .sr-only"))
  .filter(one => (one.scrollWidth > one.clientWidth + 1 && /auto|scroll|hidden/.test(getComputedStyle(one).overflowX))
    || one.getBoundingClientRect().right > width + 1)
  .map(one => `${one.tagName} ${one.className} ${one.textContent.trim().slice(0, 40)}`)"""
BROKEN = """<!doctype html><title>broken</title>
<script>document.title = "inline"</script><img src="http://elsewhere.invalid/a.png"><img src="/static/nothing.png">"""
NOTICED = (
    "violates script-src-elem",
    "another host: http://elsewhere.invalid/a.png",
    "nothing.png 404",
    "warning: look",
    "exception: thrown",
)


@every_page
def test_a_page_opens(visitor: Visitor, path: str) -> None:
    """It has a title and one heading, and nothing goes wrong."""
    page = visitor.open(path)

    assert page.title().endswith(" · leadline")
    assert page.locator("h1").count() == 1


def test_a_problem_is_a_page(visitor: Visitor) -> None:
    """An address that does not exist is answered in words, with a way back."""
    page = visitor.open(PROBLEM, status=404)

    assert "atlantis" in page.locator("main").inner_text()
    page.get_by_role("link", name="matrix", exact=True).click()
    assert page.title() == "Matrix · leadline"


@every_page
def test_a_phone_shows_a_page_without_scrolling_sideways(visitor: Visitor, path: str) -> None:
    """Wide tables scroll inside their own frames; the page does not."""
    page = visitor.open(path, size=PHONE)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


@every_page
def test_a_page_prints_on_a4(visitor: Visitor, path: str) -> None:
    """The paper is A4, nothing sticks out of it, and nothing on it would have to be scrolled."""
    page = visitor.open(path, size=(A4_INSIDE_PX, 1_000))

    sizes = set(re.findall(rb"/MediaBox \[\s*0 0 ([\d.]+) ([\d.]+)", page.pdf(prefer_css_page_size=True)))
    page.emulate_media(media="print")

    assert {tuple(sorted(round(float(one)) for one in size)) for size in sizes} == {A4_POINTS}
    assert page.evaluate(_CUT_OFF, A4_INSIDE_PX) == []


@every_page
def test_a_page_can_be_read_without_javascript(visitor: Visitor, path: str) -> None:
    """The tables come from the server: without scripts a browser shows all but those that are fetched later."""
    page = visitor.open(path, script=False)

    assert page.locator("h1").is_visible()
    assert all(link.is_visible() for link in page.locator("[data-fragment] a").all())
    assert page.locator("[data-fragment] a").count() == page.locator("[data-fragment]").count()
    assert said(page)
    assert said(page) == said(visitor.open(path))


def said(page: Page) -> list[str]:
    """What the tables and lists say that are visible, with single blanks; without those fetched by a script."""
    parts = page.locator("main :is(table, dl):not([data-part] *)").all()
    return [" ".join(one.inner_text().split()) for one in parts if one.is_visible()]


def test_every_kind_of_fault_is_noticed(visitor: Visitor) -> None:
    """A forbidden script, another host, a missing file are written down: so silence means something."""
    page = visitor.blank()
    policy = {"Content-Security-Policy": "script-src 'none'"}

    def answer(route: Route) -> None:
        route.fulfill(body=BROKEN, content_type="text/html", headers=policy)

    page.route("**/broken", answer)
    page.goto(f"{visitor.origin}/broken")
    page.evaluate("console.warn('look')")
    with page.expect_event("pageerror"):
        page.evaluate("setTimeout(() => { throw new Error('thrown') })")

    found, visitor.faults = visitor.faults, []
    assert all(any(kind in one for one in found) for kind in NOTICED), found
