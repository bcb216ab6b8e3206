"""Data of version 0.1.0: an agent's state directory and a collector's data directory, and functions that open copies.

``python -m tests.contract.golden_files relics`` writes ``golden/relics`` once; an existing folder is an error. A later
version with another format adds its own folder.

=========================  =====================================================================================
``agent/``                 state directory of agent fra1: credential, plan, status, spool of three epochs
``collector/``             data directory: database (gzip) and the administrator's key
``expected.json``          batches of the spool, its counters, and the delivered batches
``windows.csv.gz``         15 days of windows for ``leadline verdict --input``
=========================  =====================================================================================
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec
from sqlalchemy import select
from sqlalchemy.engine import URL

from leadline.clock import Clock, SystemClock
from leadline.model import ErrorBound, Failure, Miss, Window
from leadline.wire.batch import ClockState, Gap, GapReason
from leadline_agent.delivery import batch_builder
from leadline_agent.spool.spool import Spool
from leadline_agent.spool.usage import SpoolUsage
from leadline_collector.config import CollectorConfig
from leadline_collector.db import tables
from leadline_collector.db.transactions import Store
from leadline_collector.rollup.worker import run_compaction
from leadline_collector.server.serve import open_store, serve_in_thread
from tests.chaos.fast_clock import FastClock
from tests.chaos.spool_oracle import iter_unacked
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import MESH, build_batch, encode_body
from tests.support.live_agent import LiveAgent, wait_until

FOLDER = Path(__file__).parent / "golden" / "relics"
AGENT, COLLECTOR = FOLDER / "agent", FOLDER / "collector"
DATABASE = "leadline.sqlite"
NS_PER_S = 1_000_000_000
#: Refuses connections.
NOWHERE = "http://127.0.0.1:9"
HOUR_S, DAY_S = 3_600, 86_400
#: 2026-11-22 00:00 UTC.
MIDNIGHT_S = 1_795_305_600
#: The database has windows from here on.
START_S = MIDNIGHT_S - 4 * HOUR_S
#: Half a minute after the refresh of current state: the next refresh is not due within a test.
NOW_S = MIDNIGHT_S + 3 * HOUR_S + 60


class ShiftedClock(FastClock):
    """A fast clock that starts at the wall time ``wall_s``."""

    def __init__(self, wall_s: int) -> None:
        now_ns = SystemClock().wall_ns()
        super().__init__(now_ns)
        self._shift_ns = wall_s * NS_PER_S - now_ns

    def wall_ns(self) -> int:
        return super().wall_ns() + self._shift_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """A collector that serves a data directory over HTTP on loopback."""

    client: Client
    store: Store
    data_dir: Path

    def journal(self) -> list[list[Any]]:
        """Return agent, epoch, number and digest of every batch; the digest is that of the stored body."""
        agent, row = tables.agent.c, tables.batch.c
        query = (
            select(agent.name, row.epoch, row.seq, row.body)
            .join(tables.agent, agent.id == row.src_id)
            .order_by(agent.name, row.epoch, row.seq)
        )
        with self.store.read() as reader:
            rows = list(reader.connection.execute(query))
        return [[name, bytes(epoch).hex(), seq, sha256(bytes(body))] for name, epoch, seq, body in rows]


@contextmanager
def collector_on(data_dir: Path, clock: Clock) -> Iterator[Collector]:
    """Serve a data directory; the start migrates its database."""
    config = CollectorConfig(
        data_dir=data_dir, database=URL.create("sqlite", database=str(data_dir / DATABASE)), port=0
    )
    with open_store(config) as store, serve_in_thread(config, store, clock) as url:
        client = Client(url=url, admin_key=(data_dir / "admin.key").read_text().strip())
        yield Collector(client=client, store=store, data_dir=data_dir)
        client.pool.clear()


@contextmanager
def collector_of_relics(directory: Path, clock: Clock | None = None) -> Iterator[Collector]:
    """Serve a copy of the golden database, by default at ``NOW_S``."""
    data_dir = directory / "collector"
    data_dir.mkdir()
    shutil.copy(COLLECTOR / "admin.key", data_dir)
    (data_dir / DATABASE).write_bytes(gzip.decompress((COLLECTOR / f"{DATABASE}.gz").read_bytes()))
    with collector_on(data_dir, clock or FakeClock(NOW_S * NS_PER_S)) as collector:
        yield collector


def agent_of_relics(directory: Path, url: str) -> Path:
    """Copy the golden state directory and set the URL of its collector, as the tests' ports are random."""
    state_dir = directory / "agent"
    shutil.copytree(AGENT, state_dir)
    credential = json.loads((state_dir / "credential.json").read_text())
    (state_dir / "credential.json").write_text(json.dumps(credential | {"collector": url}))
    return state_dir


