"""axe-core audit of every page, light and dark, and a check that the audit detects faults."""

from __future__ import annotations

import pytest

from tests.browser.accessibility import audit
from tests.browser.pages import PAGES, PROBLEM
from tests.browser.visitor import PHONE, SCHEMES, WIDE, Scheme, Visitor

#: Rules that apply to every page; the audit must report them as applied.
COMMON_RULES = {"color-contrast", "document-title", "html-has-lang", "landmark-one-main", "link-name", "meta-viewport"}
BROKEN = """<!doctype html><html lang="en"><head><title>broken</title></head><body><main><h1>broken</h1>
<p style="color:#bbb;background:#fff">hardly to be read</p><input name="from"></main></body></html>"""


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_a_page_has_no_serious_finding(visitor: Visitor, path: str, scheme: Scheme) -> None:
    """In both colour schemes."""
    page = visitor.open(path, scheme=scheme)

    result = audit(page)

    assert result.applied_rules >= COMMON_RULES
    assert result.serious_findings() == []


def test_a_problem_page_has_no_serious_finding(visitor: Visitor) -> None:
    """Error pages are accessible too."""
    assert audit(visitor.open(PROBLEM, status=404)).serious_findings() == []


def test_a_page_on_a_phone_has_no_serious_finding(visitor: Visitor) -> None:
    """The narrow layout is accessible."""
    assert audit(visitor.open(PAGES["matrix"], size=PHONE)).serious_findings() == []


def test_the_audit_detects_faults(visitor: Visitor) -> None:
    """Faint text and a field without a label are findings."""
    page = visitor.blank(size=WIDE)
    page.set_content(BROKEN)

    assert {finding.rule for finding in audit(page).serious_findings()} == {"color-contrast", "label"}
