"""Data of the query benchmark: a full mesh of sites with months of rollups, generated inside the database.

A few hundred different hours are built like those of compaction; SQL assigns them to all paths and hours. Only number
and size of the rows matter, as the databases do not compress across rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, insert, text

from leadline.clock import SystemClock
from leadline.model import ErrorBound
from leadline.wire.batch import TargetWindow
from leadline_collector.db import tables
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from leadline_collector.rollup import path_rollups, profile_revisions, window_codec
from leadline_collector.rollup.path_rollups import PathHour
from leadline_collector.rollup.raw_codec import Chunk
from leadline_verdict.series import COLUMNS, MISSING

HOUR_S = 3_600
DAY_S = 86_400
PROBES = 60
#: Number of different hours; a prime, so that they are distributed evenly over paths and hours.
POOL = 499
#: Paths with raw chunks.
RAW_PAIRS = 100

_SCRATCH_METADATA = MetaData()
_POOL_TABLE = Table(
    "bench_pool",
    _SCRATCH_METADATA,
    Column("n", Integer, primary_key=True),
    *(Column(name, LargeBinary) for name in ("packed", "latest", "rtt_histogram", "p95_histogram", "body")),
)
_HOUR_TABLE = Table("bench_hour", _SCRATCH_METADATA, Column("t", Integer, primary_key=True), Column("n", Integer))


def fill_store(store: Store, mesh: str, profile: str, start_s: int, days: int) -> None:
    """Write rollups and state counts of every path for a number of days from ``start_s``, a midnight."""
    mesh_service.apply_mesh(store, SystemClock(), mesh.encode())
    store.ensure_partitions(range(start_s, start_s + days * DAY_S, HOUR_S))
    with store.write() as writer:
        profile_revisions.add_revisions(writer.connection, {profile_revisions.compute_digest(profile): profile})
        profile_revisions.set_complete(
            writer.connection, profile_revisions.load_revision_ids(writer.connection).values()
        )
        _SCRATCH_METADATA.create_all(writer.connection)
        writer.connection.execute(insert(_POOL_TABLE), _build_pool_rows(np.random.default_rng(8_427)))
        hours = range(start_s, start_s + days * DAY_S, HOUR_S)
        writer.connection.execute(insert(_HOUR_TABLE), [{"t": t, "n": n} for n, t in enumerate(hours)])
    for statement in _build_statements():
        with store.write() as writer:
            writer.connection.execute(text(statement))
    with store.write() as writer:
        _SCRATCH_METADATA.drop_all(writer.connection)


def fill_chunks(store: Store, start_s: int, days: int) -> int:
    """Write raw chunks of ``RAW_PAIRS`` paths and return the number of their probes."""
    pool = _build_pool_rows(np.random.default_rng(8_427))
    with store.read() as reader:
        agents, targets = mesh_store.load_agents(reader.connection), mesh_store.load_targets(reader.connection)
    paths = [(agent.id, target.id) for agent in agents[:2] for target in targets[2 : 2 + RAW_PAIRS // 2]]
    for src_id, dst_id in paths:
        hours = range(start_s, start_s + days * DAY_S, HOUR_S)
        rows = [(src_id, dst_id, t, pool[(dst_id * 7 + n) % POOL]["body"]) for n, t in enumerate(hours)]
        with store.write() as writer:
            writer.replace_rows(tables.chunk, rows)
    return len(paths) * days * DAY_S


def _build_pool_rows(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for number in range(POOL):
        hour = _build_hour(rng, number)
        row = dict(zip(tables.rollup_hour.columns.keys(), path_rollups.build_hour_row(hour), strict=True))
        assert hour.chunk is not None
        rows.append(
            {"n": number, "body": hour.chunk.encode()}
            | {name: row[name] for name in ("packed", "latest", "rtt_histogram", "p95_histogram")}
        )
    return rows


def _build_hour(rng: np.random.Generator, number: int) -> PathHour:
    """Return an hour with about 10 bits of information per probe: queueing of about 150 µs, one spike in 200 probes."""
    base_us = 2_000 + 150 * number
    rtts = (
        base_us
        + rng.gamma(2, 75, (60, PROBES))
        + (rng.random((60, PROBES)) < 0.005) * rng.exponential(5_000, (60, PROBES))
    )
    slots = rtts.astype(np.int32)
    ordered = np.sort(slots, axis=1)
    values = {
        "expected": PROBES, "sent": PROBES, "received": PROBES, "min_us": ordered[:, 0],
        "mean_us": -(-ordered.sum(1) // PROBES), "p50_us": ordered[:, 29], "p95_us": ordered[:, 56],
        "p99_us": ordered[:, 59], "max_us": ordered[:, 59], "pdv_us": ordered[:, 56] - ordered[:, 0],
        "error_p99_us": rng.integers(20, 30, 60), "latency_p95_us": MISSING,
    }  # fmt: skip
    block = window_codec.make_empty_hours(1)
    for position, name in enumerate(COLUMNS):
        block[0, position] = values[name]
    series = [
        TargetWindow(
            target="x", address="192.0.2.1", start_s=60 * minute, interval_ms=1_000, rtt_us=row,
            error_us=ErrorBound(5, int(values["error_p99_us"][minute])),
        )
        for minute, row in enumerate(slots.tolist())
    ]  # fmt: skip
    chunk = Chunk.from_windows(0, series, slots.reshape(-1))
    return PathHour(
        key=(0, 0, 0), windows=block[0], packed=window_codec.pack_hours(block)[0],
        latest=window_codec.pack_latest_windows(block)[0], counters=chunk.compute_counters(), simulated=False,
        chunk=chunk,
    )  # fmt: skip


#: States that differ between pairs and hours: most hours good, some with a few bad windows, few with lost ones.
_BAD = "CASE WHEN (a.id * 31 + b.id * 17 + {n} * 7) % 41 = 0 THEN 9 ELSE 0 END"
_LOST = "CASE WHEN (a.id * 5 + b.id * 3 + {n}) % 997 = 0 THEN 20 ELSE 0 END"
#: Sixty letters each, one per minute, for ``substr``: SQLite has no ``repeat``.
_BADS, _LOSTS, _GOODS = (f"'{letter * 60}'" for letter in "txg")
_STATES = (
    f"CASE WHEN ({{bad}}) + ({{lost}}) > 0 THEN substr({_BADS}, 1, {{bad}}) || substr({_LOSTS}, 1, {{lost}}) "
    f"|| substr({_GOODS}, 1, 60 - ({{bad}}) - ({{lost}})) END"
)
_PATHS = "FROM agent a JOIN target b ON a.site_id <> b.site_id CROSS JOIN bench_hour h"


def _build_statements() -> Sequence[str]:
    zeros = ", ".join("0" for _ in range(8))
    bad, lost = _BAD.format(n="h.n"), _LOST.format(n="h.n")
    day_bad, day_lost = f"6 * ({_BAD.format(n='(h.n / 24)')})", _LOST.format(n="(h.n / 24)")
    false = "(1 = 0)"
    rollup = (
        f"INSERT INTO rollup_hour SELECT a.id, b.id, h.t, 60, 3600, 3600, 3600, 0, {zeros}, 2000, 9000, 9000000, "
        f"p.rtt_histogram, p.p95_histogram, 0, {false}, p.packed, p.latest {_PATHS} "
        f"JOIN bench_pool p ON p.n = (a.id * 7 + b.id * 13 + h.n) % {POOL}"
    )
    tally = (
        "INSERT INTO tally_hour SELECT a.site_id, r.id, b.site_id, h.t, "
        f"60 - ({bad}) - ({lost}), {bad}, {lost}, 60 - ({bad}) - ({lost}), {bad}, {lost}, 2000 + a.id, {false}, "
        f"{_STATES.format(bad=bad, lost=lost)}, 0, {bad}, 0, {false}, 60 {_PATHS} CROSS JOIN rule r"
    )
    day = (
        "INSERT INTO tally_day SELECT a.site_id, r.id, b.site_id, h.t, "
        f"1440 - ({day_bad}) - ({day_lost}), {day_bad}, {day_lost}, 1440 - ({day_bad}) - ({day_lost}), {day_bad}, "
        f"{day_lost}, 2000 + a.id, {false}, 0, {day_bad}, 0, {false}, 60 {_PATHS} CROSS JOIN rule r WHERE h.n % 24 = 0"
    )
    return rollup, tally, day
