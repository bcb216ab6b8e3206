"""What axe-core finds on a page. Its script comes out of axe-playwright-python; nothing else of that is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from playwright.sync_api import Page

#: What keeps somebody from using the page, in axe's words; below are moderate and minor.
GRAVE = frozenset({"serious", "critical"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A rule that a page breaks."""

    rule: str
    impact: str
    #: Where: a selector and the beginning of the element.
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What was looked for, and what was found."""

    #: The rules that met something on the page which they could judge.
    applied: frozenset[str]
    findings: tuple[Finding, ...]

    def grave(self) -> Sequence[Finding]:
        """Findings of impact serious or critical."""
        return [one for one in self.findings if one.impact in GRAVE]


def audit(page: Page) -> Audit:
    """Run every rule of axe on the whole page, as it looks at this moment."""
    page.evaluate(_script())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return Audit(
        applied=frozenset(one["id"] for kind in ("passes", "violations") for one in found[kind]),
        findings=tuple(
            Finding(
                rule=one["id"],
                impact=one["impact"],
                places=tuple(f"{' '.join(map(str, node['target']))}: {node['html'][:160]}" for node in one["nodes"]),
            )
            for one in found["violations"]
        ),
    )


@cache
def _script() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
