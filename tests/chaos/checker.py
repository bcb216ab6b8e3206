"""Holds the store against the oracle: every accepted window once with its value, or told as lost for a good reason.

What is missing may still be on its way; what is wrong stays wrong. Both are counted, with a few examples of each.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, select
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import IsolationLevel

from leadline.statistics import compute_window_stats
from leadline_collector.db import tables
from leadline_collector.windows.rows import WINDOW_COLUMNS, build_window_row
from tests.chaos import source
from tests.chaos.nemesis import FaultLog
from tests.chaos.oracle import OracleBatch, OracleWindow, Promises

EXAMPLES_MAX = 3
#: Columns that say who stored the row and not what was measured.
_VALUE_COLUMNS = WINDOW_COLUMNS[2 : WINDOW_COLUMNS.index("mesh_version")]


@dataclass(slots=True)
class ProblemCounts:
    """What is not as it must be, by kind, with examples."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, example: object) -> None:
        self.counts[kind] += 1
        if len(self.examples[kind]) < EXAMPLES_MAX:
            self.examples[kind].append(str(example))

    def format_lines(self) -> list[str]:
        return [f"{kind}: {count}, such as {'; '.join(self.examples[kind])}" for kind, count in self.counts.items()]


@dataclass(slots=True, kw_only=True)
class ChaosVerdict:
    """What was found."""

    #: Wrong for ever.
    violations: ProblemCounts = field(default_factory=ProblemCounts)
    #: Not there, and not told: time may heal it.
    missing: ProblemCounts = field(default_factory=ProblemCounts)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def is_good(self) -> bool:
        return not self.violations.counts and not self.missing.counts


@dataclass(frozen=True, slots=True, kw_only=True)
class _LossRange:
    reason: str
    first_seq: int
    last_seq: int | None

    def covers(self, seq: int) -> bool:
        return self.first_seq <= seq and (self.last_seq is None or seq <= self.last_seq)


@dataclass(slots=True, kw_only=True)
class StoreSnapshot:
    """What the database holds, by the names of the oracle."""

    #: Digest column and digest of the bytes.
    batches: dict[OracleBatch, tuple[str, str]]
    bodies: dict[OracleBatch, bytes]
    windows: dict[tuple[str, str, int], list[tuple[Any, ...]]]
    #: The batch that a window names.
    writers: dict[tuple[str, str, int], OracleBatch]
    gaps: dict[tuple[str, str], list[_LossRange]]
    ledger: dict[tuple[str, str], int]


def open_engine(url: URL) -> sqlalchemy.Engine:
    """A reader of a database that others write."""
    if url.get_backend_name() == "sqlite":
        url = url.set(database=f"file:{url.database}?mode=ro", query={"uri": "true"})
    return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)


def read_journal_digests(url: URL) -> set[str]:
    """The digests of all batches in the journal."""
    reader = open_engine(url)
    with reader.connect() as connection:
        return {digest.hex() for digest in connection.execute(select(tables.batch.c.sha256)).scalars()}


def read_store(url: URL) -> StoreSnapshot:
    """Everything in one moment."""
    is_sqlite = url.get_backend_name() == "sqlite"
    level: IsolationLevel = "AUTOCOMMIT" if is_sqlite else "REPEATABLE READ"
    with open_engine(url).execution_options(isolation_level=level).connect() as connection:
        if is_sqlite:
            connection.exec_driver_sql("BEGIN")
        agents = {row[0]: row[1] for row in connection.execute(select(tables.agent.c.id, tables.agent.c.name))}
        targets = {row[0]: row[1] for row in connection.execute(select(tables.target.c.id, tables.target.c.name))}
        stored = StoreSnapshot(
            batches={}, bodies={}, windows=defaultdict(list), writers={}, gaps=defaultdict(list), ledger={}
        )
        _read_batches(connection, agents, stored)
        _read_windows(connection, agents, targets, stored)
        _read_gaps(connection, agents, stored)
    return stored


def _read_batches(connection: Connection, agents: Mapping[int, str], stored: StoreSnapshot) -> None:
    batch = tables.batch.c
    for src_id, epoch, seq, sha256, body in connection.execute(
        select(batch.src_id, batch.epoch, batch.seq, batch.sha256, batch.body)
    ):
        name = OracleBatch(agent=agents[src_id], epoch=epoch.hex(), seq=seq)
        stored.batches[name] = (sha256.hex(), hashlib.sha256(body).hexdigest())
        stored.bodies[name] = body
    for row in connection.execute(select(tables.ledger.c.src_id, tables.ledger.c.epoch, tables.ledger.c.batches)):
        stored.ledger[agents[row[0]], row[1].hex()] = row[2]


def _read_windows(
    connection: Connection, agents: Mapping[int, str], targets: Mapping[int, str], stored: StoreSnapshot
) -> None:
    for row in connection.execute(select(*(tables.window_stat.c[name] for name in WINDOW_COLUMNS))):
        values = tuple(row)
        place = (agents[values[0]], targets[values[1]], values[2])
        stored.windows[place].append(values[2 : 2 + len(_VALUE_COLUMNS)])
        stored.writers[place] = OracleBatch(agent=place[0], epoch=row.epoch.hex(), seq=row.seq)


def _read_gaps(connection: Connection, agents: Mapping[int, str], stored: StoreSnapshot) -> None:
    for row in connection.execute(select(tables.gap).where(tables.gap.c.first_seq.is_not(None))):
        gap = _LossRange(reason=row.reason, first_seq=row.first_seq, last_seq=row.last_seq)
        stored.gaps[agents[row.src_id], row.epoch.hex()].append(gap)


