"""Catalogue of limits: search, page of a limit, link to its source."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.visitor import Visitor


def test_a_search_finds_limits(visitor: Visitor) -> None:
    """The result has fewer limits, their number, and a URL that shows the same."""
    page = visitor.open("/limits")
    total_count = page.locator("table.catalogue tbody th[scope=row]").count()

    page.get_by_label("Find", exact=True).fill("witness")
    page.keyboard.press("Enter")

    expect(page.get_by_role("status")).to_contain_text("with “witness”")
    result_count = page.locator("table.catalogue tbody th[scope=row]").count()
    assert 0 < result_count < total_count
    second_page = visitor.open(page.url.removeprefix(visitor.origin))
    assert second_page.locator("main").inner_text() == page.locator("main").inner_text()


def test_a_search_without_results_offers_a_way_back(visitor: Visitor) -> None:
    """It shows a notice and a link that clears the search."""
    page = visitor.open("/limits?q=no-vendor-says-this")

    assert page.locator("p.notice").is_visible()
    page.get_by_role("link", name="clear").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^(\d+) of \1 limits\.$"))


def test_a_limit_page_links_to_its_source(visitor: Visitor) -> None:
    """The list leads to the limit, and the limit to the vendor's document."""
    page = visitor.open("/limits?q=vmware-vsan-9.0-stretched-rtt")

    page.get_by_role("link", name="vmware-vsan-9.0-stretched-rtt").first.click()

    expect(page).to_have_url(re.compile("/limits/vmware-vsan-9.0-stretched-rtt$"))
    source = page.get_by_role("link", name="vSAN Bandwidth and Latency Requirements").first
    assert (source.get_attribute("href") or "").startswith("https://techdocs.broadcom.com/")
