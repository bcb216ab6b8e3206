"""Causes of minutes out of limit, in words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from leadline.evaluation import Criterion, WindowStatistic
from leadline.limits.catalogue import Comparison
from leadline_collector.web.views.causes import describe_causes
from leadline_collector.web.views.pair_buckets import evaluate_scenarios
from leadline_verdict.pair import PairWindows
from leadline_verdict.series import IntColumn
from tests.support.window_factories import add_delay, build_columns, build_pair, drop_minutes, lose_probes

LIMIT = Criterion(limit_id="a", statistic=WindowStatistic.P95, comparison=Comparison.LESS_EQUAL, limit_us=10_000)
OTHER_LIMIT = Criterion(limit_id="b", statistic=WindowStatistic.P99, comparison=Comparison.LESS_EQUAL, limit_us=20_000)


def describe(columns: Mapping[str, IntColumn], *criteria: Criterion) -> str:
    """Describe one path."""
    windows: PairWindows = build_pair(columns)
    return describe_causes(windows, evaluate_scenarios(windows, criteria), criteria).replace("\u00a0", " ")


def test_every_cause_has_its_minutes_and_episodes() -> None:
    """Losses and late replies are counted apart; without one of them the text says so."""
    columns = build_columns(1)
    lose_probes(columns, [100, 101, 300], lost=4)
    lose_probes(columns, range(500, 505))
    drop_minutes(columns, [700])

    assert describe(columns, LIMIT) == (
        "No minute exceeded 10 ms by latency; 3 of 1,439 lost more than 3 of 60 probes, in 2 episodes; "
        "5 of 1,439 lost 20 % of the probes or more (outage), in 1 episode."
    )

    add_delay(columns, [50], 20_000)
    assert describe(columns, LIMIT).startswith("1 of 1,439 exceeded 10 ms by latency, in 1 episode; 3 of 1,439 lost")


def test_few_losses_and_few_late_replies_count_together() -> None:
    """The p95 over the probes sent is above the limit, that of the replies is not."""
    columns = build_columns(1)
    columns["received"][7] = 58
    columns["p95_us"][7], columns["latency_p95_us"][7] = 30_000, 4_000

    assert describe(columns, LIMIT) == (
        "No minute exceeded 10 ms by latency; no minute lost more than 3 of 60 probes; "
        "1 of 1,440 exceeded 10 ms only by losses and late replies together, in 1 episode."
    )


def test_several_limits_have_no_common_number() -> None:
    """p99 tolerates fewer losses than p95."""
    columns = build_columns(1)
    lose_probes(columns, [100], lost=4)

    assert describe(columns, LIMIT, OTHER_LIMIT) == (
        "No minute exceeded a limit by latency; 1 of 1,440 lost more probes than a limit tolerates, in 1 episode."
    )


@pytest.mark.parametrize(("known", "text"), [(True, "All 1,440 known minutes were within the limits."), (False, "")])
def test_without_a_minute_out_of_limit_there_are_no_causes(known: bool, text: str) -> None:
    """Nothing is said about a period without a known minute."""
    columns = build_columns(1)
    if not known:
        drop_minutes(columns, np.arange(1_440).tolist())

    assert describe(columns, LIMIT) == text
