"""One writer for SQLite: transactions wait in a queue, as many as are there are committed together.

Rule 1: nobody is told of success before the commit that holds his work.
Rule 2: work that fails is rolled back to its savepoint and fails alone; a commit that fails, fails for all in it.
Rule 3: the queue is bounded; who finds it full is told to come again.

An fsync takes milliseconds and a batch less: without sharing, the disk's fsyncs would bound the batches a second.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection

from leadline.errors import UnavailableError

#: Transactions that wait. At a millisecond each the last waits a tenth of a second.
QUEUE_MAX = 128
#: Transactions in one commit: bounds what one failure undoes, and how long the first of them waits for the last.
GROUP_SIZE_MAX = 64
#: A disk that takes longer than this is broken; the caller is told that nobody knows.
COMMIT_WAIT_S_MAX = 30
#: How long ``close`` waits for what is in the queue.
CLOSE_WAIT_S_MAX = 30

Result = TypeVar("Result")


class StoreUnavailableError(UnavailableError):
    """The database did not do it, or we cannot know whether it did: the same request may be sent again."""


class StoreBusyError(StoreUnavailableError):
    """Too many at once, or two at the same rows: the database itself is well."""


#: What a transaction does; it neither commits nor rolls back.
Work: TypeAlias = Callable[[Connection], Any]


@dataclass(slots=True)
class _Job:
    work: Work
    future: Future[Any] = field(default_factory=Future)
    #: Set within the transaction, told after the commit.
    result: Any = None
    error: BaseException | None = None


class GroupCommit:
    """A thread that does the work of many in few transactions. ``begin`` opens one and commits at its end."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._begin = begin
        self._jobs: queue.Queue[_Job | None] = queue.Queue(QUEUE_MAX)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """What ``work`` returns, once it is durable; its exception, once it is undone."""
        job = _Job(work)
        self._enqueue(job)
        try:
            outcome: Result = job.future.result(COMMIT_WAIT_S_MAX)
        except FutureTimeoutError as error:
            raise StoreUnavailableError(
                f"the commit takes more than {COMMIT_WAIT_S_MAX} s; nobody knows its end"
            ) from error
        return outcome

    def close(self) -> None:
        """Do what is in the queue and end; later work is refused."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
        if thread is not None:
            self._jobs.put(None)
            thread.join(CLOSE_WAIT_S_MAX)

    def _enqueue(self, job: _Job) -> None:
        with self._lock:
            if self._is_closed:
                raise StoreUnavailableError("the collector is stopping; send it again")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
                self._thread.start()
            try:
                self._jobs.put_nowait(job)
            except queue.Full:
                raise StoreBusyError(
                    f"{QUEUE_MAX} transactions are waiting already; try again in a few seconds"
                ) from None

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            group = [first, *self._drain_queue(GROUP_SIZE_MAX - 1)]
            try:
                self._commit(group)
            except Exception as error:
                _fail_group(group, error)
            else:
                _resolve_futures(group)

    def _drain_queue(self, count_max: int) -> list[_Job]:
        """What is in the queue already, without waiting for more: a lone request pays for no company."""
        jobs: list[_Job] = []
        while len(jobs) < count_max:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # the end of the queue: nothing follows, so there is room
                break
            jobs.append(job)
        return jobs

    def _commit(self, group: Sequence[_Job]) -> None:
        with self._begin() as connection:
            for job in group:
                savepoint = connection.begin_nested()
                try:
                    job.result = job.work(connection)
                except Exception as error:
                    # Raises if SQLite has already given up the whole transaction (a full disk): then all fail.
                    savepoint.rollback()
                    job.error = error
                else:
                    savepoint.commit()


def _resolve_futures(group: Sequence[_Job]) -> None:
    for job in group:
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


def _fail_group(group: Sequence[_Job], error: Exception) -> None:
    """Each gets his own exception: the same one raised in several threads would mix their tracebacks."""
    for job in group:
        failure = StoreUnavailableError(f"the commit failed: {error}")
        failure.__cause__ = error
        job.future.set_exception(failure)
