"""The matrix as a person uses it: another profile, another period, a cell, and on to what the vendor says."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect

from tests.browser.visitor import Visitor

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


def test_a_cell_leads_to_its_pair_and_to_the_source_of_its_limit(visitor: Visitor) -> None:
    """From the word in a cell to the page of the vendor are two links and a fold; the period comes along."""
    page = visitor.open("/?from=-7d")

    page.get_by_role("link", name=FRANKFURT_ZURICH).click()

    expect(page.get_by_role("heading", level=1)).to_have_text(FROM_TO)
    assert asked(page)["from"] == "-7d"
    page.locator("summary", has_text="Limits and sources").click()
    source = page.get_by_role("link", name="vSAN Bandwidth and Latency Requirements")
    assert (source.first.get_attribute("href") or "").startswith("https://techdocs.broadcom.com/")
