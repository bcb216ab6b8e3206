"""Brings ``pair_now`` up to date: the newest minute that is due, of every pair of the mesh by every rule in force.

Rule 1: the state is the one of the matrix and of verdicts in the pessimistic reading; here it is only looked up.
Rule 2: the last 15 minutes are judged anew each time. What arrives for earlier ones changes ``known_at`` and nothing
else: a backlog that comes in never looks like news.
Rule 3: a run that fills these 15 minutes began where the row before says. Where it cannot say, because there is none or
it is too old, the last day is looked through; a run that fills even that is said to have begun with it.
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
    compute_worst_p95_us,
    evaluate_worst_case,
    find_newest_known,
    measure_last_runs,
)
from leadline_collector.live.store import PairKey, PairNowRow
from leadline_collector.mesh import registry
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh.registry import Registry
from leadline_collector.rollup import hour_reader, profile_revisions, window_codec
from leadline_collector.rollup.hour_reader import HourBlock
from leadline_collector.rollup.profile_revisions import ProfileRevision
from leadline_collector.windows.dirty_hours import DAY_S
from leadline_verdict.states import BAD, GOOD, STATES_BY_CODE, UNAVAILABLE

log = logging.getLogger(__name__)

#: A minute is sealed 16 s after its end and sent at once; an agent that has to try twice makes it within this.
GRACE_S = 90
#: Minutes that are counted, and that late windows may still change.
RECENT_MINUTES = 15
#: How far back the start of a run and the newest known minute are looked for.
LOOKBACK_S = DAY_S
#: Rows at most, the first pairs by their ids: a second of work a minute. Nobody looks at more of them one by one.
ROWS_MAX = 50_000
#: First key of the advisory lock: one process at a time, the others have nothing to add.
REFRESH_LOCK = 53235469

#: Start and p95 of a minute that is known; None where that is infinite.
KnownMinute: TypeAlias = tuple[int, int | None]
#: Newest window that was looked at of pairs that nothing is known of: it is looked at once.
LastCheckedWindows: TypeAlias = MutableMapping[PairIds, int]


def compute_due_minute(now_s: int) -> int:
    """The start of the newest minute whose windows have had time to arrive."""
    return (now_s - GRACE_S) // WINDOW_S * WINDOW_S - WINDOW_S


def refresh_pairs(store: Store, now_s: int, last_checked: LastCheckedWindows) -> int | None:
    """Write the rows of now and remove those of pairs and rules that are not in force; how many there are.

    None, and nothing done, while another collector is at it.
    """
    with store.try_lock(REFRESH_LOCK, 0) as is_ours:
        if not is_ours:
            return None
        with store.read() as reader:
            before = live_store.load_pairs(reader.connection)
            rows = list(_build_rows(reader, before, now_s, last_checked))
        with store.write() as writer:
            live_store.upsert_pairs(writer.connection, rows)
            live_store.delete_pairs(writer.connection, before.keys() - {row[:3] for row in rows})
        return len(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _EvaluatedMinutes:
    """Some minutes of some pairs, judged by every rule: rows of the arrays are ``rows``."""

    minutes: MinuteInterval
    row_by_pair: Mapping[PairIds, int]
    #: By rule.
    states_by_revision: Mapping[int, NDArray[np.int64]]
    p95_us: NDArray[np.int64]
    simulated_pairs: Collection[PairIds]

    def get_minute(self, row: int, column: int) -> KnownMinute | None:
        """The minute of a pair that is the newest known one; None for column -1, no such minute."""
        if column < 0:
            return None
        p95_us = int(self.p95_us[row, column])
        return self.minutes.start_s + column * WINDOW_S, None if p95_us in (INFINITE_US, NO_PATH_US) else p95_us


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowDraft:
    """A row as far as the last 15 minutes tell it."""

    key: PairKey
    state: int
    #: None where the run may have begun earlier than anybody noted.
    since: int | None
    #: None if none of the 15 is known.
    newest_minute: KnownMinute | None
    counts: tuple[int, int, int]
    simulated: bool

    @property
    def pair(self) -> PairIds:
        return self.key[0], self.key[2]


def _build_rows(
    reader: ReadTransaction, before: Mapping[PairKey, PairNowRow], now_s: int, seen: LastCheckedWindows
) -> Iterator[PairNowRow]:
    found = mesh_service.load_active_mesh(reader)
    if found is None:
        return
    mesh, connection = found[1], reader.connection
    known = registry.load_registry(connection)
    judged_by = _load_active_revisions(reader)
    t = compute_due_minute(now_s)
    # A row of a minute that is still to come is of a clock that was wrong.
    before = {key: row for key, row in before.items() if row.t <= t}
    rows = {
        pair: number for number, pair in enumerate(_limit_pairs(list(_iter_mesh_pairs(mesh, known)), len(judged_by)))
    }
    span = MinuteInterval(start_s=t - (RECENT_MINUTES - 1) * WINDOW_S, end_s=t + WINDOW_S)
    agents = [src_id for site in {pair[0] for pair in rows} for src_id in known.agents_by_site.get(site, ())]
    last = _evaluate_minutes(_load_recent_windows(connection, agents, span), judged_by, known, rows, span)
    drafts = list(_draft_rows(last, before, _get_simulated_sites(mesh, known)))
    earlier = _look_up_day(connection, drafts, judged_by, known, before, span, seen)
    for draft in drafts:
        yield _finish_row(draft, before.get(draft.key), earlier.get(draft.key, _EMPTY_LOOKUP), t, now_s)


def _limit_pairs(pairs: list[PairIds], rules_count: int) -> list[PairIds]:
    pairs_max = ROWS_MAX // max(1, rules_count)
    if len(pairs) > pairs_max:
        log.warning("too many pairs: not of all is kept what is true now", extra={"pairs": len(pairs), "of": pairs_max})
    return sorted(pairs)[:pairs_max]


def _load_active_revisions(reader: ReadTransaction) -> list[ProfileRevision]:
    """The rules that hours are counted by and that the mesh still names."""
    names = set(profile_revisions.load_active_profiles(reader).values())
    return [rule for rule in profile_revisions.load_current_revisions(reader.connection) if rule.profile in names]


def _iter_mesh_pairs(mesh: Mesh, known: Registry) -> Iterator[PairIds]:
    return ((known.site_ids[pair.source], known.site_ids[pair.destination]) for pair in mesh.pairs)


def _get_simulated_sites(mesh: Mesh, known: Registry) -> frozenset[int]:
    """The sites whose data is simulated as the mesh says."""
    return frozenset(known.site_ids[site.name] for site in mesh.sites if site.simulated)


def _load_recent_windows(connection: Connection, agents: Sequence[int], span: MinuteInterval) -> HourBlock:
    """Straight from ``window_stat``, which has every window of the last days."""
    nothing = HourBlock(keys=[], values=window_codec.make_empty_hours(0), simulated=np.zeros(0, bool))
    return hour_reader.overlay_windows(
        nothing, hour_reader.load_window_rows(connection, agents, None, span.start_s, span.end_s)
    )


def _evaluate_minutes(
    found: HourBlock,
    judged_by: Sequence[ProfileRevision],
    known: Registry,
    rows: Mapping[PairIds, int],
    span: MinuteInterval,
) -> _EvaluatedMinutes:
    return _EvaluatedMinutes(
        minutes=span,
        row_by_pair=rows,
        states_by_revision={
            rule.id: evaluate_worst_case(found, rule.criteria, known, rows, span) for rule in judged_by
        },
        p95_us=compute_worst_p95_us(found, known, rows, span),
        simulated_pairs={
            (known.site_by_agent[key[0]], known.site_by_target[key[1]])
            for key, simulated in zip(found.keys, found.simulated.tolist(), strict=True)
            if simulated
        },
    )


def _draft_rows(
    last: _EvaluatedMinutes, before: Mapping[PairKey, PairNowRow], marked: Collection[int]
) -> Iterator[_RowDraft]:
    simulated = [
        pair in last.simulated_pairs or pair[0] in marked or pair[1] in marked for pair in last.row_by_pair
    ]  # in the order of the rows
    for rule_id, states in last.states_by_revision.items():
        newest, runs = find_newest_known(states).tolist(), measure_last_runs(states).tolist()
        counts = [(states == state).sum(axis=1).tolist() for state in (GOOD, BAD, UNAVAILABLE)]
        final = states[:, -1].tolist()
        for (source_id, destination_id), row in last.row_by_pair.items():
            key = source_id, rule_id, destination_id
            since = _find_run_start(last.minutes, runs[row], final[row], before.get(key))
            yield _RowDraft(
                key=key,
                state=final[row],
                since=since,
                newest_minute=last.get_minute(row, newest[row]),
                counts=(counts[0][row], counts[1][row], counts[2][row]),
                simulated=simulated[row],
            )


def _find_run_start(span: MinuteInterval, run: int, state: int, before: PairNowRow | None) -> int | None:
    """The start of a run of ``run`` minutes at the end of the span; None if it fills it and nobody noted its start."""
    if run < len(span):
        return span.end_s - run * WINDOW_S
    if before is not None and before.state == STATES_BY_CODE[state] and before.t >= span.start_s - WINDOW_S:
        return min(before.since, span.start_s)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _DayLookup:
    """What more of the last day says of a pair and a rule."""

    since: int | None = None
    newest_minute: KnownMinute | None = None


_EMPTY_LOOKUP = _DayLookup()


def _finish_row(draft: _RowDraft, before: PairNowRow | None, earlier: _DayLookup, t: int, now_s: int) -> PairNowRow:
    known_at, p95_us = draft.newest_minute or _choose_newer(earlier.newest_minute, before, t) or (None, None)
    since = earlier.since if draft.since is None else draft.since
    assert since is not None  # it is looked for wherever the last minutes do not tell it
    return PairNowRow(
        *draft.key, t, STATES_BY_CODE[draft.state].value, since, known_at, p95_us, *draft.counts, draft.simulated, now_s
    )


def _choose_newer(looked_up: KnownMinute | None, before: PairNowRow | None, t: int) -> KnownMinute | None:
    """The newest known minute of the last day: as it was looked up, or as the row before has it."""
    if before is None or before.known_at is None or before.known_at <= t - LOOKBACK_S:
        return looked_up
    noted = before.known_at, before.p95_us
    return noted if looked_up is None or looked_up[0] < noted[0] else looked_up


def _look_up_day(
    connection: Connection,
    drafts: Sequence[_RowDraft],
    judged_by: Sequence[ProfileRevision],
    known: Registry,
    before: Mapping[PairKey, PairNowRow],
    span: MinuteInterval,
    seen: LastCheckedWindows,
) -> Mapping[PairKey, _DayLookup]:
    """More minutes of the pairs that need them, one source site after the other: all of them would be 150 MB."""
    from_s = _find_late_pairs(connection, drafts, known, before, span, seen)
    from_s |= {draft.pair: span.end_s - LOOKBACK_S for draft in drafts if draft.since is None}
    of_site: defaultdict[int, list[_RowDraft]] = defaultdict(list)
    for draft in drafts:
        if draft.pair in from_s:
            of_site[draft.pair[0]].append(draft)
    found: dict[PairKey, _DayLookup] = {}
    for source_id, asked in of_site.items():
        pairs = {draft.pair for draft in asked}
        longer = MinuteInterval(start_s=min(from_s[pair] for pair in pairs), end_s=span.end_s)
        windows = hour_reader.load_hours(
            connection, known.agents_by_site.get(source_id, ()), longer.first_hour_s, longer.end_s
        )
        rows = {pair: number for number, pair in enumerate(pairs)}
        found |= _extract_lookups(_evaluate_minutes(windows, judged_by, known, rows, longer), asked, before)
    return found


def _extract_lookups(
    found: _EvaluatedMinutes, asked: Collection[_RowDraft], before: Mapping[PairKey, PairNowRow]
) -> Mapping[PairKey, _DayLookup]:
    runs = {rule_id: measure_last_runs(states).tolist() for rule_id, states in found.states_by_revision.items()}
    newest = {rule_id: find_newest_known(states).tolist() for rule_id, states in found.states_by_revision.items()}
    earlier = {}
    for draft in asked:
        row, rule_id = found.row_by_pair[draft.pair], draft.key[1]
        since = _find_run_start(found.minutes, runs[rule_id][row], draft.state, before.get(draft.key))
        earlier[draft.key] = _DayLookup(
            since=found.minutes.start_s if since is None else since,
            newest_minute=found.get_minute(row, newest[rule_id][row]),
        )
    return earlier


def _find_late_pairs(
    connection: Connection,
    drafts: Sequence[_RowDraft],
    known: Registry,
    before: Mapping[PairKey, PairNowRow],
    span: MinuteInterval,
    seen: LastCheckedWindows,
) -> dict[PairIds, int]:
    """Pairs of which none of the 15 minutes is known and that have a window nobody looked at: from where to look."""
    first_s = span.end_s - LOOKBACK_S
    known_at: dict[PairIds, int] = {}
    for draft in drafts:
        if draft.newest_minute is None:
            row = before.get(draft.key)
            at = -1 if row is None or row.known_at is None else row.known_at
            known_at[draft.pair] = min(known_at.get(draft.pair, at), at)
    agents = {src_id for pair in known_at for src_id in known.agents_by_site.get(pair[0], ())}
    if not agents:
        return {}
    newest: dict[PairIds, int] = {}
    for (src_id, dst_id), t in live_store.load_newest_windows(connection, agents, first_s, span.start_s).items():
        pair = known.site_by_agent[src_id], known.site_by_target[dst_id]
        newest[pair] = max(t, newest.get(pair, t))
    late = {}
    for pair, t in newest.items():
        if pair in known_at and t > (looked_s := max(seen.get(pair, -1), known_at[pair])):
            late[pair], seen[pair] = max(first_s, looked_s + WINDOW_S), t
    return late
