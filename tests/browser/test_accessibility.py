"""Every page, looked over by axe-core in light and in dark, and the proof that it would have seen something."""

from __future__ import annotations

import pytest

from tests.browser.accessibility import audit
from tests.browser.pages import PAGES, PROBLEM
from tests.browser.visitor import PHONE, SCHEMES, WIDE, Scheme, Visitor

#: Rules that meet something on every page; were one of them missing, the check would be a hollow one.
ALWAYS = {"color-contrast", "document-title", "html-has-lang", "landmark-one-main", "link-name", "meta-viewport"}
BROKEN = """<!doctype html><html lang="en"><head><title>broken</title></head><body><main><h1>broken</h1>
<p style="color:#bbb;background:#fff">hardly to be read</p><input name="from"></main></body></html>"""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_page_has_no_grave_finding(visitor: Visitor, path: str, scheme: Scheme) -> None:
    """No rule of impact serious or critical is broken, in either scheme of colours."""
    page = visitor.open(path, scheme=scheme)

    found = audit(page)

    assert found.applied >= ALWAYS
    assert found.grave() == []


def test_a_problem_has_no_grave_finding(visitor: Visitor) -> None:
    """The page of a problem is one that all can read."""
    assert audit(visitor.open(PROBLEM, status=404)).grave() == []


def test_a_page_on_a_phone_has_no_grave_finding(visitor: Visitor) -> None:
    """What moves together on a narrow screen stays usable."""
    assert audit(visitor.open(PAGES["matrix"], size=PHONE)).grave() == []


def test_a_broken_page_is_found_out(visitor: Visitor) -> None:
    """Faint text and a field without a label are findings: the check does see."""
    page = visitor.blank(size=WIDE)
    page.set_content(BROKEN)

    assert {one.rule for one in audit(page).grave()} == {"color-contrast", "label"}
