"""One writer for many: shared commits, own failures, bounded queues, an orderly end."""

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
    """A database with an empty table ``t (n)``."""
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n INTEGER PRIMARY KEY)")
    return database


def insert(n: int) -> Callable[[Connection], int]:
    """Work that writes a number and returns it."""

    def work(connection: Connection) -> int:
        connection.exec_driver_sql(f"INSERT INTO t VALUES ({n})")
        return n

    return work


def numbers(database: Database) -> list[int]:
    """What is committed."""
    with database.read() as connection:
        return list(connection.exec_driver_sql("SELECT n FROM t ORDER BY n").scalars())


class Gate:
    """Work that stands in the writer's way until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, connection: Connection) -> None:
        self.entered.set()
        assert self.opened.wait(WAIT_S)


@contextmanager
def behind(database: Database, *works: Callable[[Connection], object]) -> Iterator[list[Future[object]]]:
    """Have works wait in the queue together; they go on when the block ends."""
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
def test_what_waits_together_is_committed_together(table: Database) -> None:
    """Ten transactions that wait for the writer cost one commit."""
    seen: list[int] = []
    event.listen(table._write_engine, "commit", lambda _: seen.append(1))

    with behind(table, *(insert(n) for n in range(10))) as futures:
        seen.clear()

    assert [future.result(WAIT_S) for future in futures] == list(range(10))
    assert numbers(table) == list(range(10))
    assert len(seen) == 2  # that of the gate, and theirs


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_nobody_is_told_before_the_commit(table: Database) -> None:
    """While the commit has not begun, no transaction of the group has an answer; afterwards every one is there."""
    held = threading.Event()
    told_early: list[bool] = []

    with behind(table, insert(1), insert(2)) as futures:
        event.listen(table._write_engine, "commit", lambda _: told_early.extend(future.done() for future in futures))
        held.set()

    assert {future.result(WAIT_S) for future in futures} == {1, 2}
    assert told_early
    assert not any(told_early)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_failure_fails_alone(table: Database) -> None:
    """The middle one breaks after writing: its row is gone, its exception comes back, the others are stored."""

    def broken(connection: Connection) -> None:
        insert(2)(connection)
        raise LookupError("of the work itself")

    with behind(table, insert(1), broken, insert(3)) as futures:
        pass

    assert futures[0].result(WAIT_S) == 1
    with pytest.raises(LookupError, match="of the work itself"):
        futures[1].result(WAIT_S)
    assert futures[2].result(WAIT_S) == 3
    assert numbers(table) == [1, 3]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_commit_that_fails_fails_for_all(table: Database) -> None:
    """Everybody of the group hears that it is not stored, and the writer goes on with the next."""

    def refuse(connection: Connection) -> None:
        raise OSError("the disk is gone")

    with behind(table, insert(1), insert(2)) as futures:
        event.listen(table._write_engine, "commit", refuse, once=False)
        # The gate's own commit fails too: it is the first of the broken ones.
        event.remove(table._write_engine, "commit", refuse)
        event.listen(table._write_engine, "commit", _second_time(refuse))

    for future in futures:
        with pytest.raises(StoreUnavailableError, match="the disk is gone"):
            future.result(WAIT_S)
    assert numbers(table) == []


def _second_time(action: Callable[[Connection], None]) -> Callable[[Connection], None]:
    """Nothing the first time, ``action`` the second, nothing afterwards."""
    calls: list[int] = []

    def wrapped(connection: Connection) -> None:
        calls.append(1)
        if len(calls) == 2:
            action(connection)

    return wrapped


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_queue_is_bounded(table: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """QUEUE_MAX transactions wait; the next is told to come again at once."""
    works = [insert(n) for n in range(group_commit.QUEUE_MAX)]

    with behind(table, *works), pytest.raises(StoreUnavailableError, match="waiting already"):
        table.transact(insert(9_999))

    assert numbers(table) == list(range(group_commit.QUEUE_MAX))


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_closing_does_what_is_waiting(table: Database) -> None:
    """The queue is done before the connections close; later work is refused."""
    url = table.url
    with behind(table, insert(1), insert(2)) as futures:
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
    """While transactions come without a pause, one that writes in its own thread gets its turn."""
    over = threading.Event()

    def press(start: int) -> None:
        n = start
        while not over.is_set():
            table.transact(insert(n))
            n += 1

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(press, 1_000_000 * start) for start in range(1, 5)]
        try:
            for n in range(20):
                with table.write() as connection:
                    insert(n)(connection)
        finally:
            over.set()
        for future in futures:
            future.result(WAIT_S)

    assert numbers(table)[:20] == list(range(20))


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_writers_of_postgresql_are_bounded(table: Database) -> None:
    """TRANSACTIONS_MAX run or wait for a connection; the next is told to come again at once."""
    gate = Gate()
    with ThreadPoolExecutor(TRANSACTIONS_MAX) as pool:
        futures = [pool.submit(table.transact, gate) for _ in range(TRANSACTIONS_MAX)]
        while table._transaction_slots._value:  # nothing else tells that all have arrived
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
    """Whoever only migrates or reads starts nothing."""
    database = Database(URL.create("sqlite", database=str(tmp_path / "idle.sqlite")))

    database.close()

    assert isinstance(database._group_commit, GroupCommit)
    assert database._group_commit._thread is None
