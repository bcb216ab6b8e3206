"""Sensitivity table of the second edition: the row of the verdict, and the rows with other bounds."""

from __future__ import annotations

import numpy as np
import pytest

from leadline_verdict.alternative_intervals import compute_bootstrap_low, compute_f_bound
from leadline_verdict.document import PairVerdict, SensitivityRow, VerdictClass
from leadline_verdict.share_bounds import count_bad_minutes
from tests.support.verdict_requests import compute_verdict
from tests.support.window_factories import DAY, add_delay, build_columns, build_pair, drop_minutes, lose_probes


def list_chosen(verdict: PairVerdict) -> set[VerdictClass]:
    """Return the classes of the rows with the parameters of the verdict."""
    return {row.verdict for row in verdict.sensitivity if row.chosen}


def list_interval_rows(verdict: PairVerdict) -> list[SensitivityRow]:
    return [row for row in verdict.sensitivity if row.what == "interval"]


def test_the_table_has_the_parameters_of_the_rule() -> None:
    """m0 of both forms of "within", and the bootstrap; the F bound needs an episode."""
    verdict = compute_verdict(build_pair(build_columns(28)))

    assert [row.value for row in verdict.sensitivity if row.what == "unseen episode"] == [
        "30 min",
        "60 min",
        "240 min",
        "720 min",
    ]
    assert [row.value for row in list_interval_rows(verdict)] == ["stationary bootstrap"]


@pytest.mark.parametrize("days", [7, 20, 28, 100])
def test_the_chosen_rows_have_the_class_of_the_verdict(days: int) -> None:
    """Clean periods: insufficient, marginal, provisional, within."""
    verdict = compute_verdict(build_pair(build_columns(days)))

    assert list_chosen(verdict) == {verdict.verdict}


def test_the_chosen_rows_consider_the_last_segment() -> None:
    """The last segment withdraws "within"; with a target of 99 % it does not."""
    columns = build_columns(42)
    columns["min_us"][21 * DAY :] += 200
    for day in (22, 25, 28, 31):
        add_delay(columns, range(day * DAY, day * DAY + 20))

    verdict = compute_verdict(build_pair(columns))

    assert (verdict.verdict, list_chosen(verdict)) == (VerdictClass.MARGINAL, {VerdictClass.MARGINAL})
    lax = [row.verdict for row in verdict.sensitivity if (row.what, row.value) == ("target share", "99.000 %")]
    assert lax == [VerdictClass.WITHIN_PROVISIONAL]


def test_a_pair_of_less_than_a_day_has_no_class_in_any_row() -> None:
    """20 bad hours are less than a whole day."""
    columns = build_columns(2)
    add_delay(columns, range(2 * DAY))
    drop_minutes(columns, range(DAY + 240))

    verdict = compute_verdict(build_pair(columns))

    assert verdict.verdict is VerdictClass.INSUFFICIENT_DATA
    assert {row.verdict for row in verdict.sensitivity} == {VerdictClass.INSUFFICIENT_DATA}


def test_another_bound_does_not_shorten_a_campaign() -> None:
    """13 days stay insufficient, 20 days marginal, and a few bad days beyond provisionally."""
    bad = build_columns(7)
    add_delay(bad, range(7 * DAY))

    for columns, expected in (
        (build_columns(13), VerdictClass.INSUFFICIENT_DATA),
        (build_columns(20), VerdictClass.MARGINAL),
        (bad, VerdictClass.BEYOND_PROVISIONAL),
    ):
        assert {row.verdict for row in list_interval_rows(compute_verdict(build_pair(columns)))} == {expected}


def test_the_other_bounds_can_change_the_class() -> None:
    """One outage of eleven minutes in 28 days: within, provisionally, by the bootstrap, marginal by the F bound."""
    columns = build_columns(28)
    lose_probes(columns, range(5_000, 5_011))

    f_row, bootstrap_row = list_interval_rows(compute_verdict(build_pair(columns)))

    assert (f_row.verdict, bootstrap_row.verdict) == (VerdictClass.MARGINAL, VerdictClass.WITHIN_PROVISIONAL)


def test_the_f_bound_is_that_of_the_distribution() -> None:
    """Two episodes of ten and twenty minutes: 1 - 3 x 15 x F(0.95; 6, 4) / 40,320."""
    bad = np.zeros(28 * DAY, dtype=np.bool_)
    bad[100:110] = bad[9_000:9_020] = True

    assert compute_f_bound(count_bad_minutes(bad)) == pytest.approx(1 - 45 * 6.1631 / 40_320, abs=1e-6)


def test_the_f_bound_says_nothing_without_an_episode() -> None:
    """The length of an outage that was not seen is unknown."""
    assert compute_f_bound(count_bad_minutes(np.zeros(28 * DAY, dtype=np.bool_))) == 0


def test_the_bounds_are_deterministic() -> None:
    """The bootstrap draws the same days again, and does not depend on the state of numpy's generator."""
    rng = np.random.default_rng(5)
    bad = rng.random(28 * DAY) < 0.004
    observed = count_bad_minutes(bad)
    first = (compute_f_bound(observed), compute_bootstrap_low(observed))

    np.random.seed(1)
    np.random.random(1_000)

    assert (compute_f_bound(observed), compute_bootstrap_low(observed)) == first
    assert first[1] < 1 - bad.mean()
