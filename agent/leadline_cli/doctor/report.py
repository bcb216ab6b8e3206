"""What a check found: one line, with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DiagnosticLevel(StrEnum):
    """How bad it is."""

    OK = "ok"
    #: The agent measures, but less, or less well, than it could.
    WARN = "warn"
    #: The agent does not measure, or does not deliver.
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One line of the doctor."""

    level: DiagnosticLevel
    #: What was looked at.
    what: str
    detail: str
    #: What to do; None when all is well.
    remedy: str | None = None

    def format_line(self) -> str:
        """``ok|warn|fail  what — detail — remedy``."""
        end = "" if self.remedy is None else f" — {self.remedy}"
        return f"{self.level:<4}  {self.what} — {self.detail}{end}"


def ok(what: str, detail: str) -> Diagnostic:
    """All is well."""
    return Diagnostic(level=DiagnosticLevel.OK, what=what, detail=detail)


def warn(what: str, detail: str, remedy: str) -> Diagnostic:
    """Something to be put right."""
    return Diagnostic(level=DiagnosticLevel.WARN, what=what, detail=detail, remedy=remedy)


def fail(what: str, detail: str, remedy: str) -> Diagnostic:
    """Something that must be put right."""
    return Diagnostic(level=DiagnosticLevel.FAIL, what=what, detail=detail, remedy=remedy)
