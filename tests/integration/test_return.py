"""All agents at once, each with a backlog: none is forgotten, none is stored twice, and the collector stays small."""

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

#: Five hundred and as many more as it takes to fill the waiting room.
AGENTS = 600
BACKLOG = 2
#: 120 were seen: 60 before the first request, and what 544 waiting batches and their threads take.
RESIDENT_MB_MAX = 200
SECONDS_MAX = 90


@contextmanager
def slow(url: URL) -> Iterator[None]:
    """The database answers and stores nothing: somebody else is writing."""
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
    """The most memory a process ever had."""
    status = Path(f"/proc/{process_id}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1_000


def counts(database: Database) -> tuple[int, int, int]:
    """Batches in the journal, batches counted, windows."""
    queries = ("SELECT count(*) FROM batch", "SELECT sum(batches) FROM ledger", "SELECT count(*) FROM window_stat")
    with database.read() as connection:
        journal, ledger, windows = (int(connection.execute(text(query)).scalar_one()) for query in queries)
    return journal, ledger, windows


def test_hundreds_of_agents_return_at_once(url: URL, tmp_path: Path) -> None:
    """600 agents with two batches each, while the database is busy: some are told to come again, and do; at the end
    every batch is acknowledged and in the store once.
    """
    assert AGENTS > CONCURRENT_BATCHES_MAX + QUEUED_BATCHES_MAX
    database = Database(url)
    enrol_agents(database, AGENTS)
    database.close()
    clock = FastClock(SystemClock().wall_ns())
    first_s = clock.wall_ns() // 10**9 // 60 * 60 - 600
    agents = [FleetAgent(number, BACKLOG, clock, first_s) for number in range(AGENTS)]

    start, stop = threading.Barrier(AGENTS + 1), threading.Event()
    with serving(environment(url, tmp_path / "data")) as (process, address), ThreadPoolExecutor(AGENTS + 1) as pool:
        assert process.stderr is not None
        log = pool.submit(process.stderr.read)  # a pipe that nobody reads would stop the collector
        futures = [pool.submit(agent.deliver_backlog, address, start, stop) for agent in agents]
        with slow(url):
            start.wait()
            stop.wait(1.5)  # real time: the requests have to get there
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
    ends = {(one.count_stored, one.usage.unacked, one.usage.pending, one.usage.dead) for one in delivered}
    assert ends == {(BACKLOG, 0, 0, 0)}
    refused = [answer for one in delivered for answer in one.responses if answer.ack is None]
    assert {(answer.status, answer.retry_after_s) for answer in refused} == {(503, 5.0)}
    assert memory_mb < RESIDENT_MB_MAX
