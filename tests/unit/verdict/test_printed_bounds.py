"""Printed bounds are true: lower bounds are rounded down, upper bounds up; 0 % and 100 % mean exactly that."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from leadline.limits.catalogue import load_catalogue
from leadline_cli.commands.verdict_text import format_report
from leadline_collector.web.charts.hour_of_week import HourCell, build_hour_of_week_chart
from leadline_collector.web.formatting import format_ratio, format_target
from leadline_collector.web.views.pair_direction import _to_migration_row
from leadline_collector.web.views.verdict_labels import build_verdict_view
from leadline_verdict import reasons
from leadline_verdict.decision import VerdictRule
from leadline_verdict.document import LossSection, VerdictDocument
from leadline_verdict.report import ReportParams, build_report
from leadline_verdict.requirements import LimitOverrides, build_requirements
from leadline_verdict.share_interval import CountedState, IntervalMethod, ShareInterval
from leadline_verdict.states import BAD, GOOD, ScenarioStates
from tests.support.window_factories import START_S, build_columns, build_pair

#: (ratio, printed as a lower bound or a share, printed as an upper bound)
CASES = [
    (0.9949996, "99.499", "99.500"),
    (0.9999999, "99.999", "99.99999"),
    (1e-7, "0.00001", "0.001"),
]
EXACT = [(1.0, "100.000", "100.000"), (0.0, "0.000", "0.000"), (0.995, "99.500", "99.500")]


def build_document(share: float, target: float = 0.995) -> VerdictDocument:
    """Build a document in which every share and bound is ``share``."""
    limit = build_requirements(
        load_catalogue(), None, LimitOverrides(values={}, declared_values={}, custom_limits=("p95 <= 5 ms",))
    )
    pair = build_pair(build_columns(15))
    rule = VerdictRule(target_share=target)
    params = ReportParams(
        start_s=pair.start_s, end_s=pair.end_s, rule=rule, profiles=[limit], catalogue_digest="", mesh_version=None
    )
    document = build_report(params, [(pair, [limit])])
    verdict = document.pairs[0]
    shares = msgspec.structs.replace(
        verdict.shares,
        observed=share,
        demonstrated=share,
        pessimistic=_set_interval(verdict.shares.pessimistic, share),
        optimistic=_set_interval(verdict.shares.optimistic, share),
    )
    migration = [msgspec.structs.replace(row, pessimistic=share) for row in verdict.migration]
    verdict = msgspec.structs.replace(verdict, shares=shares, coverage=share, migration=migration)
    return msgspec.structs.replace(document, pairs=[verdict])


def _set_interval(section: msgspec.Struct, share: float) -> msgspec.Struct:
    interval = msgspec.structs.replace(section.interval, low=share, high=share)  # type: ignore[attr-defined]
    return msgspec.structs.replace(section, interval=interval)


@pytest.mark.parametrize(("share", "low", "high"), [*CASES, *EXACT])
def test_the_report_rounds_outward(share: float, low: str, high: str) -> None:
    """Share, coverage, both bounds and migrations of the text of ``leadline verdict``."""
    text = format_report(build_document(share))

    assert f"interval {low} % to {high} %" in text
    assert f"share    {low} % of" in text
    assert f"coverage {low} %" in text
    assert f"migrate  start times for a whole migration within limits: 1 min {low} %" in text


@pytest.mark.parametrize(("share", "low", "high"), [*CASES, *EXACT])
def test_the_page_rounds_outward(share: float, low: str, high: str) -> None:
    """Both bounds and the demonstrated share of the page of a pair."""
    view = build_verdict_view(build_document(share).pairs[0])

    assert view.interval == f"{low}\u00a0% to {high}\u00a0%"
    assert view.demonstrated == f"{low}\u00a0%"


@pytest.mark.parametrize(("share", "low", "high"), [*CASES, *EXACT])
def test_the_pages_format_ratios_outward(share: float, low: str, high: str) -> None:
    """The function for all other shares and bounds of the pages."""
    assert (format_ratio(share), format_ratio(share, up=True)) == (f"{low}\u00a0%", f"{high}\u00a0%")


@pytest.mark.parametrize("share", [0.0, 0.9949996, 0.9999999, 1.0])
def test_the_document_keeps_full_precision(share: float) -> None:
    """Rounding is for text only."""
    interval = build_document(share).pairs[0].shares.pessimistic.interval
    assert interval is not None
    assert interval.low == share


def make_interval(low: float, high: float) -> ShareInterval:
    return ShareInterval(
        low=low,
        high=high,
        share=low,
        method=IntervalMethod.EPISODE_BOUND,
        counted_state=CountedState.BAD,
        episodes=0,
        mean_length=None,
        n_eff=None,
        days=28,
        windows=40_320,
        unseen_outage_windows=30,
    )


@pytest.mark.parametrize(("share", "low", "high"), CASES)
def test_reasons_round_outward(share: float, low: str, high: str) -> None:
    """At least: down; at most: up; between: both."""
    rule, interval = VerdictRule(target_share=0.9), make_interval(share, share)

    assert f"at least {low} % of the minutes" in reasons.share_demonstrated(interval, rule).text
    assert f"at most {high} % of the minutes" in reasons.share_below_target(interval, rule).text
    assert f"between {low} % and {high} %" in reasons.undecided(share, share, rule).text
    assert f"{low} % of the minutes are known" in reasons.coverage_low(share).text


def test_a_bound_below_the_target_does_not_print_as_the_target() -> None:
    """ "At most 99.500 %, below the target of 99.500 %" would contradict itself."""
    text = reasons.share_below_target(make_interval(0.99, 0.9949996), VerdictRule()).text
    assert "at most 99.49996 % of the minutes" in text
    assert "below the target of 99.500 %" in text


@pytest.mark.parametrize(("target", "text"), [(0.995, "99.500 %"), (0.9999999, "99.99999 %")])
def test_a_target_is_not_rounded(target: float, text: str) -> None:
    """A target is given, not measured: it prints with all its digits."""
    assert f"Requirement: {text} of the minutes" in format_report(build_document(1.0, target))
    assert f"the target of {text} is" in reasons.undecided(0.6, 1.0, VerdictRule(target_share=target)).text
    assert format_target(target) == text.replace("99.500", "99.5").replace(" ", "\u00a0")


@pytest.mark.parametrize(
    ("low", "limit", "text"),
    [
        (0.00100000004, 0.001, "at least 0.100000004 %, above the limit of 0.100 %"),
        (0.9999999, 1e-7, "at least 99.999 %, above the limit of 0.00001 %"),
        (2e-7, 1e-7, "at least 0.00002 %, above the limit of 0.00001 %"),
    ],
)
def test_the_bound_on_loss_is_rounded_down(low: float, limit: float, text: str) -> None:
    """The limit prints as it is, the bound on its side of the limit."""
    section = LossSection(
        limit_id="x", limit_ratio=limit, sent=10, lost=9, low=low, high=1.0, finding="above", probes_needed=0
    )
    assert text in reasons.loss_above_limit(section).text


@pytest.mark.parametrize(
    ("good", "known", "text"),
    [(57, 100, "57.00 % of 100"), (9_999_999, 10_000_000, "99.99 % of"), (1, 10_000_000, "0.00001 % of")],
)
def test_the_chart_of_hours_rounds_down(good: int, known: int, text: str) -> None:
    """The tip of a cell."""
    cell = HourCell(
        weekday=0,
        hour=0,
        window_count=known,
        known_count=known,
        good_count=good,
        cause_counts={},
        is_covered=True,
        is_worst=False,
    )
    assert f"\n{text}" in str(msgspec.json.encode(build_hour_of_week_chart([cell], "")).decode().replace("\\n", "\n"))


def test_migrations_round_down() -> None:
    """One start of 29 in 100 is 29 %, not 28.99; one bad minute of 100,000 is not 100 %."""
    row = _to_migration_row(1, _make_states(lambda states: states[29:].fill(BAD), 100), START_S)
    assert row.usable_share == "29.00\u00a0%"
    row = _to_migration_row(1, _make_states(lambda states: states[:1].fill(BAD), 100_000), START_S)
    assert row.usable_share == "99.99\u00a0%"
    row = _to_migration_row(1, _make_states(lambda states: states[1:].fill(BAD), 100_000), START_S)
    assert row.usable_share == "0.001\u00a0%"


def _make_states(change: Callable[[np.ndarray[tuple[int], np.dtype[np.uint8]]], None], count: int) -> ScenarioStates:
    states = np.full(count, GOOD, dtype=np.uint8)
    change(states)
    return ScenarioStates(worst_case=states, best_case=states, causes=np.zeros_like(states))


def test_minimum_delays_and_distances_round_outward() -> None:
    """Minimum RTTs and the distance that a limit allows are rounded down."""
    assert reasons.format_ms(4_713.9) == "4.713 ms"
    assert reasons.format_km(421.99) == "421 km"
