"""The digest of a profile revision."""

from __future__ import annotations

from dataclasses import replace

from leadline.evaluation import Criterion, WindowStatistic
from leadline.limits.catalogue import Comparison
from leadline_collector.rollup.profile_revisions import canonical_text


def test_the_canonical_text_of_a_criterion_is_fixed() -> None:
    """Databases store digests of this text; another text would recount every hour."""
    criterion = Criterion(
        limit_id="vmware-vsan-9.0-stretched-rtt",
        statistic=WindowStatistic.P95,
        comparison=Comparison.LESS,
        limit_us=5_000,
        stricter_statistic=WindowStatistic.MAX,
        approximation="p95 instead of the limit",
    )

    assert canonical_text(criterion) == (
        "Criterion(limit_id='vmware-vsan-9.0-stretched-rtt', measure=<Measure.P95: 'p95'>, "
        "comparison=<Comparison.LESS: '<'>, limit_us=5000, peak_us=None, sensitivity=<Measure.MAX: 'max'>, "
        "approximation=None)"
    )


def test_rules_of_use_are_in_the_canonical_text_only_if_they_bind() -> None:
    """Counts of other criteria stay valid."""
    criterion = Criterion(
        limit_id="x", statistic=WindowStatistic.P95, comparison=Comparison.LESS, limit_us=1, is_equality_open=True
    )

    assert canonical_text(criterion).endswith(", approximation=None, is_equality_open=True)")
    assert canonical_text(replace(criterion, is_equality_open=False, never_condemns=True)).endswith(
        ", approximation=None, never_condemns=True)"
    )


def test_a_missing_stricter_statistic_is_none_in_the_canonical_text() -> None:
    """The text contains None for it."""
    criterion = Criterion(
        limit_id="x", statistic=WindowStatistic.MEAN, comparison=Comparison.LESS_EQUAL, limit_us=1, peak_limit_us=2
    )

    assert canonical_text(criterion) == (
        "Criterion(limit_id='x', measure=<Measure.MEAN: 'mean'>, comparison=<Comparison.LESS_EQUAL: '<='>, limit_us=1, "
        "peak_us=2, sensitivity=None, approximation=None)"
    )
