"""How a pair stands with each of its profiles by the windows of a period, and its latest windows; texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from leadline import propagation
from leadline.evaluation import Criterion, EvaluationPlan, WindowStateCounts
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.model import WINDOW_S, Pair
from leadline_collector.analysis.documents import PathWindowAnswer, ProfileAnswer, WindowAnswer
from leadline_collector.analysis.pair_windows import load_pair_windows
from leadline_collector.analysis.profiles import build_profile
from leadline_collector.db.transactions import Store
from leadline_collector.time_range import TimeRange
from leadline_collector.web import formatting
from leadline_collector.web.params import PageParams
from leadline_collector.web.views.pair_buckets import (
    CurrentState,
    evaluate_scenarios,
    find_current_state,
    find_present_minutes,
)
from leadline_collector.web.views.propagation import REACH_LABELS, classify_reach, describe_reach
from leadline_verdict.compliance_share import count_state_codes
from leadline_verdict.pair import PairWindows
from leadline_verdict.states import STATES_BY_CODE, ScenarioStates, StateArray

#: An hour, at which one still finds a line by eye.
LATEST_WINDOWS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioView:
    """A tally in words; ``share`` is None if no window is known."""

    share: str | None
    tally: WindowStateCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileView:
    """How the pair stands with one profile, by the windows of the period."""

    profile: ProfileAnswer
    href: str
    is_current: bool
    #: Why nothing can be judged by it; None if something can.
    reason: str | None
    #: Name of the symbol.
    icon: str
    label: str
    #: What was measured, where light has the first word; None elsewhere.
    measured_state: str | None
    since: str
    worst_case: ScenarioView
    best_case: ScenarioView
    coverage: str
    #: What light says to each limit that bounds the round trip, by its id.
    reach_by_limit: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRow:
    """A line of the table, or one for each path: the states are the pair's."""

    start: str
    states: list[str]
    paths: list[PathWindowAnswer]


def build_profile_view(
    evaluation_plan: EvaluationPlan, windows: PairWindows, mesh: Mesh, params: PageParams, profile_id: str
) -> ProfileView:
    known = load_catalogue()
    pair = Pair(source=windows.source, destination=windows.destination)
    readings = evaluate_scenarios(windows, evaluation_plan.criteria)
    now = find_current_state(windows, readings.worst_case)
    reach = classify_reach(mesh, pair, evaluation_plan.criteria)
    word = REACH_LABELS.get(reach, now.state.value)
    return ProfileView(
        profile=build_profile(known, known.get_profile(profile_id)),
        href=replace(params, profile=profile_id).pair_url(pair),
        is_current=profile_id == params.profile,
        reason=evaluation_plan.reason,
        icon=word.replace(" ", "-"),
        label=word,
        measured_state=now.state.value if reach in REACH_LABELS else None,
        since=_format_since(now),
        worst_case=_to_scenario_view(readings.worst_case),
        best_case=_to_scenario_view(readings.best_case),
        coverage=_format_coverage(readings),
        reach_by_limit=_describe_reaches(mesh, pair, evaluation_plan.criteria),
    )


def _describe_reaches(mesh: Mesh, pair: Pair, criteria: Sequence[Criterion]) -> dict[str, str]:
    floors = propagation.compute_propagation_delay(mesh.get_site(pair.source), mesh.get_site(pair.destination))
    return {one.limit_id: describe_reach(floors, one) for one in criteria if one.is_rtt_limit}


def _format_since(current_state: CurrentState) -> str:
    if current_state.since_s is None:
        return ""
    return (
        f"since {'before ' if current_state.has_earlier_start else ''}{formatting.format_time(current_state.since_s)}"
    )


def _format_coverage(readings: ScenarioStates) -> str:
    return formatting.format_percent(int((~readings.unknown_minutes).sum()), len(readings))


def _to_scenario_view(states: StateArray) -> ScenarioView:
    found = count_state_codes(states)
    return ScenarioView(share=formatting.format_percent(found.good, found.known) if found.known else None, tally=found)


def load_latest_windows(
    store: Store, period: TimeRange, windows: PairWindows, evaluation_plans: Sequence[EvaluationPlan]
) -> list[WindowRow]:
    """The last windows that have a row, newest first; none where ``window_stat`` is gone."""
    there = find_present_minutes(windows)
    if not len(there):
        return []
    start_s = windows.start_s + int(there[-LATEST_WINDOWS:][0]) * WINDOW_S
    pair = Pair(source=windows.source, destination=windows.destination)
    rows = load_pair_windows(store, pair, replace(period, start_s=start_s), None, LATEST_WINDOWS).windows
    return list(
        _build_window_rows(rows, windows, [evaluate_scenarios(windows, one.criteria) for one in evaluation_plans])
    )


def _build_window_rows(
    rows: Sequence[WindowAnswer], windows: PairWindows, readings: Sequence[ScenarioStates]
) -> Iterator[WindowRow]:
    for window in reversed(rows):
        place = (window.t - windows.start_s) // WINDOW_S
        states = [STATES_BY_CODE[one.worst_case[place]].value for one in readings]
        yield WindowRow(start=formatting.format_time(window.t).removesuffix(" UTC"), states=states, paths=window.paths)