def expected() -> Any:
    """Return the content of ``expected.json``."""
    return json.loads((FOLDER / "expected.json").read_text())


def contents(spool: Spool) -> dict[str, Any]:
    """Return the pending batches, oldest first, each with its digest, and the losses to report."""
    usage: SpoolUsage = spool.get_usage()
    return {
        "waiting": [
            [*batch.id, batch.windows, batch.t_first_s, batch.t_last_s, sha256(spool.read_body(batch.id) or b"")]
            for batch in iter_unacked(spool)
        ],
        "tombstones": [msgspec.to_builtins(loss) for loss in spool.list_undelivered_losses()],
        "acked": usage.acked,
        "dead": usage.dead,
    }


def sha256(data: bytes) -> str:
    """Return the digest in hex."""
    return hashlib.sha256(data).hexdigest()


def leadline(*arguments: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command line in a separate process."""
    return subprocess.run(
        [sys.executable, "-m", "leadline_cli", *map(str, arguments)], capture_output=True, check=check, **options
    )


def make() -> None:
    """Write the folder of relics; raise FileExistsError if it exists."""
    if FOLDER.exists():
        raise FileExistsError(f"{FOLDER} exists; relics are written only once")
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        # The relics must not depend on the machine.
        stack.enter_context(patch.object(batch_builder, "read_boot_id", lambda: "6a0a1f0e-5d53-4b0c-9d43-0d9f1f0c6f11"))
        stack.enter_context(patch.object(batch_builder, "read_clock_state", lambda: _CLOCK_STATE))
        data_dir, state_dir = Path(scratch, "collector"), Path(scratch, "agent")
        data_dir.mkdir()
        state_dir.mkdir()
        figures = _agent(data_dir, state_dir)
        _measured(data_dir)
        _refreshed(data_dir)
        _store(data_dir, state_dir, figures)


_CLOCK_STATE = ClockState(synchronised=True, offset_us=12, max_error_us=2_300, estimated_error_us=40)


def _measured(data_dir: Path) -> None:
    """Post seven hours of windows of two paths, as agents do, and run the compaction once."""
    clock = FakeClock((MIDNIGHT_S + 3 * HOUR_S) * NS_PER_S)
    with collector_on(data_dir, clock) as collector:
        client = collector.client
        for agent, site, target in (("fra2", "fra", "ams1"), ("ams1", "ams", "fra1")):
            key, rng = client.key(agent, site), Random(agent)
            for hour in range(7):
                first_s = START_S + hour * HOUR_S
                windows = [
                    (target, _window(rng, t)) for t in range(first_s, first_s + HOUR_S, 60) if rng.random() < 0.97
                ]
                gaps = [_GAP] if hour == 2 else []
                document = build_batch(*windows, agent=agent, seq=hour, sealed_at_s=first_s + HOUR_S + 16)
                response = client.post(msgspec.structs.replace(document, gaps=gaps), key)
                assert response.status == 200, response.body
        run_compaction(collector.store, clock)


_GAP = Gap(
    reason=GapReason.SPOOL_OVERFLOW, from_s=START_S - HOUR_S, to_s=START_S - HOUR_S + 600, windows=10,
    first_seq=100, last_seq=104, epoch="00112233445566778899aabbccddeeff",
)  # fmt: skip


def _window(rng: Random, start_s: int) -> Window:
    """Return a window: most are good, some are slow, some lose probes, some have no reply."""
    slow = start_s % HOUR_S in range(1_200, 1_800) and start_s < MIDNIGHT_S
    level = 5_400 if slow else 4_100
    lost = set(rng.sample(range(60), rng.choice([0] * 20 + [1, 1, 2, 4, 13, 60])))
    return Window(
        start_s=start_s,
        interval_ms=1_000,
        rtt_us=tuple(None if slot in lost else level + rng.randint(0, 12) for slot in range(60)),
        misses=tuple(
            Miss(slot, rng.choice([Failure.TIMEOUT, Failure.TIMEOUT, Failure.NOT_SENT])) for slot in sorted(lost)
        ),
        duplicates=rng.choice([0, 0, 0, 2]),
        error_bound=ErrorBound(p50_us=4, p99_us=21),
    )


def _agent(data_dir: Path, state_dir: Path) -> dict[str, Any]:
    """Write the state of agent fra1: enrolment by the command, three runs of the real loop, two refused batches."""
    epochs = [f"{number}" * 32 for number in range(1, 9)]
    clock = ShiftedClock(MIDNIGHT_S + 2 * HOUR_S)
    with collector_on(data_dir, clock) as collector:
        both = MESH.replace('["vcf9-stretched-cluster"]', '["vcf9-stretched-cluster", "vsan-stretched"]')
        assert collector.client.apply(both).status == 200
        token = Path(state_dir, "token")
        token.write_text(collector.client.token("fra"))
        leadline(
            "agent", "enroll", collector.client.url, "--token-file", token, "--agent", "fra1", "--sign",
            "--state-dir", state_dir,
        )  # fmt: skip
        token.unlink()
        first = _live(state_dir, collector.client.url, clock, epochs[0]).start()
        wait_until(lambda: len(first.read_accepted()) >= 6, "six batches")
        wait_until(lambda: _delivered(collector) >= 6, "their delivery")
        first.stop()
        acked = [row[1:] for row in collector.journal() if row[0] == "fra1"]
    for number in (1, 3):
        _offline(state_dir, clock, epochs[number])
        spool = _live(state_dir, NOWHERE, clock, epochs[number + 1]).spool
        oldest = spool.find_oldest()
        assert oldest is not None
        spool.refuse(oldest.id, "422 no such target")
        spool.commit()
        spool.close()
    spool = _live(state_dir, NOWHERE, clock, epochs[5]).spool
    figures = contents(spool) | {"delivered": acked}
    spool.close()
    return figures


def _offline(state_dir: Path, clock: ShiftedClock, epoch: str) -> None:
    """Run the agent without a collector: its batches stay in the spool."""
    agent = _live(state_dir, NOWHERE, clock, epoch).start()
    before = len(agent.read_accepted())
    wait_until(lambda: len(agent.read_accepted()) >= before + 4, "four batches")
    agent.stop()


def _live(state_dir: Path, url: str, clock: ShiftedClock, epoch: str) -> LiveAgent:
    return LiveAgent(state_dir, url, "", clock, make_epoch=lambda: epoch)


def _delivered(collector: Collector) -> int:
    return sum(row[0] == "fra1" for row in collector.journal())


def _refreshed(data_dir: Path) -> None:
    """Post a batch with an agent's headers and refresh current state; the refresh is due 0.2 s after the start."""
    clock = FakeClock((NOW_S - 30) * NS_PER_S - NS_PER_S // 5)
    with collector_on(data_dir, clock) as collector:
        key = collector.client.key("fra2", "fra")
        window = _window(Random(1), MIDNIGHT_S + 3 * HOUR_S - 60)
        document = build_batch(("ams1", window), agent="fra2", seq=7, sealed_at_s=MIDNIGHT_S + 3 * HOUR_S + 16)
        headers = {
            "Content_Encoding": "gzip", "User_Agent": "leadline-agent/0.1.0",
            "Leadline_Spool": "batches=3, bytes=4567, max=536870912",
        }  # fmt: skip
        assert collector.client.send("POST", "/api/v1/batches", encode_body(document), key, **headers).status == 200
        wait_until(lambda: b"leadline_agent_info{" in collector.client.send("GET", "/metrics").body, "the refresh")
        time.sleep(0.5)


def _store(data_dir: Path, state_dir: Path, figures: dict[str, Any]) -> None:
    for path in (state_dir / "oracle", *state_dir.glob("*.new")):
        path.unlink(missing_ok=True)
    COLLECTOR.mkdir(parents=True)
    shutil.copytree(state_dir, AGENT)
    shutil.copy(data_dir / "admin.key", COLLECTOR)
    assert not list(data_dir.glob("*-wal"))
    (COLLECTOR / f"{DATABASE}.gz").write_bytes(gzip.compress((data_dir / DATABASE).read_bytes(), mtime=0))
    (FOLDER / "windows.csv.gz").write_bytes(gzip.compress(_csv().encode(), mtime=0))
    (FOLDER / "expected.json").write_text(json.dumps(figures, indent=1) + "\n")


def _csv() -> str:
    """Return fifteen days of two directions: slow hours, losses, silence, missing windows, one ambiguous period."""
    days, start_s = 15, MIDNIGHT_S - 15 * DAY_S
    paths = {("fra", "ams"): ("fra1", "ams1"), ("ams", "fra"): ("ams1", "fra1")}
    head = {
        "format": "leadline windows 1",
        "start_s": start_s,
        "end_s": start_s + days * DAY_S,
        "sites": [
            {"name": name, "latitude_deg": latitude, "longitude_deg": longitude, "uncertainty_km": 1.0}
            for name, latitude, longitude in (("fra", 50.1, 8.7), ("ams", 52.3, 4.9))
        ],
        "pairs": [
            {
                "source": source, "destination": destination,
                "paths": [{"agent": agent, "target": target, "simulated": False}],
                "ambiguous": [[9_000, 9_007]] if source == "fra" else [],
                "explained": [[12_000, 12_030]] if source == "ams" else [],
            }
            for (source, destination), (agent, target) in paths.items()
        ],
    }  # fmt: skip
    columns = "expected,sent,received,min_us,mean_us,p50_us,p95_us,p99_us,max_us,pdv_us,error_p99_us"
    lines = [f"# {json.dumps(head, separators=(',', ':'))}", f"source,destination,agent,target,t,{columns}"]
    for (source, destination), (agent, target) in paths.items():
        rng = Random(source)
        rows = (_csv_row(rng, source, minute) for minute in range(days * 1_440))
        for minute, row in zip(itertools.count(), rows, strict=False):
            if row is not None:
                place = (source, destination, agent, target, start_s + 60 * minute)
                lines.append(",".join("" if value is None else str(value) for value in (*place, *row)))
    return "\n".join(lines) + "\n"


def _csv_row(rng: Random, source: str, minute: int) -> Sequence[int | None] | None:
    chance, step = rng.random(), rng.choice([0, 0, 0, 3, 9])
    if chance < 0.001 or (source == "fra" and 9_000 <= minute < 9_007) or 12_000 <= minute < 12_030:
        return None
    if source == "ams" and 15_000 <= minute < 15_004:
        return (60, 60, 0, None, None, None, None, None, None, None, 25)
    slow = source == "fra" and minute % 1_440 in range(600, 604)
    p50 = (5_600 if slow else 4_100) + step
    if chance > 0.995:
        lost = 2 if chance < 0.999 else 7
        p95 = p50 + 80 if lost < 4 else None
        return (60, 60, 60 - lost, p50 - 60, p50 + 2, p50, p95, None, p50 + 90, 140 if lost < 4 else None, 25)
    return (60, 60, 60, p50 - 60, p50 + 2, p50, p50 + 80, p50 + 85, p50 + 90, 140, 25)
