"""A collector that wants a key: the form, a wrong key, the right one, and out again."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.accessibility import audit
from tests.browser.demo_collector import VIEWER_KEY
from tests.browser.visitor import PHONE, SCHEMES, Scheme, Visitor


def test_the_key_opens_the_page_that_was_wanted(stranger: Visitor) -> None:
    """Whoever is sent to the form arrives, after signing in, where they wanted to go; signing out closes the door."""
    page = stranger.open("/limits?q=witness")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")

    page.keyboard.type(VIEWER_KEY)
    page.keyboard.press("Enter")

    expect(page).to_have_url(f"{stranger.origin}/limits?q=witness")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_wrong_key_is_said_and_may_be_tried_again(stranger: Visitor) -> None:
    """The answer names the fault beside the field, which has the focus again."""
    page = stranger.open("/login")

    page.get_by_label("Viewer key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Viewer key")).to_be_focused()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_form_has_no_grave_finding(stranger: Visitor, scheme: Scheme) -> None:
    """Everybody can sign in."""
    assert audit(stranger.open("/login", scheme=scheme)).grave() == []


def test_the_form_fits_a_phone(stranger: Visitor) -> None:
    """The form is as narrow as the screen."""
    page = stranger.open("/login", size=PHONE)

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
