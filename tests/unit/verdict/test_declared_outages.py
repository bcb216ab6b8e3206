"""Declared outages in the decision on the windows alone."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from leadline.evaluation import WINDOWS_PER_DAY
from leadline.mesh.model import DeclaredOutages
from leadline_verdict.decision import VerdictRule, classify_minutes
from leadline_verdict.document import VerdictClass

TWO_DAYS_A_YEAR = DeclaredOutages(outages_per_year=1, longest_outage_s=2 * 86_400, declared_on=date(2026, 1, 1))
AN_HOUR_A_YEAR = DeclaredOutages(outages_per_year=1, longest_outage_s=3_600, declared_on=date(2026, 1, 1))


@pytest.mark.parametrize(
    ("outages", "days", "expected"),
    [
        (None, 126, VerdictClass.WITHIN),
        (TWO_DAYS_A_YEAR, 126, VerdictClass.WITHIN_PROVISIONAL),
        (None, 28, VerdictClass.WITHIN_PROVISIONAL),
        (AN_HOUR_A_YEAR, 28, VerdictClass.WITHIN),
    ],
)
def test_declared_outages_replace_the_unseen_outage_of_240_minutes(
    outages: DeclaredOutages | None, days: int, expected: VerdictClass
) -> None:
    """Two days a year are 0.55 %, so clean months are not within 99.5 %; with an hour a year 28 clean days are."""
    clear = np.zeros(days * WINDOWS_PER_DAY, dtype=np.bool_)

    assert classify_minutes(clear, clear, VerdictRule(), declared_outages=outages) is expected
