"""Tests of the simulation with short runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import groupby
from pathlib import Path as FilePath

import numpy as np
import pytest

from leadline_verdict.document import VerdictClass
from leadline_verdict.episodes import find_runs
from tests.simulate.__main__ import SimulationPlan, build_report
from tests.simulate.campaign import ScenarioResult, measure_long_run_share
from tests.simulate.changes import ChangePointResult
from tests.simulate.classification import CampaignMinutes, classify_campaign
from tests.simulate.monotony import MonotonyResult, compare_bounds, count_inversions, measure_monotony, merge_results
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
from tests.simulate.scenarios import SimulationScenario, build_scenarios, is_clearly_inside, is_outside
from tests.simulate.tables import BEGIN, END, format_markdown, write_pages

ROOT = FilePath(__file__).resolve().parents[2]


def ignore_progress(_: str) -> None:
    """Do nothing."""


def select_scenarios(*keys: str) -> tuple[SimulationScenario, ...]:
    by_key = {scenario.key: scenario for scenario in build_scenarios()}
    return tuple(by_key[key] for key in keys)


SHORT = (
    "bursty, 12 min, 99.90%, 28 d",
    "bursty, 12 min, 99.00%, 28 d",
    "diurnal, 99.00%, 28 d",
    "AR(0.99), 95.00%, 28 d",
    "route moved, 99.90%, 28 d",
    "bursty, 12 min, step, 99.60%, 63 d",
    "weekends, 99.60%, 63 d",
    "2 days a year, declared, 99.45%, 126 d",
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


def simulate(
    runs: int, seed: int, *keys: str, rhos: tuple[float, ...] = (), paths: int = 0, processes: int = 1
) -> SimulationReport:
    plan = SimulationPlan(runs=runs, seed=seed, scenarios=select_scenarios(*keys), rhos=rhos, monotony_paths=paths)
    return build_report(plan, ignore_progress, processes)


def test_a_short_run_meets_every_goal() -> None:
    """60 campaigns on eight paths, ten random paths and a month of noise meet all goals."""
    report = simulate(60, 1, *SHORT, rhos=(0.9,), paths=10)

    assert [goal for goal in report.goals if not goal.met] == []
    assert len(report.goals) == 6
    assert report.meets_goals


def test_the_binomial_interval_has_low_coverage() -> None:
    """The binomial interval assumes independent windows and covers the truth in far too few campaigns."""
    report = simulate(60, 1, "bursty, 12 min, 99.90%, 28 d", "AR(0.99), 95.00%, 28 d")

    assert all(row.get_ratio("binomial") < 0.7 for row in report.rows)


def test_the_result_depends_on_the_seed_only() -> None:
    """The same seed gives the same result, with more scenarios and with two processes; another seed another one."""
    first, second, longer = (
        simulate(10, 3, *SHORT[:count], paths=2, processes=processes) for count, processes in ((1, 1), (1, 2), (2, 1))
    )
    other = simulate(10, 4, SHORT[0])

    assert first.format_json() == second.format_json()
    assert first.rows == longer.rows[:1]
    assert first.rows != other.rows


def build_row(key: str = SHORT[0], *, low: int = 100, runs: int = 100, **words: int) -> ScenarioResult:
    scenario = select_scenarios(key)[0]
    return ScenarioResult(
        scenario=scenario,
        runs=runs,
        holding={"low": low},
        classes={0.995: {VerdictClass(name): count for name, count in words.items()}, 0.999: {}},
    )


def make_report(*rows: ScenarioResult, inversions: int = 0, **changes: int) -> SimulationReport:
    noise = ChangePointResult(rho=0.0, months=1, unmerged=0, false=0, found=3, extra=0)
    monotony = MonotonyResult(change="laxer limit: verdict", paths=1, comparisons=9, inversions=inversions)
    return SimulationReport(runs=100, seed=1, rows=rows, changes=(replace(noise, **changes),), monotony=(monotony,))


def test_the_goals_include_their_limits() -> None:
    """2 % false beyond of both forms together, 5 % false within and 90 % coverage meet the goals; one more does not."""
    inside, outside = "bursty, 12 min, 99.90%, 28 d", "bursty, 12 min, 99.00%, 28 d"

    assert make_report(build_row(inside, low=90, beyond=1, beyond_provisional=1)).meets_goals
    assert make_report(build_row(outside, within=5, within_provisional=60, beyond=30)).meets_goals
    assert not make_report(build_row(inside, beyond=2, beyond_provisional=1)).meets_goals
    assert not make_report(build_row(outside, within=6)).meets_goals
    assert not make_report(build_row(low=89)).meets_goals
    assert not make_report(build_row(), inversions=1).meets_goals
    assert not make_report(build_row(), false=1).meets_goals
    assert not make_report(build_row(), extra=1).meets_goals
    assert not make_report(build_row(), found=2).meets_goals


def test_undeclared_longer_outages_count_for_false_beyond_only() -> None:
    """Undeclared outages of 6 hours may give any number of false "within", but at most 2 % false "beyond"."""
    outside, inside = "outages of 6 h, 99.00%, 28 d", "outages of 6 h, 99.95%, 28 d"

    assert make_report(build_row(outside, low=0, within=100)).meets_goals
    assert not make_report(build_row(inside, beyond=3)).meets_goals
    assert not make_report(build_row("outages of 6 h, declared, 99.00%, 28 d", within=6)).meets_goals


@pytest.mark.parametrize(
    ("truth", "target", "inside", "outside"),
    [
        (0.996, 0.995, True, False),
        (0.9955, 0.995, False, False),
        (0.995, 0.995, False, False),
        (0.99, 0.995, False, True),
        (0.9995, 0.999, True, False),
        (0.999, 0.999, False, False),
        (0.996, 0.999, False, True),
    ],
)
def test_a_false_verdict_depends_on_the_truth(truth: float, target: float, inside: bool, outside: bool) -> None:
    """ "Beyond" is false 0.1 points above the target, or anywhere above 99.9 %; "within" is false below the target."""
    assert is_clearly_inside(truth, target) is inside
    assert is_outside(truth, target) is outside


def test_two_scenarios_never_have_the_same_key() -> None:
    """The random numbers of a scenario depend on its key."""
    keys = [scenario.key for scenario in build_scenarios()]

    assert len(keys) == len(set(keys))


def test_the_scenarios_of_a_family_are_neighbours() -> None:
    """The tables have one row or one table for each family."""
    names = [scenario.name for scenario in build_scenarios()]

    assert [name for name, _ in groupby(names)] == list(dict.fromkeys(names))


def test_an_inversion_is_a_worse_word_after_a_better_one() -> None:
    """Equal and better words are in order; "insufficient data" is not compared."""
    assert count_inversions(map(VerdictClass, ["beyond", "beyond", "marginal", "within_provisional", "within"])) == (
        4,
        0,
    )
    assert count_inversions(map(VerdictClass, ["marginal", "insufficient_data", "within"])) == (1, 0)
    assert count_inversions(map(VerdictClass, ["within", "insufficient_data", "marginal", "within"])) == (2, 1)


def test_a_lower_bound_after_a_higher_one_is_an_inversion() -> None:
    """An outage of six hours lowers all bounds; the largest decrease is reported."""
    clear = np.ones(28 * 1_440, dtype=np.bool_)
    outage = clear.copy()
    outage[5_000:5_360] = False
    chain = [
        classify_campaign(CampaignMinutes(good=good, observed=clear, is_outage=~good), (0.995,))[0]
        for good in (outage, clear, outage)
    ]
    result = compare_bounds("order", chain)

    assert (result.comparisons, result.inversions) == (6, 3)
    assert result.largest > 0.01


def test_no_verdict_of_random_paths_is_worse_for_a_smaller_demand() -> None:
    """On 20 random paths a laxer limit, a lower target or one bad minute fewer worsens no verdict."""
    results = merge_results(result for number in range(20) for result in measure_monotony(number, 5))

    assert {result.paths for result in results} == {20}
    assert min(result.comparisons for result in results) > 100
    assert [result for result in results if result.change.endswith("verdict") and result.inversions] == []


def test_the_json_report_has_all_scenarios() -> None:
    """Every scenario has its truth and its counts."""
    document = json.loads(make_report(build_row(within=80)).format_json())

    assert document["scenarios"][0]["true_ratio"] == 0.999
    assert document["scenarios"][0]["verdicts"][0]["classes"] == {"within": 80}
    assert document["scenarios"][0]["verdicts"][0]["false"]["within"] is None
    assert {goal["met"] for goal in document["goals"]} == {True}


def test_the_tables_show_false_verdicts() -> None:
    """A false verdict is bold in its row, in its family, and in the table of the limits if its outages are longer."""
    rows = [
        build_row("bursty, 12 min, 99.00%, 28 d", within=3, marginal=97),
        build_row("outages of 12 h, 99.00%, 63 d", within=0, within_provisional=40, beyond=8),
    ]
    text = format_markdown(make_report(*rows))

    assert "| 99.00% | 28 | 100.0% | 0.0% | 0.0% |  |  |  | 97.0% |  | **3.0%** |" in text
    assert "| outages of 12 h * | 100.0% | 0.0% | 0.0% | 0.0% | 40.0% | - | - |" in text
    assert "| outages of 12 h | 99.00% | 99.5% | - | - | 0.0% | 40.0% | - | - |" in text


def test_the_pages_get_their_tables(tmp_path: FilePath) -> None:
    """The text before and after the tables stays; a page without their place is refused."""
    page = tmp_path / "simulation.md"
    page.write_text(f"before\n{BEGIN}\nprevious tables\n{END}\nafter\n", encoding="utf-8")
    write_pages(make_report(build_row()), tmp_path)

    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n100 campaigns")
    assert text.endswith(f"{END}\nafter\n")
    assert "previous tables" not in text
    assert "## bursty, 12 min\n" in (tmp_path / "simulation-tables.md").read_text(encoding="utf-8")
    page.write_text("no tables", encoding="utf-8")
    with pytest.raises(ValueError, match="has no place for the tables"):
        write_pages(make_report(build_row()), tmp_path)


@pytest.mark.source_tree
def test_the_page_lists_every_scenario() -> None:
    """docs/simulation-tables.md has the rows of the command in the same order."""
    printed, name = [], ""
    for line in (ROOT / "docs/simulation-tables.md").read_text(encoding="utf-8").splitlines():
        name = line.removeprefix("## ") if line.startswith("## ") else name
        if match := re.match(r"\| (\d+\.\d\d%) \| (\d+) \|", line):
            printed.append((name, *match.groups()))

    assert printed == [(s.name, f"{s.path.truth:.2%}", str(s.days)) for s in build_scenarios()]
