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
from leadline_collector.db.transactions import Reader, Store
from leadline_collector.live import store as live_store
from leadline_collector.live.recent_states import (
    INFINITE_US,
    NO_PATH_US,
    PairIds,
    Span,
    newest_known,
    pessimistic,
    run_lengths,
    worst_p95_us,
)
from leadline_collector.live.store import PairKey, PairNow
from leadline_collector.mesh import registry
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh.registry import Directory
from leadline_collector.rollup import hour_reader, profile_revisions, window_codec
from leadline_collector.rollup.hour_reader import Hours
from leadline_collector.rollup.profile_revisions import Rule
from leadline_collector.windows.dirty_hours import DAY_S
from leadline_verdict.states import BAD, GOOD, STATES, UNAVAILABLE

log = logging.getLogger(__name__)

#: A minute is sealed 16 s after its end and sent at once; an agent that has to try twice makes it within this.
GRACE_S = 90
#: Minutes that are counted, and that late windows may still change.
COUNTED = 15
#: How far back the start of a run and the newest known minute are looked for.
LOOK_BACK_S = DAY_S
#: Rows at most, the first pairs by their ids: a second of work a minute. Nobody looks at more of them one by one.
ROWS_MAX = 50_000
#: First key of the advisory lock: one process at a time, the others have nothing to add.
NOW_LOCK = 53235469

#: Start and p95 of a minute that is known; None where that is infinite.
Known: TypeAlias = tuple[int, int | None]
#: Newest window that was looked at of pairs that nothing is known of: it is looked at once.
Seen: TypeAlias = MutableMapping[PairIds, int]


def due_s(now_s: int) -> int:
    """The start of the newest minute whose windows have had time to arrive."""
    return (now_s - GRACE_S) // WINDOW_S * WINDOW_S - WINDOW_S


