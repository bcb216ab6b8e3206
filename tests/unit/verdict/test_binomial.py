"""Exact bounds, compared with published intervals and the tables of method.md §4.1."""

from __future__ import annotations

from math import ceil, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leadline_verdict.binomial import (
    additional_probes_needed,
    clopper_pearson,
    poisson_lower_bound,
    poisson_upper_bound,
    trials_needed,
)

#: Newcombe, Stat. Med. 17 (1998), table I: successes, trials, exact interval (method 5).
NEWCOMBE = [
    (81, 263, (0.2527, 0.3676)),
    (15, 148, (0.0578, 0.1617)),
    (0, 20, (0.0, 0.1684)),
    (1, 29, (0.0009, 0.1776)),
]

counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(("successes", "trials", "exact"), NEWCOMBE)
def test_intervals_agree_with_newcombe(successes: int, trials: int, exact: tuple[float, float]) -> None:
    """Four published examples, to their last digit."""
    interval = clopper_pearson(successes, trials)

    assert exact == (round(interval.low, 4), round(interval.high, 4))


@given(counts, st.sampled_from([0.9, 0.95, 0.99]))
def test_intervals_agree_with_scipy(count: tuple[int, int], confidence: float) -> None:
    """An independent implementation gives the same bounds."""
    successes, trials = count
    exact = stats.binomtest(successes, trials).proportion_ci(confidence, "exact")

    interval = clopper_pearson(successes, trials, confidence)
    assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


@given(counts)
def test_failures_mirror_successes(count: tuple[int, int]) -> None:
    """The interval of the failures is 1 minus that of the successes."""
    successes, trials = count

    success_interval, failure_interval = clopper_pearson(successes, trials), clopper_pearson(trials - successes, trials)
    assert (success_interval.low, success_interval.high) == pytest.approx(
        (1 - failure_interval.high, 1 - failure_interval.low), abs=1e-12
    )


@pytest.mark.parametrize("count", [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts_are_refused(count: tuple[int, int]) -> None:
    """More successes than trials, negative successes, and no trials."""
    with pytest.raises(ValueError, match="is not a proportion"):
        clopper_pearson(*count)


@pytest.mark.parametrize(("share", "needed"), [(0.95, 59), (0.99, 299), (0.995, 598), (0.999, 2_995), (0.9999, 29_956)])
def test_trials_without_a_failure(share: float, needed: int) -> None:
    """Without a failure the number of trials is ceil(ln 0.05 / ln share)."""
    assert needed == trials_needed(1 - share) == ceil(log(0.05) / log(share))


@pytest.mark.parametrize(
    ("ratio", "table"),
    [(0.01, [299, 473, 628, 773, 913, 1_049]), (0.001, [2_995, 4_742, 6_294, 7_752, 9_151, 10_511])],
)
def test_trials_with_failures(ratio: float, table: list[int]) -> None:
    """Each allowed failure needs more trials."""
    assert table == [trials_needed(ratio, failures) for failures in range(6)]


def test_the_rule_of_three_is_an_approximation() -> None:
    """3 / n is slightly larger than the exact bound after n trials without a failure."""
    upper = clopper_pearson(0, 100, 0.90).high

    assert 0.02951 == round(upper, 5) == round(1 - 0.05 ** (1 / 100), 5)


@given(st.sampled_from([0.5, 0.1, 0.01, 1e-4, 1e-6]), st.integers(0, 20))
def test_trials_needed_is_minimal(ratio: float, failures: int) -> None:
    """With one trial fewer the probability of so few failures is above 5 %."""
    needed = trials_needed(ratio, failures)

    assert stats.binom.cdf(failures, needed, ratio) <= 0.05 * (1 + 1e-9)
    assert stats.binom.cdf(failures, needed - 1, ratio) > 0.05 * (1 - 1e-9)


def test_tiny_ratios_have_no_rounding_error() -> None:
    """1e-9 takes ln 0.05 / ln(1 - 1e-9) probes."""
    assert trials_needed(1e-9) == pytest.approx(2_995_732_272.06, abs=1.5)


@pytest.mark.parametrize(("ratio", "failures"), [(0.0, 0), (1.0, 0), (0.1, -1)])
def test_invalid_ratios_are_refused(ratio: float, failures: int) -> None:
    """A ratio of 0 or 1 cannot be demonstrated, and failures cannot be negative."""
    with pytest.raises(ValueError, match="no number of trials"):
        trials_needed(ratio, failures)


def test_additional_probes_needed() -> None:
    """Sent probes count, each loss adds probes, and the result is 0 once the limit is demonstrated."""
    assert additional_probes_needed(0, 0, 0.001) == 2_995
    assert additional_probes_needed(2_000, 0, 0.001) == 995
    assert additional_probes_needed(2_000, 1, 0.001) == 4_742 - 2_000
    assert additional_probes_needed(2_994, 0, 0.001) == 1
    assert additional_probes_needed(2_995, 0, 0.001) == 0
    with pytest.raises(ValueError, match="are impossible"):
        additional_probes_needed(1, 2, 0.001)


def test_poisson_bounds_are_chi_squared() -> None:
    """Garwood's bounds in their textbook form."""
    for count in range(1, 6):
        assert poisson_upper_bound(count, 0.95) == pytest.approx(stats.chi2.ppf(0.95, 2 * count + 2) / 2)
        assert poisson_lower_bound(count, 0.95) == pytest.approx(stats.chi2.ppf(0.05, 2 * count) / 2)
    assert poisson_upper_bound(0, 0.95) == pytest.approx(-log(0.05))
    assert poisson_lower_bound(0, 0.95) == 0.0
