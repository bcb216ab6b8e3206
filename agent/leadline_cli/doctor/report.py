"""Result of a check: one line with a remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DiagnosticLevel(StrEnum):
    """Severity of a result."""

    OK = "ok"
    #: The agent works with limitations.
    WARN = "warn"
    #: The agent cannot measure or cannot deliver.
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One line of the report."""

    level: DiagnosticLevel
    #: Subject of the check.
    what: str
    detail: str
    #: What to do; None for level OK.
    remedy: str | None = None

    def format_line(self) -> str:
        """Return ``ok|warn|fail  what — detail — remedy``."""
        end = "" if self.remedy is None else f" — {self.remedy}"
        return f"{self.level:<4}  {self.what} — {self.detail}{end}"


def ok(what: str, detail: str) -> Diagnostic:
    """Return a result of level OK."""
    return Diagnostic(level=DiagnosticLevel.OK, what=what, detail=detail)


def warn(what: str, detail: str, remedy: str) -> Diagnostic:
    """Return a result of level WARN."""
    return Diagnostic(level=DiagnosticLevel.WARN, what=what, detail=detail, remedy=remedy)


def fail(what: str, detail: str, remedy: str) -> Diagnostic:
    """Return a result of level FAIL."""
    return Diagnostic(level=DiagnosticLevel.FAIL, what=what, detail=detail, remedy=remedy)
