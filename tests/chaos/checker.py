"""Compares the store with the oracle: every accepted window is stored once, or its loss is reported for a valid reason.

Missing windows may still arrive; violations are permanent. The checker counts both, with a few examples of each.
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
#: Measured columns, without the columns about the writer of the row.
_VALUE_COLUMNS = WINDOW_COLUMNS[2 : WINDOW_COLUMNS.index("mesh_version")]


@dataclass(slots=True)
class ProblemCounts:
    """Problems by kind, with examples."""

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
    """Result of a check."""

    #: Permanent errors.
    violations: ProblemCounts = field(default_factory=ProblemCounts)
    #: Windows that are neither stored nor reported as lost; they may still arrive.
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
    """Content of the database, by the ids of the oracle."""

    #: Digest column, and digest of the stored bytes.
    batches: dict[OracleBatch, tuple[str, str]]
    bodies: dict[OracleBatch, bytes]
    windows: dict[tuple[str, str, int], list[tuple[Any, ...]]]
    #: Batch in the columns of the window.
    writers: dict[tuple[str, str, int], OracleBatch]
    gaps: dict[tuple[str, str], list[_LossRange]]
    ledger: dict[tuple[str, str], int]


def open_engine(url: URL) -> sqlalchemy.Engine:
    """Return a read-only engine for a database in use."""
    if url.get_backend_name() == "sqlite":
        url = url.set(database=f"file:{url.database}?mode=ro", query={"uri": "true"})
    return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)


def read_journal_digests(url: URL) -> set[str]:
    """Return the digests of all batches in the journal."""
    reader = open_engine(url)
    with reader.connect() as connection:
        return {digest.hex() for digest in connection.execute(select(tables.batch.c.sha256)).scalars()}


def read_store(url: URL) -> StoreSnapshot:
    """Read everything in one transaction."""
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
    columns = tables.batch.c
    for src_id, epoch, seq, sha256, body in connection.execute(
        select(columns.src_id, columns.epoch, columns.seq, columns.sha256, columns.body)
    ):
        batch_id = OracleBatch(agent=agents[src_id], epoch=epoch.hex(), seq=seq)
        stored.batches[batch_id] = (sha256.hex(), hashlib.sha256(body).hexdigest())
        stored.bodies[batch_id] = body
    for row in connection.execute(select(tables.ledger.c.src_id, tables.ledger.c.epoch, tables.ledger.c.batches)):
        stored.ledger[agents[row[0]], row[1].hex()] = row[2]


def _read_windows(
    connection: Connection, agents: Mapping[int, str], targets: Mapping[int, str], stored: StoreSnapshot
) -> None:
    for row in connection.execute(select(*(tables.window_stat.c[name] for name in WINDOW_COLUMNS))):
        values = tuple(row)
        key = (agents[values[0]], targets[values[1]], values[2])
        stored.windows[key].append(values[2 : 2 + len(_VALUE_COLUMNS)])
        stored.writers[key] = OracleBatch(agent=key[0], epoch=row.epoch.hex(), seq=row.seq)


def _read_gaps(connection: Connection, agents: Mapping[int, str], stored: StoreSnapshot) -> None:
    for row in connection.execute(select(tables.gap).where(tables.gap.c.first_seq.is_not(None))):
        gap = _LossRange(reason=row.reason, first_seq=row.first_seq, last_seq=row.last_seq)
        stored.gaps[agents[row.src_id], row.epoch.hex()].append(gap)


class ConsistencyCheck:
    """One comparison of oracle and store."""

    def __init__(
        self,
        *,
        promises: Promises,
        due: Collection[OracleBatch],
        stored: StoreSnapshot,
        holes: Mapping[str, Collection[tuple[int, int]]],
        fault_log: FaultLog,
        acknowledged: set[str],
        small: set[str],
    ) -> None:
        """``due``: batches that must have arrived. ``small``: agents whose spool may overflow.

        ``holes``: gaps listed by the collector, [from, to) by agent.
        """
        self._promises, self._due, self._stored, self._fault_log = promises, due, stored, fault_log
        self._holes, self._acknowledged, self._small = holes, acknowledged, small
        self.verdict = ChaosVerdict()

    def run(self) -> ChaosVerdict:
        """Run all checks."""
        self._check_origin()
        self._check_values()
        self._check_ledger()
        self._check_acknowledged()
        self._check_due()
        self.verdict.counts.update(
            accepted=len(self._promises.accepted), due=len(self._due), batches=len(self._stored.batches),
            windows=len(self._stored.windows), gaps=sum(map(len, self._stored.gaps.values())),
            damaged=len(self._fault_log.damaged),
        )  # fmt: skip
        return self.verdict

    def _check_origin(self) -> None:
        """Check that every stored batch was built with these bytes, and that every window was in a batch."""
        for batch, (column, digest) in self._stored.batches.items():
            if self._promises.digests.get(batch) != digest or column != digest:
                self.verdict.violations.add("batch that was never built, or with other bytes", batch)
        built = {(key.agent, key.target, key.start_s) for key in self._promises.all_windows}
        for key in self._stored.windows.keys() - built:
            self.verdict.violations.add("window that was never built", key)

    def _check_values(self) -> None:
        """Check that every window is stored once, with the statistics of its values and a batch of the journal."""
        intervals = {
            (window.agent, window.target, window.start_s): window.interval_ms for window in self._promises.all_windows
        }
        for key, rows in self._stored.windows.items():
            if len(rows) != 1:
                self.verdict.violations.add("window stored twice", key)
            if key in intervals and rows[0] != compute_expected_row(*key, intervals[key]):
                self.verdict.violations.add("window with other statistics", (key, rows[0]))
            if self._stored.writers[key] not in self._stored.batches:
                self.verdict.violations.add("window of a batch that is not in the journal", key)

    def _check_ledger(self) -> None:
        """Check that the ledger counts each batch once."""
        expected = Counter((batch.agent, batch.epoch) for batch in self._stored.batches)
        for key in expected.keys() | self._stored.ledger.keys():
            if expected[key] != self._stored.ledger.get(key):
                self.verdict.violations.add(
                    "wrong count in the ledger", (key, expected[key], self._stored.ledger.get(key))
                )

    def _check_acknowledged(self) -> None:
        """Check acknowledgements.

        Every acknowledged batch was in the journal at once, and every batch that an agent regards as delivered was
        acknowledged by the collector.
        """
        for fault, digests in self._fault_log.missing_after_crash:
            self.verdict.violations.add(
                "acknowledged batch missing in the journal after a crash", (fault, len(digests))
            )
        for batch in self._promises.acked:
            if self._promises.digests[batch] not in self._acknowledged:
                self.verdict.violations.add("batch regarded as delivered without an acknowledgement", batch)

    def _check_due(self) -> None:
        """Check that every accepted window is stored, or that the loss of its batch is reported."""
        for batch in self._due:
            missing = [
                window
                for window in self._promises.windows[batch]
                if _build_window_key(window) not in self._stored.windows
            ]
            if not missing:
                self.verdict.counts["stored"] += len(self._promises.windows[batch])
            else:
                self._explain(batch, missing)

    def _explain(self, batch: OracleBatch, missing: Collection[OracleWindow]) -> None:
        for window in missing:
            if not any(first <= window.start_s < end for first, end in self._holes[batch.agent]):
                self.verdict.missing.add("window that is neither stored nor in the collector's list of gaps", window)
        reasons = {gap.reason for gap in self._stored.gaps[batch.agent, batch.epoch] if gap.covers(batch.seq)}
        if "spool_corrupt" in reasons and batch in self._fault_log.damaged:
            self.verdict.counts["reported as spool_corrupt"] += len(missing)
        elif "spool_overflow" in reasons and batch.agent in self._small:
            self.verdict.counts["reported as spool_overflow"] += len(missing)
        elif batch in self._fault_log.zeroed:
            self.verdict.counts["zeroed, known as a gap to the collector only"] += len(missing)
        elif self._promises.digests[batch] in self._fault_log.before_restore and self._is_unrecoverable(batch):
            self.verdict.counts["lost by the database restore, without a copy in the spool"] += len(missing)
        else:
            report = f"reported as {sorted(reasons)}" if reasons else "not reported"
            self.verdict.missing.add(f"accepted window that is not stored, {report}", batch)

    def _is_unrecoverable(self, batch: OracleBatch) -> bool:
        """Return whether the copy in the spool may be damaged or evicted, so that a restore loses the batch."""
        return batch in self._fault_log.damaged or batch.agent in self._small


def compute_expected_row(agent: str, target: str, start_s: int, interval_ms: int) -> tuple[Any, ...]:
    """Return the expected values of the measured columns of ``window_stat``, from ``t`` on."""
    window = source.generate_window(agent, target, start_s, interval_ms)
    row = build_window_row(
        0, 0, start_s, interval_ms, compute_window_stats(window),
        mesh_version=1, batch=None, duplicates=window.duplicates, error_bound=window.error_bound,
    )  # fmt: skip
    return row[2 : 2 + len(_VALUE_COLUMNS)]


def _build_window_key(window: OracleWindow) -> tuple[str, str, int]:
    return window.agent, window.target, window.start_s
