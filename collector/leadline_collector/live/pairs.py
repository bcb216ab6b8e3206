"""Refresh of ``pair_now``: the state of every pair of the mesh by every active profile in the newest due minute.

Rule 1: the state is the worst case, as in the matrix and in verdicts.
Rule 2: every refresh evaluates the last 15 minutes again. Windows of earlier minutes only change ``known_at``: a late
backlog does not look like a change of state.
Rule 3: a pair is invalid while a reply of the 15 minutes is faster than light. The state stays as measured.
Rule 4: if a run of one state fills the 15 minutes, its start comes from the previous row. Without a row, or with one
that is too old, the last day is searched; the start of a run that fills the day is the start of the day.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from leadline.mesh.model import Mesh
from leadline.model import WINDOW_S
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.live import store as live_store
from leadline_collector.live.recent_states import (
    INFINITE_US,
    NO_PATH_US,
    MinuteInterval,
    PairIds,
    WorstCase,
    compute_worst_p95_us,
    evaluate_worst_case,
    find_min_us,
    find_newest_known,
    measure_last_runs,
)
from leadline_collector.live.store import PairKey, PairNowRow
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh.propagation import is_invalid_rtt
from leadline_collector.mesh.registry import Registry, load_registry
from leadline_collector.rollup import hour_reader, profile_revisions, window_codec
from leadline_collector.rollup.hour_reader import HourBlock
from leadline_collector.rollup.profile_revisions import ProfileRevision
from leadline_collector.windows.dirty_hours import DAY_S
from leadline_verdict.states import (
    BAD,
    BOTH,
    CAUSES_BY_CODE,
    GOOD,
    LATENCY,
    LOSS,
    STATES_BY_CODE,
    UNAVAILABLE,
)

log = logging.getLogger(__name__)

#: A minute is sealed 16 s after its end and sent at once; this leaves an agent time for a second attempt.
GRACE_S = 90
#: Minutes that a refresh evaluates and counts; late windows may still change them.
RECENT_MINUTES = 15
#: How far back a refresh searches for the start of a run and for the newest known minute.
LOOKBACK_S = DAY_S
#: Rows at most, the first pairs by id: about a second of work per minute.
ROWS_MAX = 50_000
#: First key of the advisory lock: one process refreshes at a time, the others skip the round.
REFRESH_LOCK = 53235469

#: Start and p95 (µs) of a known minute; the p95 is None if it is infinite.
KnownMinute: TypeAlias = tuple[int, int | None]
#: Newest window examined, by pair without a known recent minute, so that each window is examined once.
LastCheckedWindows: TypeAlias = MutableMapping[PairIds, int]


def compute_due_minute(now_s: int) -> int:
    """Return the start of the newest minute whose windows have had time to arrive."""
    return (now_s - GRACE_S) // WINDOW_S * WINDOW_S - WINDOW_S


def refresh_pairs(store: Store, now_s: int, last_checked: LastCheckedWindows) -> int | None:
    """Upsert the current state of every active pair and profile, delete stale rows; return the row count.

    Do nothing and return None if another collector is refreshing.
    """
    with store.try_lock(REFRESH_LOCK, 0) as has_lock:
        if not has_lock:
            return None
        with store.read() as reader:
            old_rows = live_store.load_pairs(reader.connection)
            rows = list(_build_rows(reader, old_rows, now_s, last_checked))
        with store.write() as writer:
            live_store.upsert_pairs(writer.connection, rows)
            live_store.delete_pairs(writer.connection, old_rows.keys() - {row[:3] for row in rows})
        return len(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _EvaluatedMinutes:
    """Evaluated minutes of pairs: states and causes by every revision, and p95."""

    minutes: MinuteInterval
    #: Row of each pair in the arrays.
    row_by_pair: Mapping[PairIds, int]
    worst_case_by_revision: Mapping[int, WorstCase]
    #: One row per pair, one column per minute.
    p95_us: NDArray[np.int64]
    simulated_pairs: Collection[PairIds]
    imported_pairs: Collection[PairIds]
    #: Smallest RTT by pair; pairs without a reply are left out.
    min_us: Mapping[PairIds, int]

    def get_minute(self, row: int, column: int) -> KnownMinute | None:
        """Return the known minute of a column; None for column -1, no known minute."""
        if column < 0:
            return None
        p95_us = int(self.p95_us[row, column])
        return self.minutes.start_s + column * WINDOW_S, None if p95_us in (INFINITE_US, NO_PATH_US) else p95_us


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowDraft:
    """A row of ``pair_now`` from the last 15 minutes alone."""

    key: PairKey
    state: int
    cause: int
    #: None if the start of the run must be searched for in the last day.
    since: int | None
    #: None if all 15 minutes are unknown.
    newest_minute: KnownMinute | None
    #: Good, bad and unavailable minutes.
    counts: tuple[int, int, int]
    #: Bad minutes by cause: loss, latency, both.
    cause_counts: tuple[int, int, int]
    simulated: bool
    imported: bool
    invalid: bool

    @property
    def pair(self) -> PairIds:
        return self.key[0], self.key[2]


def _build_rows(
    reader: ReadTransaction, old_rows: Mapping[PairKey, PairNowRow], now_s: int, last_checked: LastCheckedWindows
) -> Iterator[PairNowRow]:
    active_mesh = mesh_service.load_active_mesh(reader)
    if active_mesh is None:
        return
    mesh, connection = active_mesh[1], reader.connection
    registry = load_registry(connection)
    revisions = _load_active_revisions(reader)
    t = compute_due_minute(now_s)
    # A row of a later minute comes from a wrong clock.
    old_rows = {key: row for key, row in old_rows.items() if row.t <= t}
    pairs = [(registry.site_ids[pair.source], registry.site_ids[pair.destination]) for pair in mesh.pairs]
    row_by_pair = {pair: number for number, pair in enumerate(_limit_pairs(pairs, len(revisions)))}
    minutes = MinuteInterval(start_s=t - (RECENT_MINUTES - 1) * WINDOW_S, end_s=t + WINDOW_S)
    agents = [src_id for site in {pair[0] for pair in row_by_pair} for src_id in registry.agents_by_site.get(site, ())]
    evaluated = _evaluate_minutes(
        _load_recent_windows(connection, agents, minutes), revisions, registry, row_by_pair, minutes
    )
    simulated_sites = {registry.site_ids[site.name] for site in mesh.sites if site.simulated}
    invalid_pairs = _find_invalid_pairs(mesh, registry, evaluated.min_us)
    drafts = list(_draft_rows(evaluated, old_rows, simulated_sites, invalid_pairs))
    lookups = _look_up_day(connection, drafts, revisions, registry, old_rows, minutes, last_checked)
    for draft in drafts:
        yield _finish_row(draft, old_rows.get(draft.key), lookups.get(draft.key, _EMPTY_LOOKUP), t, now_s)


def _find_invalid_pairs(mesh: Mesh, registry: Registry, min_us_by_pair: Mapping[PairIds, int]) -> set[PairIds]:
    """Return the pairs whose smallest RTT is below the propagation delay in a vacuum."""
    sites = {registry.site_ids[site.name]: site for site in mesh.sites}
    return {
        (source_id, destination_id)
        for (source_id, destination_id), min_us in min_us_by_pair.items()
        if is_invalid_rtt(sites[source_id], sites[destination_id], min_us)
    }


def _limit_pairs(pairs: list[PairIds], revision_count: int) -> list[PairIds]:
    pairs_max = ROWS_MAX // max(1, revision_count)
    if len(pairs) > pairs_max:
        log.warning(
            "too many pairs: current state is kept for the first ones only",
            extra={"pairs": len(pairs), "of": pairs_max},
        )
    return sorted(pairs)[:pairs_max]


def _load_active_revisions(reader: ReadTransaction) -> list[ProfileRevision]:
    """Load the current revisions of the profiles of the active mesh."""
    profiles = set(profile_revisions.load_active_profiles(reader).values())
    return [
        revision
        for revision in profile_revisions.load_current_revisions(reader.connection)
        if revision.profile in profiles
    ]


def _load_recent_windows(connection: Connection, agents: Sequence[int], minutes: MinuteInterval) -> HourBlock:
    """Load windows from ``window_stat``, which has every window of the last days."""
    empty = HourBlock(keys=[], values=window_codec.make_empty_hours(0), simulated=np.zeros(0, bool))
    return hour_reader.overlay_windows(
        empty, hour_reader.load_window_rows(connection, agents, None, minutes.start_s, minutes.end_s)
    )


def _evaluate_minutes(
    windows: HourBlock,
    revisions: Sequence[ProfileRevision],
    registry: Registry,
    row_by_pair: Mapping[PairIds, int],
    minutes: MinuteInterval,
) -> _EvaluatedMinutes:
    return _EvaluatedMinutes(
        minutes=minutes,
        row_by_pair=row_by_pair,
        worst_case_by_revision={
            revision.id: evaluate_worst_case(windows, revision.criteria, registry, row_by_pair, minutes)
            for revision in revisions
        },
        p95_us=compute_worst_p95_us(windows, registry, row_by_pair, minutes),
        simulated_pairs={
            (registry.site_by_agent[key[0]], registry.site_by_target[key[1]])
            for key, simulated in zip(windows.keys, windows.simulated.tolist(), strict=True)
            if simulated
        },
        imported_pairs={
            (registry.site_by_agent[key[0]], registry.site_by_target[key[1]])
            for key in windows.keys
            if key[0] in registry.imported_agents
        },
        min_us=find_min_us(windows, registry, row_by_pair),
    )


def _draft_rows(
    evaluated: _EvaluatedMinutes,
    old_rows: Mapping[PairKey, PairNowRow],
    simulated_sites: Collection[int],
    invalid_pairs: Collection[PairIds],
) -> Iterator[_RowDraft]:
    simulated = [
        pair in evaluated.simulated_pairs or pair[0] in simulated_sites or pair[1] in simulated_sites
        for pair in evaluated.row_by_pair
    ]  # in the order of the rows
    for revision_id, worst_case in evaluated.worst_case_by_revision.items():
        states, causes = worst_case.states, worst_case.causes
        newest, runs = find_newest_known(states).tolist(), measure_last_runs(states).tolist()
        counts = [(states == state).sum(axis=1).tolist() for state in (GOOD, BAD, UNAVAILABLE)]
        cause_counts = [(causes == cause).sum(axis=1).tolist() for cause in (LOSS, LATENCY, BOTH)]
        final, final_cause = states[:, -1].tolist(), causes[:, -1].tolist()
        for (source_id, destination_id), row in evaluated.row_by_pair.items():
            key = source_id, revision_id, destination_id
            since = _find_run_start(evaluated.minutes, runs[row], final[row], old_rows.get(key))
            yield _RowDraft(
                key=key,
                state=final[row],
                cause=final_cause[row],
                since=since,
                newest_minute=evaluated.get_minute(row, newest[row]),
                counts=(counts[0][row], counts[1][row], counts[2][row]),
                cause_counts=(cause_counts[0][row], cause_counts[1][row], cause_counts[2][row]),
                simulated=simulated[row],
                imported=(source_id, destination_id) in evaluated.imported_pairs,
                invalid=(source_id, destination_id) in invalid_pairs,
            )


def _find_run_start(minutes: MinuteInterval, run: int, state: int, old_row: PairNowRow | None) -> int | None:
    """Return the start of a run of ``run`` minutes at the end of the interval.

    If the run fills the interval, take the start from the previous row; return None if that row has another state or is
    too old.
    """
    if run < len(minutes):
        return minutes.end_s - run * WINDOW_S
    if old_row is not None and old_row.state == STATES_BY_CODE[state] and old_row.t >= minutes.start_s - WINDOW_S:
        return min(old_row.since, minutes.start_s)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _DayLookup:
    """Result of the search through the last day, for a pair and a revision."""

    since: int | None = None
    newest_minute: KnownMinute | None = None


_EMPTY_LOOKUP = _DayLookup()


def _finish_row(draft: _RowDraft, old_row: PairNowRow | None, lookup: _DayLookup, t: int, now_s: int) -> PairNowRow:
    known_at, p95_us = draft.newest_minute or _choose_newer(lookup.newest_minute, old_row, t) or (None, None)
    since = lookup.since if draft.since is None else draft.since
    assert since is not None  # _look_up_day has every draft without a start
    cause = CAUSES_BY_CODE[draft.cause]
    return PairNowRow(
        *draft.key,
        t,
        STATES_BY_CODE[draft.state].value,
        since,
        known_at,
        p95_us,
        *draft.counts,
        draft.simulated,
        now_s,
        None if cause is None else cause.value,
        *draft.cause_counts,
        draft.imported,
        draft.invalid,
    )


def _choose_newer(lookup: KnownMinute | None, old_row: PairNowRow | None, t: int) -> KnownMinute | None:
    """Return the newest known minute of the last day: from the search or from the previous row."""
    if old_row is None or old_row.known_at is None or old_row.known_at <= t - LOOKBACK_S:
        return lookup
    minute = old_row.known_at, old_row.p95_us
    return minute if lookup is None or lookup[0] < minute[0] else lookup


def _look_up_day(
    connection: Connection,
    drafts: Sequence[_RowDraft],
    revisions: Sequence[ProfileRevision],
    registry: Registry,
    old_rows: Mapping[PairKey, PairNowRow],
    minutes: MinuteInterval,
    last_checked: LastCheckedWindows,
) -> Mapping[PairKey, _DayLookup]:
    """Search the last day for the pairs that need it, one source site at a time: all sites together take 150 MB."""
    from_s = _find_late_pairs(connection, drafts, registry, old_rows, minutes, last_checked)
    from_s |= {draft.pair: minutes.end_s - LOOKBACK_S for draft in drafts if draft.since is None}
    drafts_by_site: defaultdict[int, list[_RowDraft]] = defaultdict(list)
    for draft in drafts:
        if draft.pair in from_s:
            drafts_by_site[draft.pair[0]].append(draft)
    lookups: dict[PairKey, _DayLookup] = {}
    for source_id, site_drafts in drafts_by_site.items():
        pairs = {draft.pair for draft in site_drafts}
        interval = MinuteInterval(start_s=min(from_s[pair] for pair in pairs), end_s=minutes.end_s)
        windows = hour_reader.load_hours(
            connection, registry.agents_by_site.get(source_id, ()), interval.first_hour_s, interval.end_s
        )
        row_by_pair = {pair: number for number, pair in enumerate(pairs)}
        lookups |= _extract_lookups(
            _evaluate_minutes(windows, revisions, registry, row_by_pair, interval), site_drafts, old_rows
        )
    return lookups


def _extract_lookups(
    evaluated: _EvaluatedMinutes, drafts: Collection[_RowDraft], old_rows: Mapping[PairKey, PairNowRow]
) -> Mapping[PairKey, _DayLookup]:
    states_by_revision = {
        revision_id: worst_case.states for revision_id, worst_case in evaluated.worst_case_by_revision.items()
    }
    runs = {revision_id: measure_last_runs(states).tolist() for revision_id, states in states_by_revision.items()}
    newest = {revision_id: find_newest_known(states).tolist() for revision_id, states in states_by_revision.items()}
    lookups = {}
    for draft in drafts:
        row, revision_id = evaluated.row_by_pair[draft.pair], draft.key[1]
        since = _find_run_start(evaluated.minutes, runs[revision_id][row], draft.state, old_rows.get(draft.key))
        lookups[draft.key] = _DayLookup(
            since=evaluated.minutes.start_s if since is None else since,
            newest_minute=evaluated.get_minute(row, newest[revision_id][row]),
        )
    return lookups


def _find_late_pairs(
    connection: Connection,
    drafts: Sequence[_RowDraft],
    registry: Registry,
    old_rows: Mapping[PairKey, PairNowRow],
    minutes: MinuteInterval,
    last_checked: LastCheckedWindows,
) -> dict[PairIds, int]:
    """Return where to start the search, by pair without a known recent minute and with a window not examined yet."""
    first_s = minutes.end_s - LOOKBACK_S
    known_at: dict[PairIds, int] = {}
    for draft in drafts:
        if draft.newest_minute is None:
            row = old_rows.get(draft.key)
            at = -1 if row is None or row.known_at is None else row.known_at
            known_at[draft.pair] = min(known_at.get(draft.pair, at), at)
    agents = {src_id for pair in known_at for src_id in registry.agents_by_site.get(pair[0], ())}
    if not agents:
        return {}
    newest_by_pair: dict[PairIds, int] = {}
    for (src_id, dst_id), t in live_store.load_newest_windows(connection, agents, first_s, minutes.start_s).items():
        pair = registry.site_by_agent[src_id], registry.site_by_target[dst_id]
        newest_by_pair[pair] = max(t, newest_by_pair.get(pair, t))
    start_s = {}
    for pair, t in newest_by_pair.items():
        if pair in known_at and t > (checked_s := max(last_checked.get(pair, -1), known_at[pair])):
            start_s[pair], last_checked[pair] = max(first_s, checked_s + WINDOW_S), t
    return start_s