def bring_up(store: Store, now_s: int, seen: Seen) -> int | None:
    """Write the rows of now and remove those of pairs and rules that are not in force; how many there are.

    None, and nothing done, while another collector is at it.
    """
    with store.turn(NOW_LOCK, 0) as is_ours:
        if not is_ours:
            return None
        with store.read() as reader:
            before = live_store.pairs(reader.connection)
            rows = list(_rows(reader, before, now_s, seen))
        with store.write() as writer:
            live_store.put_pairs(writer.connection, rows)
            live_store.remove_pairs(writer.connection, before.keys() - {row[:3] for row in rows})
        return len(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Some minutes of some pairs, judged by every rule: rows of the arrays are ``rows``."""

    span: Span
    rows: Mapping[PairIds, int]
    #: By rule.
    states: Mapping[int, NDArray[np.int64]]
    p95_us: NDArray[np.int64]
    simulated: Collection[PairIds]

    def at(self, row: int, column: int) -> Known | None:
        """The minute of a pair that is the newest known one; None for column -1, no such minute."""
        if column < 0:
            return None
        p95_us = int(self.p95_us[row, column])
        return self.span.start_s + column * WINDOW_S, None if p95_us in (INFINITE_US, NO_PATH_US) else p95_us


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A row as far as the last 15 minutes tell it."""

    key: PairKey
    state: int
    #: None where the run may have begun earlier than anybody noted.
    since: int | None
    #: None if none of the 15 is known.
    known: Known | None
    counts: tuple[int, int, int]
    simulated: bool

    @property
    def pair(self) -> PairIds:
        return self.key[0], self.key[2]


def _rows(reader: Reader, before: Mapping[PairKey, PairNow], now_s: int, seen: Seen) -> Iterator[PairNow]:
    found = mesh_service.in_force(reader)
    if found is None:
        return
    mesh, connection = found[1], reader.connection
    known = registry.read(connection)
    judged_by = _in_force(reader)
    t = due_s(now_s)
    # A row of a minute that is still to come is of a clock that was wrong.
    before = {key: row for key, row in before.items() if row.t <= t}
    rows = {pair: number for number, pair in enumerate(_kept(list(_pairs(mesh, known)), len(judged_by)))}
    span = Span(start_s=t - (COUNTED - 1) * WINDOW_S, end_s=t + WINDOW_S)
    agents = [src_id for site in {pair[0] for pair in rows} for src_id in known.agents_of.get(site, ())]
    last = _judged(_windows(connection, agents, span), judged_by, known, rows, span)
    drafts = list(_drafts(last, before, _marked(mesh, known)))
    earlier = _earlier(connection, drafts, judged_by, known, before, span, seen)
    for draft in drafts:
        yield _row(draft, before.get(draft.key), earlier.get(draft.key, _NOTHING), t, now_s)


def _kept(pairs: list[PairIds], rules_count: int) -> list[PairIds]:
    pairs_max = ROWS_MAX // max(1, rules_count)
    if len(pairs) > pairs_max:
        log.warning("too many pairs: not of all is kept what is true now", extra={"pairs": len(pairs), "of": pairs_max})
    return sorted(pairs)[:pairs_max]


def _in_force(reader: Reader) -> list[Rule]:
    """The rules that hours are counted by and that the mesh still names."""
    names = set(profile_revisions.wanted(reader).values())
    return [rule for rule in profile_revisions.valid(reader.connection) if rule.profile in names]


def _pairs(mesh: Mesh, known: Directory) -> Iterator[PairIds]:
    return ((known.site_ids[pair.source], known.site_ids[pair.destination]) for pair in mesh.pairs)


def _marked(mesh: Mesh, known: Directory) -> frozenset[int]:
    """The sites whose data is simulated as the mesh says."""
    return frozenset(known.site_ids[site.name] for site in mesh.sites if site.simulated)


def _windows(connection: Connection, agents: Sequence[int], span: Span) -> Hours:
    """Straight from ``window_stat``, which has every window of the last days."""
    nothing = Hours(keys=[], block=window_codec.empty(0), simulated=np.zeros(0, bool))
    return hour_reader.overlaid(nothing, hour_reader.window_rows(connection, agents, None, span.start_s, span.end_s))


def _judged(
    found: Hours, judged_by: Sequence[Rule], known: Directory, rows: Mapping[PairIds, int], span: Span
) -> _Found:
    return _Found(
        span=span,
        rows=rows,
        states={rule.id: pessimistic(found, rule.criteria, known, rows, span) for rule in judged_by},
        p95_us=worst_p95_us(found, known, rows, span),
        simulated={
            (known.source_of[key[0]], known.destination_of[key[1]])
            for key, simulated in zip(found.keys, found.simulated.tolist(), strict=True)
            if simulated
        },
    )


def _drafts(last: _Found, before: Mapping[PairKey, PairNow], marked: Collection[int]) -> Iterator[_Draft]:
    simulated = [
        pair in last.simulated or pair[0] in marked or pair[1] in marked for pair in last.rows
    ]  # in the order of the rows
    for rule_id, states in last.states.items():
        newest, runs = newest_known(states).tolist(), run_lengths(states).tolist()
        counts = [(states == state).sum(axis=1).tolist() for state in (GOOD, BAD, UNAVAILABLE)]
        final = states[:, -1].tolist()
        for (source_id, destination_id), row in last.rows.items():
            key = source_id, rule_id, destination_id
            since = _since(last.span, runs[row], final[row], before.get(key))
            yield _Draft(
                key=key,
                state=final[row],
                since=since,
                known=last.at(row, newest[row]),
                counts=(counts[0][row], counts[1][row], counts[2][row]),
                simulated=simulated[row],
            )


def _since(span: Span, run: int, state: int, before: PairNow | None) -> int | None:
    """The start of a run of ``run`` minutes at the end of the span; None if it fills it and nobody noted its start."""
    if run < len(span):
        return span.end_s - run * WINDOW_S
    if before is not None and before.state == STATES[state] and before.t >= span.start_s - WINDOW_S:
        return min(before.since, span.start_s)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Earlier:
    """What more of the last day says of a pair and a rule."""

    since: int | None = None
    known: Known | None = None


_NOTHING = _Earlier()


def _row(draft: _Draft, before: PairNow | None, earlier: _Earlier, t: int, now_s: int) -> PairNow:
    known_at, p95_us = draft.known or _newer(earlier.known, before, t) or (None, None)
    since = earlier.since if draft.since is None else draft.since
    assert since is not None  # it is looked for wherever the last minutes do not tell it
    return PairNow(
        *draft.key, t, STATES[draft.state].value, since, known_at, p95_us, *draft.counts, draft.simulated, now_s
    )


def _newer(looked_up: Known | None, before: PairNow | None, t: int) -> Known | None:
    """The newest known minute of the last day: as it was looked up, or as the row before has it."""
    if before is None or before.known_at is None or before.known_at <= t - LOOK_BACK_S:
        return looked_up
    noted = before.known_at, before.p95_us
    return noted if looked_up is None or looked_up[0] < noted[0] else looked_up


def _earlier(
    connection: Connection,
    drafts: Sequence[_Draft],
    judged_by: Sequence[Rule],
    known: Directory,
    before: Mapping[PairKey, PairNow],
    span: Span,
    seen: Seen,
) -> Mapping[PairKey, _Earlier]:
    """More minutes of the pairs that need them, one source site after the other: all of them would be 150 MB."""
    from_s = _late(connection, drafts, known, before, span, seen)
    from_s |= {draft.pair: span.end_s - LOOK_BACK_S for draft in drafts if draft.since is None}
    of_site: defaultdict[int, list[_Draft]] = defaultdict(list)
    for draft in drafts:
        if draft.pair in from_s:
            of_site[draft.pair[0]].append(draft)
    found: dict[PairKey, _Earlier] = {}
    for source_id, asked in of_site.items():
        pairs = {draft.pair for draft in asked}
        longer = Span(start_s=min(from_s[pair] for pair in pairs), end_s=span.end_s)
        windows = hour_reader.hours(connection, known.agents_of.get(source_id, ()), longer.first_hour_s, longer.end_s)
        rows = {pair: number for number, pair in enumerate(pairs)}
        found |= _looked_up(_judged(windows, judged_by, known, rows, longer), asked, before)
    return found


def _looked_up(
    found: _Found, asked: Collection[_Draft], before: Mapping[PairKey, PairNow]
) -> Mapping[PairKey, _Earlier]:
    runs = {rule_id: run_lengths(states).tolist() for rule_id, states in found.states.items()}
    newest = {rule_id: newest_known(states).tolist() for rule_id, states in found.states.items()}
    earlier = {}
    for draft in asked:
        row, rule_id = found.rows[draft.pair], draft.key[1]
        since = _since(found.span, runs[rule_id][row], draft.state, before.get(draft.key))
        earlier[draft.key] = _Earlier(
            since=found.span.start_s if since is None else since, known=found.at(row, newest[rule_id][row])
        )
    return earlier


def _late(
    connection: Connection,
    drafts: Sequence[_Draft],
    known: Directory,
    before: Mapping[PairKey, PairNow],
    span: Span,
    seen: Seen,
) -> dict[PairIds, int]:
    """Pairs of which none of the 15 minutes is known and that have a window nobody looked at: from where to look."""
    first_s = span.end_s - LOOK_BACK_S
    known_at: dict[PairIds, int] = {}
    for draft in drafts:
        if draft.known is None:
            row = before.get(draft.key)
            at = -1 if row is None or row.known_at is None else row.known_at
            known_at[draft.pair] = min(known_at.get(draft.pair, at), at)
    agents = {src_id for pair in known_at for src_id in known.agents_of.get(pair[0], ())}
    if not agents:
        return {}
    newest: dict[PairIds, int] = {}
    for (src_id, dst_id), t in live_store.newest_windows(connection, agents, first_s, span.start_s).items():
        pair = known.source_of[src_id], known.destination_of[dst_id]
        newest[pair] = max(t, newest.get(pair, t))
    late = {}
    for pair, t in newest.items():
        if pair in known_at and t > (looked_s := max(seen.get(pair, -1), known_at[pair])):
            late[pair], seen[pair] = max(first_s, looked_s + WINDOW_S), t
    return late
