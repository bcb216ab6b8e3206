"""Matrix in a browser: profile, period, cells, and links to pairs and sources."""

from __future__ import annotations

import re

from playwright.sync_api import Page, Route, expect

from tests.browser.visitor import WIDE, Visitor, query_params, wait_until_drawn

FROM_TO = re.compile("frankfurt . zurich")
FRANKFURT_ZURICH = re.compile("^frankfurt to zurich:")


def cell_text(page: Page) -> str:
    """Return the text of the cell from Frankfurt to Zurich."""
    return " ".join(page.get_by_role("link", name=FRANKFURT_ZURICH).inner_text().split())


def test_a_profile_is_part_of_the_url(visitor: Visitor) -> None:
    """The matrix uses the profile, and its URL shows the same in another browser."""
    page = visitor.open("/")
    before = cell_text(page)

    page.get_by_role("link", name="vcf9-stretched-cluster", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("VCF 9")
    assert query_params(page)["profile"] == "vcf9-stretched-cluster"
    assert cell_text(page) != before
    assert cell_text(visitor.open(page.url.removeprefix(visitor.origin))) == cell_text(page)


def test_a_period_is_part_of_the_url(visitor: Visitor) -> None:
    """The matrix counts the windows of the period, with the same profile as before."""
    page = visitor.open("/?profile=vcf9-stretched-cluster")

    page.get_by_text("Other", exact=True).click()
    page.get_by_label("from", exact=True).fill("-7d")
    page.get_by_role("button", name="Show").click()

    expect(page.locator("main")).to_contain_text("10,080 windows")
    assert query_params(page) == {"profile": "vcf9-stretched-cluster", "from": "-7d"}
    assert cell_text(visitor.open(page.url.removeprefix(visitor.origin))) == cell_text(page)


def test_the_verdicts_are_on_the_first_screen(visitor: Visitor) -> None:
    """The table of verdicts starts near the top, followed by the matrix of the group."""
    page = visitor.open("/?group=europe-simulated&profile=vcf9-stretched-cluster")

    verdicts, matrix = page.locator("table.verdicts").bounding_box(), page.locator(".matrix").bounding_box()
    assert verdicts is not None
    assert matrix is not None
    assert verdicts["y"] < 350
    assert verdicts["y"] + verdicts["height"] < matrix["y"] < WIDE[1]


def test_verdicts_that_load_later_do_not_shift_the_page(visitor: Visitor) -> None:
    """The page shows a progress bar until they are complete, and content below moves little."""
    page = visitor.blank()
    routes: list[Route] = []
    page.route("**/verdicts?*", lambda route: routes.append(route))
    page.goto(f"{visitor.origin}/?group=europe-simulated&profile=vcf9-stretched-cluster")

    expect(page.get_by_role("progressbar")).to_be_visible()
    before = page.locator(".matrix").bounding_box()
    routes[0].continue_()
    wait_until_drawn(page)
    after = page.locator(".matrix").bounding_box()

    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 100


def test_a_cell_links_to_its_pair_and_to_the_source_of_its_limit(visitor: Visitor) -> None:
    """The vendor's page is three links away; the links keep the period."""
    page = visitor.open("/?from=-7d")

    page.get_by_role("link", name=FRANKFURT_ZURICH).click()

    expect(page.get_by_role("heading", level=1)).to_have_text(FROM_TO)
    assert query_params(page)["from"] == "-7d"
    page.get_by_role("link", name="Limits", exact=True).last.click()
    source = page.get_by_role("link", name="vSAN Bandwidth and Latency Requirements")
    assert (source.first.get_attribute("href") or "").startswith("https://techdocs.broadcom.com/")
