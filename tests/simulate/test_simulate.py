"""Tests of the simulation with short runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path as FilePath

import numpy as np
import pytest

from leadline_verdict.episodes import find_runs
from tests.simulate.__main__ import build_report
from tests.simulate.campaign import (
    ScenarioResult,
    SimulationScenario,
    build_scenarios,
    measure_long_run_share,
    simulate_scenario,
)
from tests.simulate.changes import ChangePointResult
from tests.simulate.outages import OutagePath, ParetoOutagePath, PeriodicOutagePath
from tests.simulate.paths import (
    AutocorrelatedPath,
    BadTime,
    BurstyPath,
    DiurnalPath,
    ExcursionPath,
    LossClusterPath,
    RouteChangePath,
    SimulatedPath,
    WeeklyPath,
)
from tests.simulate.report import SimulationReport

ROOT = FilePath(__file__).resolve().parents[2]
COUNTS = ("binomial", "bootstrap", "korn_graubard", "low", "high", "by_episodes", "beyond", "within")


def ignore_progress(_: str) -> None:
    """Do nothing."""


def select_scenarios(*keys: str) -> tuple[SimulationScenario, ...]:
    by_key = {scenario.key: scenario for scenario in build_scenarios()}
    return tuple(by_key[key] for key in keys)


SHORT = select_scenarios(
    "bursty, 12 min, 99.90%, 28 d",
    "bursty, 12 min, 99.00%, 28 d",
    "diurnal, 99.00%, 28 d",
    "AR(0.99), 95.00%, 28 d",
    "route moved, 99.90%, 28 d",
)


@pytest.mark.parametrize(
    ("path", "tolerance"),
    [
        (BurstyPath(truth=0.95, median=5), 0.002),
        (BurstyPath(truth=0.99, median=30), 0.001),
        (BurstyPath(truth=0.999, median=12), 0.0002),
        (DiurnalPath(truth=0.95), 0.002),
        (DiurnalPath(truth=0.999), 0.0001),
        (AutocorrelatedPath(truth=0.99, rho=0.95), 0.0005),
        (ExcursionPath(truth=0.95, away=30), 0.002),
        (WeeklyPath(truth=0.95, bad_time=BadTime.OFFICE_HOURS), 0.001),
        (WeeklyPath(truth=0.99, bad_time=BadTime.WEEKEND), 0.0005),
        (LossClusterPath(truth=0.99), 0.0005),
        (ExcursionPath(truth=0.99, away=180), 0.001),
        (ParetoOutagePath(truth=0.995, alpha=1.1), 0.001),
        (ParetoOutagePath(truth=0.99, alpha=1.3), 0.001),
        (OutagePath(truth=0.999, length=120), 0.0002),
        (OutagePath(truth=0.99, length=360), 0.001),
        (OutagePath(truth=0.95, length=720), 0.002),
        (PeriodicOutagePath(interval=50 * 1_440, length=480), 0.0002),
        (PeriodicOutagePath(interval=131_490, length=720), 0.0003),
        (PeriodicOutagePath(interval=525_960, length=2_880), 0.0003),
        (RouteChangePath(first=BurstyPath(truth=0.999, median=12), second=BurstyPath(truth=0.95, median=12)), 0.002),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_truth_of_a_path_is_correct(path: SimulatedPath, tolerance: float) -> None:
    """The share of good windows over ten times 400 weeks equals the truth."""
    assert measure_long_run_share(path, 2_800, seed=7, campaigns=10) == pytest.approx(path.truth, abs=tolerance)


@pytest.mark.parametrize(
    ("bad_time", "days"), [(BadTime.OFFICE_HOURS, range(5)), (BadTime.WEEKEND, range(5, 7))], ids=str
)
def test_a_weekly_path_is_bad_at_its_times_only(bad_time: BadTime, days: range) -> None:
    """Bad minutes fall on five or two days of seven, for every first day of the week; office hours are 09 to 17 UTC."""
    path = WeeklyPath(truth=0.9, bad_time=bad_time)
    first_bad_days = set()
    for seed in range(30):
        bad = ~path.simulate(np.random.default_rng(seed), 7)
        minutes = np.flatnonzero(bad) % 1_440
        assert np.count_nonzero(bad.reshape(7, -1).any(axis=1)) == len(days)
        if bad_time is BadTime.OFFICE_HOURS:
            assert minutes.min() >= 540
            assert minutes.max() < 1_020
        first_bad_days.add(int(np.flatnonzero(bad)[0]) // 1_440)

    assert len(first_bad_days) > 1


def test_a_pareto_outage_has_a_longest_length() -> None:
    """No outage is longer than the cap, and the mean length includes the cap."""
    path = ParetoOutagePath(truth=0.999, alpha=0.01, longest=60)
    lengths = find_runs(~path.simulate(np.random.default_rng(1), 2_800), merge_gap=0).lengths

    assert np.quantile(lengths, [0.5, 0.95]).tolist() == [60, 60]
    assert ParetoOutagePath(truth=0.5, alpha=1.1).mean == pytest.approx(7.607, abs=0.001)


def test_two_halves_need_an_even_number_of_days() -> None:
    """A campaign of 63 days is refused, because its halves differ."""
    path = RouteChangePath(first=OutagePath(truth=0.99, length=60), second=OutagePath(truth=0.9, length=60))

    with pytest.raises(ValueError, match="63 days have no equal halves"):
        path.simulate(np.random.default_rng(1), 63)


def test_a_short_run_meets_every_goal() -> None:
    """60 campaigns on five paths meet the goals for coverage and false verdicts."""
    report = build_report(60, 1, SHORT, (0.9,), ignore_progress)

    assert [goal for goal in report.goals if not goal.met] == []
    assert report.meets_goals


def test_the_binomial_interval_has_low_coverage() -> None:
    """The binomial interval assumes independent windows and covers the truth in far too few campaigns."""
    rows = [simulate_scenario(scenario, 60, 1) for scenario in SHORT if scenario.name.startswith(("bursty", "AR"))]

    assert all(row.counts["binomial"] < 0.7 * row.runs for row in rows)


def test_the_result_depends_on_the_seed_only() -> None:
    """The same seed gives the same result, another seed another one; additional scenarios change nothing."""
    first, second, longer = (
        build_report(10, 3, scenarios, (), ignore_progress) for scenarios in (SHORT[:1], SHORT[:1], SHORT[:2])
    )
    other = build_report(10, 4, SHORT[:1], (), ignore_progress)

    assert first.format_json() == second.format_json()
    assert first.rows == longer.rows[:1]
    assert first.rows != other.rows


def build_row(**counts: int) -> ScenarioResult:
    return ScenarioResult(scenario=SHORT[0], runs=100, counts=dict.fromkeys(COUNTS, 0) | {"low": 100} | counts)


def make_report(campaigns: ScenarioResult, **changes: int) -> SimulationReport:
    noise = ChangePointResult(rho=0.0, months=1, unmerged=0, false=0, found=3, extra=0)
    return SimulationReport(runs=100, seed=1, rows=(campaigns,), changes=(replace(noise, **changes),))


def test_the_goals_include_their_limits() -> None:
    """90 % and 1 % meet the goals, one more campaign or change point does not."""
    assert make_report(build_row(low=90, beyond=1)).meets_goals
    assert not make_report(build_row(low=89)).meets_goals
    assert not make_report(build_row(beyond=2)).meets_goals
    assert not make_report(build_row(), false=1).meets_goals
    assert not make_report(build_row(), extra=1).meets_goals
    assert not make_report(build_row(), found=2).meets_goals


def test_a_false_verdict_depends_on_the_truth() -> None:
    """ "beyond" is false for a truth above the target, "within" below it, and neither at the target."""
    inside, line, outside = (
        replace(build_row(beyond=3, within=5), scenario=scenario)
        for scenario in select_scenarios("AR(0.99), 99.90%, 28 d", "AR(0.99), 99.50%, 28 d", "AR(0.99), 99.00%, 28 d")
    )

    assert (inside.false_verdicts, line.false_verdicts, outside.false_verdicts) == (3, None, 5)


def test_the_json_report_has_all_scenarios() -> None:
    """Every scenario has its truth and its counts."""
    document = json.loads(make_report(build_row(within=80)).format_json())

    assert document["scenarios"][0]["true_ratio"] == 0.999
    assert document["scenarios"][0]["within"] == 80
    assert [goal["met"] for goal in document["goals"]] == [True] * 4


@pytest.mark.source_tree
def test_the_page_lists_every_scenario() -> None:
    """docs/simulation.md has the rows of the command in the same order."""
    text = (ROOT / "docs/simulation.md").read_text(encoding="utf-8")
    printed = re.findall(r"^\| (.+?)(?: \*)? \| (\d+\.\d%) \| (\d+) \| \d", text, re.MULTILINE)

    assert printed == [(s.name, f"{s.path.truth:.1%}", str(s.days)) for s in build_scenarios()]
