"""Accessibility audit with axe-core. Only its script is used from the package axe-playwright-python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from playwright.sync_api import Page

#: Impact levels that fail a test; the lower levels are moderate and minor.
SERIOUS_IMPACTS = frozenset({"serious", "critical"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Violation of a rule."""

    rule: str
    impact: str
    #: Selector and beginning of each element that violates the rule.
    elements: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Result of an audit."""

    #: Rules that applied to at least one element of the page.
    applied_rules: frozenset[str]
    findings: tuple[Finding, ...]

    def serious_findings(self) -> Sequence[Finding]:
        """Return the findings of impact serious or critical."""
        return [finding for finding in self.findings if finding.impact in SERIOUS_IMPACTS]


def audit(page: Page) -> Audit:
    """Run all rules of axe on the whole page in its current state."""
    page.evaluate(_script())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return Audit(
        applied_rules=frozenset(rule["id"] for kind in ("passes", "violations") for rule in result[kind]),
        findings=tuple(
            Finding(
                rule=rule["id"],
                impact=rule["impact"],
                elements=tuple(f"{' '.join(map(str, node['target']))}: {node['html'][:160]}" for node in rule["nodes"]),
            )
            for rule in result["violations"]
        ),
    )


@cache
def _script() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
