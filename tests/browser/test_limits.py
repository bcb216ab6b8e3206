"""The catalogue as a person uses it: a word finds limits, a limit has its address and its source."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.visitor import Visitor


def test_a_word_finds_limits(visitor: Visitor) -> None:
    """Searching shows fewer limits, says how many, and is an address that can be mailed."""
    page = visitor.open("/limits")
    all_of_them = page.locator("table.catalogue tbody th[scope=row]").count()

    page.get_by_label("Find", exact=True).fill("witness")
    page.keyboard.press("Enter")

    expect(page.get_by_role("status")).to_contain_text("with “witness”")
    found = page.locator("table.catalogue tbody th[scope=row]").count()
    assert 0 < found < all_of_them
    again = visitor.open(page.url.removeprefix(visitor.origin))
    assert again.locator("main").inner_text() == page.locator("main").inner_text()


def test_a_word_nobody_wrote_finds_nothing_and_says_what_to_do(visitor: Visitor) -> None:
    """An empty answer is a sentence with a way out, not an empty page."""
    page = visitor.open("/limits?q=no-vendor-says-this")

    assert page.locator("p.notice").is_visible()
    page.get_by_role("link", name="clear").click()
    expect(page.get_by_role("status")).to_have_text(re.compile(r"^(\d+) of \1 limits\.$"))


def test_a_limit_has_a_page_that_leads_to_its_source(visitor: Visitor) -> None:
    """From the list to the limit, and from there to the vendor's document."""
    page = visitor.open("/limits?q=vmware-vsan-9.0-stretched-rtt")

    page.get_by_role("link", name="vmware-vsan-9.0-stretched-rtt").first.click()

    expect(page).to_have_url(re.compile("/limits/vmware-vsan-9.0-stretched-rtt$"))
    source = page.get_by_role("link", name="vSAN Bandwidth and Latency Requirements").first
    assert (source.get_attribute("href") or "").startswith("https://techdocs.broadcom.com/")
