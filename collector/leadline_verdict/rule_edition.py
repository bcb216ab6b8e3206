"""Editions of the decision rule. A document and an exported file name the edition by its id."""

from __future__ import annotations

from enum import StrEnum


class RuleEdition(StrEnum):
    """Id of an edition (docs/verdicts.md; decision 0015 has the differences)."""

    #: For files that were exported before the second edition.
    FIRST = "leadline-2026-1"
    SECOND = "leadline-2026-2"
