"""Windows of the tests' mesh, stored without HTTP, and readers of the tables."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, select

from leadline.clock import Clock
from leadline.model import ErrorBound, Failure, Miss, Window
from leadline.wire import batch as wire
from leadline_collector.db.transactions import Store
from leadline_collector.ingest.batch_store import ingest_batch
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import NamedId, PathIds
from leadline_collector.rollup import hour_reader
from leadline_collector.windows import store as window_store
from leadline_collector.windows.rows import WINDOW_COLUMNS
from leadline_verdict.series import COLUMNS as SERIES_COLUMNS
from leadline_verdict.series import MISSING, PathSeries, make_empty_columns
from tests.support.documents import MESH, NOW_S, build_batch, encode_body

DAY_S = 86_400
#: Midnight of the day of ``NOW_S``.
MIDNIGHT_S = NOW_S - NOW_S % DAY_S


#: Batch numbers count down while the time of sealing advances, so that tests can tell the two orders apart.
SEQ_MAX = 1_000_000


class RollupFixture:
    """A store with the mesh of two sites, and the ids of its agents and targets."""

    def __init__(self, store: Store, clock: Clock, mesh: str = MESH) -> None:
        self.store = store
        mesh_service.apply_mesh(store, clock, mesh.encode())
        with store.read() as reader:
            self.agents: dict[str, NamedId] = {agent.name: agent for agent in mesh_store.load_agents(reader.connection)}
            self.targets = {target.name: target.id for target in mesh_store.load_targets(reader.connection)}
        self._seq = 0

    def find_path(self, agent: str = "fra1", target: str = "ams1") -> PathIds:
        """Return the ids of a path by its names."""
        return PathIds(src_id=self.agents[agent].id, dst_id=self.targets[target])

    def store_windows(
        self, *windows: Window, agent: str = "fra1", target: str = "ams1", received_s: int | None = None
    ) -> None:
        """Store windows of a path in one batch; do nothing without windows."""
        if not windows:
            return
        self._seq += 1
        last_s = max(window.start_s for window in windows)
        document = build_batch(
            *((target, window) for window in windows),
            agent=agent,
            seq=SEQ_MAX - self._seq,
            sealed_at_s=last_s + 70 + self._seq,
        )
        ingest_batch(
            self.store, self.agents[agent], encode_body(document), "gzip", (received_s or last_s + 90) * 1_000_000
        )

    def read_rows(self, path: PathIds) -> list[dict[str, Any]]:
        """Return every stored window of a path."""
        with self.store.read() as reader:
            rows = window_store.load_path_windows(reader.connection, path, WINDOW_COLUMNS, 0, 1 << 40)
        return [dict(zip(WINDOW_COLUMNS, row, strict=True)) for row in rows]

    def load_series(self, path: PathIds, start_s: int, end_s: int) -> PathSeries:
        """Return the series of a path by the product's reader."""
        with self.store.read() as reader:
            return hour_reader.load_series(reader.connection, path.src_id, path.dst_id, start_s, end_s)

    def load_series_from_windows(self, path: PathIds, start_s: int, end_s: int) -> PathSeries:
        """Return the series of a path, built from its stored windows one by one."""
        columns = make_empty_columns((end_s - start_s) // 60)
        rows = [row for row in self.read_rows(path) if start_s <= row["t"] < end_s]
        for row in rows:
            for name in SERIES_COLUMNS:
                columns[name][(row["t"] - start_s) // 60] = MISSING if row[name] is None else row[name]
        return PathSeries.from_columns(start_s, columns, simulated=any(row["epoch"] is None for row in rows))


def is_same_series(first: PathSeries, second: PathSeries) -> bool:
    """Return True if both series are equal in every minute."""
    return first.simulated == second.simulated and all(
        first.get_column(name).tolist() == second.get_column(name).tolist() for name in SERIES_COLUMNS
    )


def read_table(store: Store, table: Table) -> list[tuple[Any, ...]]:
    """Return all rows of a table, ordered by key."""
    with store.read() as reader:
        return [tuple(row) for row in reader.connection.execute(select(table).order_by(*table.primary_key))]


def make_random_window(rng: random.Random, start_s: int) -> Window:
    """Return a random window: any state, failures, duplicates and error bound."""
    level = rng.choice([3_000, 4_990, 5_000, 5_010, 9_000])
    missing = set(rng.sample(range(60), rng.choice([0, 0, 0, 1, 2, 4, 13, 60])))
    failures = rng.choices(list(Failure), k=len(missing))
    return Window(
        start_s=start_s,
        interval_ms=1_000,
        rtt_us=tuple(None if slot in missing else level + rng.randint(0, 30) for slot in range(60)),
        misses=tuple(Miss(slot, failure, 11) for slot, failure in zip(sorted(missing), failures, strict=True)),
        duplicates=rng.choice([0, 0, 0, 3]),
        error_bound=rng.choice([None, ErrorBound(p50_us=3, p99_us=17)]),
    )


def make_random_windows(rng: random.Random, first_s: int, end_s: int, share: float = 0.7) -> Sequence[Window]:
    """Return random windows for a share of the minutes."""
    return [make_random_window(rng, t) for t in range(first_s, end_s, 60) if rng.random() < share]


def encode_series(window: Window) -> wire.TargetWindow:
    """Return the window as in a batch."""
    return wire.to_target_window("ams1", "192.0.2.3", window)
