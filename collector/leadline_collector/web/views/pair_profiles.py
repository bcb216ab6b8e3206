"""Summary of a pair for each profile over a period, and its latest windows. Texts, no HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from leadline.evaluation import Criterion, EvaluationPlan, WindowStateCounts
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.model import WINDOW_S, Pair
from leadline_collector.analysis.documents import PairWindowResponse, PathWindowResponse, ProfileResponse
from leadline_collector.analysis.pair_windows import load_pair_windows
from leadline_collector.analysis.profiles import build_profile
from leadline_collector.db.transactions import ReadTransaction
from leadline_collector.mesh.propagation import get_propagation_delay
from leadline_collector.time_range import TimeRange
from leadline_collector.web.formatting import format_cause_counts, format_percent, format_state, format_time
from leadline_collector.web.params import PageParams
from leadline_collector.web.views.causes import count_causes
from leadline_collector.web.views.pair_buckets import (
    CurrentState,
    evaluate_scenarios,
    find_current_state,
    find_present_minutes,
)
from leadline_collector.web.views.propagation import describe_reach, find_override_label, has_invalid_minimum
from leadline_verdict.pair import PairWindows
from leadline_verdict.states import CAUSES_BY_CODE, STATES_BY_CODE, ScenarioStates, StateArray, count_state_codes

#: Rows of the table of latest windows: an hour.
LATEST_WINDOWS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioView:
    """The state counts of one scenario; ``share`` is None if no window is known."""

    share: str | None
    tally: WindowStateCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileView:
    """The pair evaluated by one profile over the period."""

    profile: ProfileResponse
    href: str
    is_current: bool
    #: Why the profile cannot be evaluated; None if it can.
    reason: str | None
    #: Name of the symbol.
    icon: str
    label: str
    #: The measured state, if ``label`` is "invalid" or "impossible ..."; otherwise None.
    measured_state: str | None
    since: str
    worst_case: ScenarioView
    best_case: ScenarioView
    #: "12 latency, 3 loss": the minutes out of limit in the worst case; empty without one.
    causes: str
    coverage: str
    #: Feasibility of each RTT limit, by limit id.
    reach_by_limit: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRow:
    """One window of the pair, with one line for each path. The states are those of the pair."""

    start: str
    #: Name of the symbol, and the state with its cause, by profile.
    states: list[tuple[str, str]]
    paths: list[PathWindowResponse]


def build_profile_view(
    evaluation_plan: EvaluationPlan, windows: PairWindows, mesh: Mesh, params: PageParams, profile_id: str
) -> ProfileView:
    """Evaluate the windows of a pair by one profile."""
    catalogue = load_catalogue()
    pair = Pair(source=windows.source, destination=windows.destination)
    scenarios = evaluate_scenarios(windows, evaluation_plan.criteria)
    current_state = find_current_state(windows, scenarios)
    override = find_override_label(mesh, pair, evaluation_plan.criteria, is_invalid=has_invalid_minimum(windows))
    state = format_state(current_state.state, current_state.cause)
    return ProfileView(
        profile=build_profile(catalogue, catalogue.get_profile(profile_id)),
        href=replace(params, profile=profile_id).pair_url(pair),
        is_current=profile_id == params.profile,
        reason=evaluation_plan.reason,
        icon=(override or current_state.state.value).replace(" ", "-"),
        label=override or state,
        measured_state=state if override else None,
        since=_format_since(current_state),
        worst_case=_to_scenario_view(scenarios.worst_case),
        best_case=_to_scenario_view(scenarios.best_case),
        causes=format_cause_counts(count_causes(scenarios.causes)),
        coverage=_format_coverage(scenarios),
        reach_by_limit=_describe_reaches(mesh, pair, evaluation_plan.criteria),
    )


def _describe_reaches(mesh: Mesh, pair: Pair, criteria: Sequence[Criterion]) -> dict[str, str]:
    delay = get_propagation_delay(mesh.get_site(pair.source), mesh.get_site(pair.destination))
    return {criterion.limit_id: describe_reach(delay, criterion) for criterion in criteria if criterion.is_rtt_limit}


def _format_since(current_state: CurrentState) -> str:
    if current_state.since_s is None:
        return ""
    return f"since {'before ' if current_state.has_earlier_start else ''}{format_time(current_state.since_s)}"


def _format_coverage(scenarios: ScenarioStates) -> str:
    return format_percent(int((~scenarios.unknown_minutes).sum()), len(scenarios))


def _to_scenario_view(states: StateArray) -> ScenarioView:
    counts = count_state_codes(states)
    return ScenarioView(share=format_percent(counts.good, counts.known) if counts.known else None, tally=counts)


def load_latest_windows(
    reader: ReadTransaction, period: TimeRange, windows: PairWindows, evaluation_plans: Sequence[EvaluationPlan]
) -> list[WindowRow]:
    """Load the latest windows, newest first; empty after the retention of ``window_stat``."""
    minutes = find_present_minutes(windows)
    if not len(minutes):
        return []
    start_s = windows.start_s + int(minutes[-LATEST_WINDOWS:][0]) * WINDOW_S
    pair = Pair(source=windows.source, destination=windows.destination)
    rows = load_pair_windows(reader, pair, replace(period, start_s=start_s), None, LATEST_WINDOWS).windows
    scenarios = [evaluate_scenarios(windows, plan.criteria) for plan in evaluation_plans]
    return list(_build_window_rows(rows, windows, scenarios))


def _build_window_rows(
    rows: Sequence[PairWindowResponse], windows: PairWindows, scenarios: Sequence[ScenarioStates]
) -> Iterator[WindowRow]:
    for window in reversed(rows):
        minute = (window.t - windows.start_s) // WINDOW_S
        states = [_format_minute(scenario, minute) for scenario in scenarios]
        yield WindowRow(start=format_time(window.t).removesuffix(" UTC"), states=states, paths=window.paths)


def _format_minute(scenarios: ScenarioStates, minute: int) -> tuple[str, str]:
    state = STATES_BY_CODE[scenarios.worst_case[minute]]
    return state.value, format_state(state, CAUSES_BY_CODE[scenarios.causes[minute]])
