"""How a pair stands with each of its profiles by the windows of a period, and its latest windows; texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from leadline import propagation
from leadline.evaluation import Criterion, Judged, Tally
from leadline.limits.catalogue import catalogue
from leadline.mesh.model import Mesh
from leadline.model import WINDOW_S, Pair
from leadline_collector.analysis.documents import PathWindowAnswer, ProfileAnswer, WindowAnswer
from leadline_collector.analysis.pair_windows import pair_windows
from leadline_collector.analysis.profiles import profile_answer
from leadline_collector.db.transactions import Store
from leadline_collector.time_range import Period
from leadline_collector.web import formatting
from leadline_collector.web.params import Asked
from leadline_collector.web.views.pair_buckets import Standing, minutes_there, readings_of, standing
from leadline_collector.web.views.propagation import REACH_WORDS, reach_of, reach_text
from leadline_verdict.compliance_share import tally
from leadline_verdict.pair import PairWindows
from leadline_verdict.states import STATES, Readings, States

#: An hour, at which one still finds a line by eye.
LATEST_WINDOWS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A tally in words; ``share`` is None if no window is known."""

    share: str | None
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileView:
    """How the pair stands with one profile, by the windows of the period."""

    profile: ProfileAnswer
    href: str
    current: bool
    #: Why nothing can be judged by it; None if something can.
    reason: str | None
    #: Name of the symbol.
    look: str
    word: str
    #: What was measured, where light has the first word; None elsewhere.
    measured: str | None
    since: str
    pessimistic: Reading
    optimistic: Reading
    coverage: str
    #: What light says to each limit that bounds the round trip, by its id.
    physics: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """A line of the table, or one for each path: the states are the pair's."""

    at: str
    states: list[str]
    paths: list[PathWindowAnswer]


def profile_view(judged: Judged, windows: PairWindows, mesh: Mesh, asked: Asked, name: str) -> ProfileView:
    known = catalogue()
    pair = Pair(source=windows.source, destination=windows.destination)
    readings = readings_of(windows, judged.criteria)
    now = standing(windows, readings.pessimistic)
    reach = reach_of(mesh, pair, judged.criteria)
    word = REACH_WORDS.get(reach, now.state.value)
    return ProfileView(
        profile=profile_answer(known, known.profile(name)),
        href=replace(asked, profile=name).pair(pair),
        current=name == asked.profile,
        reason=judged.reason,
        look=word.replace(" ", "-"),
        word=word,
        measured=now.state.value if reach in REACH_WORDS else None,
        since=_since(now),
        pessimistic=_reading(readings.pessimistic),
        optimistic=_reading(readings.optimistic),
        coverage=_coverage(readings),
        physics=_physics(mesh, pair, judged.criteria),
    )


def _physics(mesh: Mesh, pair: Pair, criteria: Sequence[Criterion]) -> dict[str, str]:
    floors = propagation.floors(mesh.site(pair.source), mesh.site(pair.destination))
    return {one.limit_id: reach_text(floors, one) for one in criteria if one.bounds_rtt}


def _since(now: Standing) -> str:
    if now.since_s is None:
        return ""
    return f"since {'before ' if now.is_older else ''}{formatting.moment(now.since_s)}"


def _coverage(readings: Readings) -> str:
    return formatting.percent(int((~readings.unknown).sum()), len(readings))


def _reading(states: States) -> Reading:
    found = tally(states)
    return Reading(share=formatting.percent(found.good, found.known) if found.known else None, tally=found)


def latest(store: Store, period: Period, shown: PairWindows, judged: Sequence[Judged]) -> list[Minute]:
    """The last windows that have a row, newest first; none where ``window_stat`` is gone."""
    there = minutes_there(shown)
    if not len(there):
        return []
    start_s = shown.start_s + int(there[-LATEST_WINDOWS:][0]) * WINDOW_S
    pair = Pair(source=shown.source, destination=shown.destination)
    rows = pair_windows(store, pair, replace(period, start_s=start_s), None, LATEST_WINDOWS).windows
    return list(_lines(rows, shown, [readings_of(shown, one.criteria) for one in judged]))


def _lines(rows: Sequence[WindowAnswer], shown: PairWindows, readings: Sequence[Readings]) -> Iterator[Minute]:
    for window in reversed(rows):
        place = (window.t - shown.start_s) // WINDOW_S
        states = [STATES[one.pessimistic[place]].value for one in readings]
        yield Minute(at=formatting.moment(window.t).removesuffix(" UTC"), states=states, paths=window.paths)
