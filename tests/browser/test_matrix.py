"""The matrix as a person uses it: another profile, another period, a cell, and on to what the vendor says."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, Route, expect

from tests.browser.visitor import WIDE, Visitor, settled

FROM_TO = re.compile("frankfurt . zurich")
FRANKFURT_ZURICH = re.compile("^frankfurt to zurich:")


def asked(page: Page) -> dict[str, str]:
    """The filters in the address, without empty ones."""
    return {name: values[-1] for name, values in parse_qs(urlsplit(page.url).query).items()}


def cell(page: Page) -> str:
    """What the cell from Frankfurt to Zurich says."""
    return " ".join(page.get_by_role("link", name=FRANKFURT_ZURICH).inner_text().split())


def test_a_profile_is_an_address_that_can_be_mailed(visitor: Visitor) -> None:
    """Choosing a profile judges by it; the address opened elsewhere shows the same."""
    page = visitor.open("/")
    before = cell(page)

    page.get_by_role("link", name="vcf9-stretched-cluster", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("VCF 9")
    assert asked(page)["profile"] == "vcf9-stretched-cluster"
    assert cell(page) != before
    assert cell(visitor.open(page.url.removeprefix(visitor.origin))) == cell(page)


def test_a_period_is_an_address_that_can_be_mailed(visitor: Visitor) -> None:
    """A period typed into the form counts the windows of that period, by the profile chosen before."""
    page = visitor.open("/?profile=vcf9-stretched-cluster")

    page.get_by_text("Other", exact=True).click()
    page.get_by_label("from", exact=True).fill("-7d")
    page.get_by_role("button", name="Show").click()

    expect(page.locator("main")).to_contain_text("10,080 windows")
    assert asked(page) == {"profile": "vcf9-stretched-cluster", "from": "-7d"}
    assert cell(visitor.open(page.url.removeprefix(visitor.origin))) == cell(page)


def test_the_answer_is_on_the_first_screen(visitor: Visitor) -> None:
    """Which sites are within: the table of verdicts begins above the fold, and every group's table is below it."""
    page = visitor.open("/?group=europe-simulated&profile=vcf9-stretched-cluster")

    verdicts, matrix = page.locator("table.verdicts").bounding_box(), page.locator(".matrix").bounding_box()
    assert verdicts is not None
    assert matrix is not None
    assert verdicts["y"] < 350
    assert verdicts["y"] + verdicts["height"] < matrix["y"] < WIDE[1]


def test_what_is_awaited_has_its_place(visitor: Visitor) -> None:
    """While verdicts are worked out the page says so, and nothing below jumps far when they come."""
    page = visitor.blank()
    page.route("**/verdicts?*", lambda route: held.append(route))
    held: list[Route] = []
    page.goto(f"{visitor.origin}/?group=europe-simulated&profile=vcf9-stretched-cluster")

    expect(page.get_by_role("progressbar")).to_be_visible()
    before = page.locator(".matrix").bounding_box()
    held[0].continue_()
    settled(page)
    after = page.locator(".matrix").bounding_box()

    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 100


def test_a_cell_leads_to_its_pair_and_to_the_source_of_its_limit(visitor: Visitor) -> None:
    """From the word in a cell to the page of the vendor are three links; the period comes along."""
    page = visitor.open("/?from=-7d")

    page.get_by_role("link", name=FRANKFURT_ZURICH).click()

    expect(page.get_by_role("heading", level=1)).to_have_text(FROM_TO)
    assert asked(page)["from"] == "-7d"
    page.get_by_role("link", name="Limits", exact=True).last.click()
    source = page.get_by_role("link", name="vSAN Bandwidth and Latency Requirements")
    assert (source.first.get_attribute("href") or "").startswith("https://techdocs.broadcom.com/")