class ConsistencyCheck:
    """One comparison."""

    def __init__(
        self,
        *,
        promises: Promises,
        due: Collection[OracleBatch],
        stored: StoreSnapshot,
        holes: Mapping[str, Collection[tuple[int, int]]],
        harm: FaultLog,
        acknowledged: set[str],
        small: set[str],
    ) -> None:
        """``due``: accepted so long ago that it must have arrived. ``small``: agents that may run out of room.

        ``holes``: what the collector itself lists as missing, [from, to) by agent.
        """
        self._promises, self._due, self._stored, self._harm = promises, due, stored, harm
        self._holes, self._acknowledged, self._small = holes, acknowledged, small
        self.verdict = ChaosVerdict()

    def run(self) -> ChaosVerdict:
        """Everything."""
        self._check_origin()
        self._check_values()
        self._check_ledger()
        self._check_acknowledged()
        self._check_due()
        self.verdict.counts.update(
            accepted=len(self._promises.accepted), due=len(self._due), batches=len(self._stored.batches),
            windows=len(self._stored.windows), gaps=sum(map(len, self._stored.gaps.values())),
            damaged=len(self._harm.damaged),
        )  # fmt: skip
        return self.verdict

    def _check_origin(self) -> None:
        """Every batch is one that was sealed, with its very bytes; every window was in one."""
        for name, (column, digest) in self._stored.batches.items():
            if self._promises.digests.get(name) != digest or column != digest:
                self.verdict.violations.add("batch that was never sealed, or with other bytes", name)
        sealed = {(place.agent, place.target, place.start_s) for place in self._promises.sealed_windows}
        for place in self._stored.windows.keys() - sealed:
            self.verdict.violations.add("window that was never sealed", place)

    def _check_values(self) -> None:
        """Every window has the statistics of its values, once, and names a batch that holds it."""
        intervals = {(one.agent, one.target, one.start_s): one.interval_ms for one in self._promises.sealed_windows}
        for place, rows in self._stored.windows.items():
            if len(rows) != 1:
                self.verdict.violations.add("window that is there twice", place)
            if place in intervals and rows[0] != compute_expected_row(*place, intervals[place]):
                self.verdict.violations.add("window with other statistics", (place, rows[0]))
            if self._stored.writers[place] not in self._stored.batches:
                self.verdict.violations.add("window of a batch that is not in the journal", place)

    def _check_ledger(self) -> None:
        """The ledger counts each batch once."""
        counted = Counter((name.agent, name.epoch) for name in self._stored.batches)
        for key in counted.keys() | self._stored.ledger.keys():
            if counted[key] != self._stored.ledger.get(key):
                self.verdict.violations.add(
                    "ledger that counts otherwise", (key, counted[key], self._stored.ledger.get(key))
                )

    def _check_acknowledged(self) -> None:
        """What the collector acknowledged is there, at once; what an agent took for that, the collector gave."""
        for fault, digests in self._harm.missing_after_crash:
            self.verdict.violations.add(
                "batch acknowledged and not in the journal after a crash", (fault, len(digests))
            )
        for name in self._promises.acked:
            if self._promises.digests[name] not in self._acknowledged:
                self.verdict.violations.add("batch taken for delivered that no collector acknowledged", name)

    def _check_due(self) -> None:
        """Every accepted window is in the store, or its batch is told as lost."""
        for name in self._due:
            absent = [
                place for place in self._promises.windows[name] if _build_window_key(place) not in self._stored.windows
            ]
            if not absent:
                self.verdict.counts["stored"] += len(self._promises.windows[name])
            else:
                self._explain(name, absent)

    def _explain(self, name: OracleBatch, absent: Collection[OracleWindow]) -> None:
        for place in absent:
            if not any(first <= place.start_s < end for first, end in self._holes[name.agent]):
                self.verdict.missing.add("window that is neither there nor in the collector's list of gaps", place)
        reasons = {gap.reason for gap in self._stored.gaps[name.agent, name.epoch] if gap.covers(name.seq)}
        if "spool_corrupt" in reasons and name in self._harm.damaged:
            self.verdict.counts["told as spool_corrupt"] += len(absent)
        elif "spool_overflow" in reasons and name.agent in self._small:
            self.verdict.counts["told as spool_overflow"] += len(absent)
        elif name in self._harm.zeroed:
            self.verdict.counts["zeroed, a gap to the collector only"] += len(absent)
        elif self._promises.digests[name] in self._harm.before_restore and self._is_unrecoverable(name):
            self.verdict.counts["lost with the restored database, its copy gone"] += len(absent)
        else:
            why = f"told as {sorted(reasons)}" if reasons else "not told"
            self.verdict.missing.add(f"window accepted and not there, {why}", name)

    def _is_unrecoverable(self, name: OracleBatch) -> bool:
        """The store had it, lost it in the restore, and the agent's copy was damaged or made room."""
        return name in self._harm.damaged or name.agent in self._small


def compute_expected_row(agent: str, target: str, start_s: int, interval_ms: int) -> tuple[Any, ...]:
    """The columns of ``window_stat`` from ``t`` on that are measured."""
    window = source.generate_window(agent, target, start_s, interval_ms)
    row = build_window_row(
        0, 0, start_s, interval_ms, compute_window_stats(window),
        mesh_version=1, batch=None, duplicates=window.duplicates, error_bound=window.error_bound,
    )  # fmt: skip
    return row[2 : 2 + len(_VALUE_COLUMNS)]


def _build_window_key(place: OracleWindow) -> tuple[str, str, int]:
    return place.agent, place.target, place.start_s
