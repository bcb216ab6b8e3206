"""Declared outages in the decision on the windows alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from leadline.evaluation import WINDOWS_PER_DAY
from leadline.mesh.model import DeclaredOutages
from leadline_verdict.decision import VerdictRule, classify_period
from leadline_verdict.document import VerdictClass
from leadline_verdict.states import GOOD, NO_CAUSE, OUTAGE, UNAVAILABLE, ScenarioStates
from tests.support.verdict_requests import classify_minutes

TWO_DAYS_A_YEAR = DeclaredOutages(outages_per_year=1, longest_outage_s=2 * 86_400, declared_on=date(2026, 1, 1))
AN_HOUR_A_YEAR = DeclaredOutages(outages_per_year=1, longest_outage_s=3_600, declared_on=date(2026, 1, 1))


@pytest.mark.parametrize(
    ("outages", "days", "expected"),
    [
        (None, 126, VerdictClass.WITHIN),
        (TWO_DAYS_A_YEAR, 126, VerdictClass.MARGINAL),
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


def test_a_contradicted_declaration_raises_no_bound() -> None:
    """An outage of 90 minutes contradicts a longest one of 60: the lower of both bounds counts."""
    bad = np.zeros(126 * WINDOWS_PER_DAY, dtype=np.bool_)
    bad[5_000:5_090] = True
    states = ScenarioStates(
        worst_case=np.where(bad, np.uint8(UNAVAILABLE), np.uint8(GOOD)),
        best_case=np.where(bad, np.uint8(UNAVAILABLE), np.uint8(GOOD)),
        causes=np.where(bad, np.uint8(OUTAGE), np.uint8(NO_CAUSE)),
    )
    bounds = [
        classify_period(states, VerdictRule(), declared_outages=outages).intervals.worst_case
        for outages in (None, AN_HOUR_A_YEAR, replace(AN_HOUR_A_YEAR, longest_outage_s=5_400))
    ]

    by_default, by_contradicted, by_true = (bound.low for bound in bounds if bound is not None)
    assert by_contradicted == by_default < by_true
