"""Login of a collector with a viewer key: form, wrong key, right key, logout."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import audit
from tests.browser.demo_collector import VIEWER_KEY
from tests.browser.visitor import PHONE, SCHEMES, Scheme, Visitor


def test_the_login_leads_to_the_requested_page(anonymous_visitor: Visitor) -> None:
    """Signing out leads back to the form."""
    page = anonymous_visitor.open("/limits?q=witness")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")

    page.keyboard.type(VIEWER_KEY)
    page.keyboard.press("Enter")

    expect(page).to_have_url(f"{anonymous_visitor.origin}/limits?q=witness")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_wrong_key_is_reported(anonymous_visitor: Visitor) -> None:
    """The form shows an alert beside the field, which has the focus again."""
    page = anonymous_visitor.open("/login")

    page.get_by_label("Viewer key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Viewer key")).to_be_focused()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_form_has_no_serious_finding(anonymous_visitor: Visitor, scheme: Scheme) -> None:
    """The form is accessible in both colour schemes."""
    assert audit(anonymous_visitor.open("/login", scheme=scheme)).serious_findings() == []


def test_the_form_fits_a_phone(anonymous_visitor: Visitor) -> None:
    """It does not scroll sideways."""
    page = anonymous_visitor.open("/login", size=PHONE)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
