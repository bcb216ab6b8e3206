"""Group commit: shared commits, separate failures, bounded queues, orderly shutdown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL

from leadline_collector.db import group_commit
from leadline_collector.db.engine import TRANSACTIONS_MAX, Database
from leadline_collector.db.group_commit import GroupCommit, StoreUnavailableError

WAIT_S = 20


@pytest.fixture(name="table")
def _table(database: Database) -> Database:
    """Return a database with an empty table ``t (n)``."""
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)")
    return database


def insert(n: int) -> Callable[[Connection], int]:
    """Return work that writes a number and returns it."""

    def work(connection: Connection) -> int:
        connection.exec_driver_sql(f"INSERT INTO t VALUES ({n})")
        return n

    return work


def numbers(database: Database) -> list[int]:
    """Return the committed numbers."""
    with database.read() as connection:
        return list(connection.exec_driver_sql("SELECT n FROM t ORDER BY n").scalars())


class Gate:
    """Work that blocks the writer until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, connection: Connection) -> None:
        self.entered.set()
        assert self.opened.wait(WAIT_S)


@contextmanager
def queued(database: Database, *works: Callable[[Connection], object]) -> Iterator[list[Future[object]]]:
    """Queue works together behind a gate; they run when the block ends."""
    gate = Gate()
    group = database._group_commit
    assert group is not None
    with ThreadPoolExecutor(len(works) + 1) as pool:
        first = pool.submit(database.transact, gate)
        assert gate.entered.wait(WAIT_S)
        futures = []
        for count, work in enumerate(works, 1):
            futures.append(pool.submit(database.transact, work))
            while group._jobs.qsize() < count and not futures[-1].done():
                threading.Event().wait(0.001)
        yield futures
        gate.opened.set()
        first.result(WAIT_S)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_queued_transactions_are_committed_together(table: Database) -> None:
    """Ten transactions that wait for the writer take one commit."""
    commits: list[int] = []
    event.listen(table._write_engine, "commit", lambda _: commits.append(1))

    with queued(table, *(insert(n) for n in range(10))) as futures:
        commits.clear()

    assert [future.result(WAIT_S) for future in futures] == list(range(10))
    assert numbers(table) == list(range(10))
    assert len(commits) == 2  # that of the gate, and theirs


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_result_before_the_commit(table: Database) -> None:
    """When the commit begins, no transaction of the group has a result; afterwards all have one."""
    early_results: list[bool] = []

    with queued(table, insert(1), insert(2)) as futures:
        event.listen(table._write_engine, "commit", lambda _: early_results.extend(future.done() for future in futures))

    assert {future.result(WAIT_S) for future in futures} == {1, 2}
    assert early_results
    assert not any(early_results)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_failure_fails_alone(table: Database) -> None:
    """The second work raises after writing: it is rolled back, its caller gets the exception, the others commit."""

    def broken(connection: Connection) -> None:
        insert(2)(connection)
        raise LookupError("raised by the work")

    with queued(table, insert(1), broken, insert(3)) as futures:
        pass

    assert futures[0].result(WAIT_S) == 1
    with pytest.raises(LookupError, match="raised by the work"):
        futures[1].result(WAIT_S)
    assert futures[2].result(WAIT_S) == 3
    assert numbers(table) == [1, 3]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_commit_that_fails_fails_for_all(table: Database) -> None:
    """Every caller of the group gets an error, and the writer continues."""

    def refuse(connection: Connection) -> None:
        raise OSError("the disk is gone")

    with queued(table, insert(1), insert(2)) as futures:
        # The first commit is that of the gate.
        event.listen(table._write_engine, "commit", _second_time(refuse))

    for future in futures:
        with pytest.raises(StoreUnavailableError, match="the disk is gone"):
            future.result(WAIT_S)
    assert numbers(table) == []


def _second_time(action: Callable[[Connection], None]) -> Callable[[Connection], None]:
    """Return a function that calls ``action`` only at its second call."""
    calls: list[int] = []

    def wrapped(connection: Connection) -> None:
        calls.append(1)
        if len(calls) == 2:
            action(connection)

    return wrapped


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_queue_is_bounded(table: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """If QUEUE_MAX transactions wait, the next one fails at once."""
    works = [insert(n) for n in range(group_commit.QUEUE_MAX)]

    with queued(table, *works), pytest.raises(StoreUnavailableError, match="already waiting"):
        table.transact(insert(9_999))

    assert numbers(table) == list(range(group_commit.QUEUE_MAX))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_closing_finishes_the_queue(table: Database) -> None:
    """The queue is finished before the connections close; later work is refused."""
    url = table.url
    with queued(table, insert(1), insert(2)) as futures:
        closing = threading.Thread(target=table.close)
        closing.start()
        closing.join(0.2)
        assert closing.is_alive()

    closing.join(WAIT_S)
    assert {future.result(WAIT_S) for future in futures} == {1, 2}
    with pytest.raises(StoreUnavailableError, match="stopping"):
        table.transact(insert(3))
    again = Database(url)
    assert numbers(again) == [1, 2]
    again.close()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_writer_thread_does_not_starve_others(table: Database) -> None:
    """A thread with its own transactions can write during a continuous stream of queued transactions."""
    stopping = threading.Event()

    def press(start: int) -> None:
        n = start
        while not stopping.is_set():
            table.transact(insert(n))
            n += 1

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(press, 1_000_000 * start) for start in range(1, 5)]
        try:
            for n in range(20):
                with table.write() as connection:
                    insert(n)(connection)
        finally:
            stopping.set()
        for future in futures:
            future.result(WAIT_S)

    assert numbers(table)[:20] == list(range(20))


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_writers_of_postgresql_are_bounded(table: Database) -> None:
    """If TRANSACTIONS_MAX transactions run or wait for a connection, the next one fails at once."""
    gate = Gate()
    with ThreadPoolExecutor(TRANSACTIONS_MAX) as pool:
        futures = [pool.submit(table.transact, gate) for _ in range(TRANSACTIONS_MAX)]
        while table._transaction_slots._value:  # wait until all have started
            threading.Event().wait(0.001)
        try:
            with pytest.raises(StoreUnavailableError, match="too many"):
                table.transact(insert(1))
        finally:
            gate.opened.set()
        for future in futures:
            future.result(WAIT_S)

    assert table.transact(insert(2)) == 2
    assert numbers(table) == [2]


def test_a_group_without_work_has_no_thread(tmp_path: Path) -> None:
    """Migrating and reading start no thread."""
    database = Database(URL.create("sqlite", database=str(tmp_path / "idle.sqlite")))

    database.close()

    assert isinstance(database._group_commit, GroupCommit)
    assert database._group_commit._thread is None
