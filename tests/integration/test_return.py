"""Return of all agents at once, each with a backlog: every batch is stored once, and memory stays bounded."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import text
from sqlalchemy.engine import URL

from leadline.clock import SystemClock
from leadline_collector.db.engine import Database
from leadline_collector.http.admission import CONCURRENT_BATCHES_MAX, QUEUED_BATCHES_MAX
from tests.chaos.fast_clock import FastClock
from tests.integration.test_serve import environment, serving
from tests.support import postgres
from tests.support.agent_fleet import DeliveryResult, FleetAgent, enrol_agents

#: More than admission control accepts and queues.
AGENTS = 600
BACKLOG = 2
#: Measured: 120, of which 60 before the first request; the rest is for 544 waiting batches and their threads.
RESIDENT_MB_MAX = 200
SECONDS_MAX = 90


@contextmanager
def slow(url: URL) -> Iterator[None]:
    """Block writes to the database by another writer; reads work."""
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(url.database), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    with psycopg.connect(postgres.build_conninfo(url)) as other:
        other.execute("LOCK TABLE batch IN SHARE ROW EXCLUSIVE MODE")
        yield
        other.rollback()


def peak_mb(process_id: int) -> float:
    """Return the peak resident memory of a process."""
    status = Path(f"/proc/{process_id}/status").read_text()
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert match
    return int(match[1]) / 1_000


def counts(database: Database) -> tuple[int, int, int]:
    """Return the number of batches in the journal, batches in the ledger, and windows."""
    queries = ("SELECT count(*) FROM batch", "SELECT sum(batches) FROM ledger", "SELECT count(*) FROM window_stat")
    with database.read() as connection:
        journal, ledger, windows = (int(connection.execute(text(query)).scalar_one()) for query in queries)
    return journal, ledger, windows


def test_hundreds_of_agents_return_at_once(url: URL, tmp_path: Path) -> None:
    """600 agents deliver two batches each while the database is busy; some get 503 and retry.

    In the end every batch is acknowledged and stored once.
    """
    assert AGENTS > CONCURRENT_BATCHES_MAX + QUEUED_BATCHES_MAX
    database = Database(url)
    enrol_agents(database, AGENTS)
    database.close()
    clock = FastClock(SystemClock().wall_ns())
    first_s = clock.wall_ns() // 10**9 // 60 * 60 - 600
    agents = [FleetAgent(number, BACKLOG, clock, first_s) for number in range(AGENTS)]

    start, stop, refused = threading.Barrier(AGENTS + 1), threading.Event(), threading.Event()
    with serving(environment(url, tmp_path / "data")) as (process, address), ThreadPoolExecutor(AGENTS + 1) as pool:
        assert process.stderr is not None
        log = pool.submit(process.stderr.read)  # a full pipe would stop the collector
        futures = [pool.submit(agent.deliver_backlog, address, start, stop, refused) for agent in agents]
        with slow(url):
            start.wait()
            assert refused.wait(SECONDS_MAX)  # the queue is full, however long that takes
        try:
            delivered: list[DeliveryResult] = [future.result(SECONDS_MAX) for future in futures]
        finally:
            stop.set()
        memory_mb = peak_mb(process.pid)
        process.terminate()
        process.wait(20)
    assert "Traceback" not in log.result()

    database = Database(url)
    assert counts(database) == (AGENTS * BACKLOG,) * 3
    database.close()
    ends = {
        (result.count_stored, result.usage.unacked, result.usage.pending, result.usage.dead) for result in delivered
    }
    assert ends == {(BACKLOG, 0, 0, 0)}
    refusals = [answer for result in delivered for answer in result.responses if answer.ack is None]
    assert {(answer.status, answer.retry_after_s) for answer in refusals} == {(503, 5.0)}
    assert memory_mb < RESIDENT_MB_MAX
