"""Group commit for SQLite: one writer thread commits the queued transactions together.

Rule 1: a caller gets its result only after the commit that contains its work.
Rule 2: work that raises is rolled back to its savepoint and fails alone; a failed commit fails for all its work.
Rule 3: the queue is bounded; a full queue raises StoreBusyError.

An fsync takes milliseconds, a batch less: without group commit, fsyncs would limit the batches per second.
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

#: Queued transactions. At a millisecond each the last waits a tenth of a second.
QUEUE_MAX = 128
#: Transactions in one commit: limits what one failure undoes and how long the first waits for the last.
GROUP_SIZE_MAX = 64
#: A disk that takes longer is broken; the caller gets StoreUnavailableError with an unknown outcome.
COMMIT_WAIT_S_MAX = 30
#: How long ``close`` waits for the queued transactions.
CLOSE_WAIT_S_MAX = 30

Result = TypeVar("Result")


class StoreUnavailableError(UnavailableError):
    """The transaction failed or its outcome is unknown; the same request may be sent again."""


class StoreBusyError(StoreUnavailableError):
    """Too many transactions at once, or two on the same rows; the database itself is healthy."""


#: Body of a transaction; it neither commits nor rolls back.
Work: TypeAlias = Callable[[Connection], Any]


@dataclass(slots=True)
class _Job:
    work: Work
    future: Future[Any] = field(default_factory=Future)
    #: Set within the transaction, passed to ``future`` after the commit.
    result: Any = None
    error: BaseException | None = None


class GroupCommit:
    """Writer thread that runs queued work in few transactions; ``begin`` opens a transaction and commits it."""

    def __init__(self, begin: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._begin = begin
        self._jobs: queue.Queue[_Job | None] = queue.Queue(QUEUE_MAX)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Return the result of ``work`` after the commit, or raise its exception after the rollback."""
        job = _Job(work)
        self._enqueue(job)
        try:
            result: Result = job.future.result(COMMIT_WAIT_S_MAX)
        except FutureTimeoutError as error:
            raise StoreUnavailableError(
                f"the commit takes more than {COMMIT_WAIT_S_MAX} s; its outcome is unknown"
            ) from error
        return result

    def close(self) -> None:
        """Finish the queued work and end the thread; later work raises StoreUnavailableError."""
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
                    f"{QUEUE_MAX} transactions are already waiting; try again in a few seconds"
                ) from None

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            group = [first, *self._drain_queue(GROUP_SIZE_MAX - 1)]
            try:
                self._commit(group)
            except Exception as error:  # noqa: BLE001  # every waiting caller receives it
                _fail_group(group, error)
            else:
                _resolve_futures(group)

    def _drain_queue(self, count_max: int) -> list[_Job]:
        """Return the queued jobs without waiting for more, so that a single request has no extra delay."""
        jobs: list[_Job] = []
        while len(jobs) < count_max:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # the stop marker is the last item, so the queue has room
                break
            jobs.append(job)
        return jobs

    def _commit(self, group: Sequence[_Job]) -> None:
        with self._begin() as connection:
            for job in group:
                savepoint = connection.begin_nested()
                try:
                    job.result = job.work(connection)
                except Exception as error:  # noqa: BLE001  # every waiting caller receives it
                    # Raises if SQLite has rolled back the whole transaction (disk full): then all jobs fail.
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
    """Fail every job with its own exception: one exception in several threads would mix their tracebacks."""
    for job in group:
        failure = StoreUnavailableError(f"the commit failed: {error}")
        failure.__cause__ = error
        job.future.set_exception(failure)
