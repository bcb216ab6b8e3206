"""Broken products: each does one thing that delivery forbids, and the checker has to notice.

They are patched into the processes of a chaos run here and exist nowhere else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.engine import Engine

from leadline.wire import batch as wire
from leadline_agent.delivery import collector_client, upload_policy
from leadline_agent.delivery.responses import BatchResponse, ResponseKind, parse_response
from leadline_agent.delivery.uploader import Uploader
from leadline_agent.spool.index import BatchId
from leadline_collector.db.transactions import Store, WriteTransaction
from leadline_collector.journal import store as journal_store
from leadline_collector.journal.store import JournalEntry

#: How much later than its acknowledgement a batch is committed (ACK_BEFORE_COMMIT).
COMMIT_LATE_S = 0.5


class Variant(StrEnum):
    """What is broken."""

    NONE = "none"
    #: The agent takes every 200 for an acknowledgement.
    ANY_200 = "any-200"
    #: The agent forgets a batch before it has an answer.
    DELETE_BEFORE_SEND = "delete-before-send"
    #: The collector answers, then commits.
    ACK_BEFORE_COMMIT = "ack-before-commit"
    #: The collector counts a batch each time it comes.
    NO_DEDUP = "no-dedup"
    #: PostgreSQL answers a commit before its log is written. (SQLite's ``synchronous=OFF`` loses nothing to a kill -9:
    #: what was written is in the page cache. The file-system crash simulator is the place for that.)
    ASYNC_COMMIT = "async-commit"


def choose_sender_class(variant: Variant) -> type[Uploader]:
    """The sender of an agent."""
    return _ForgettingSender if variant is Variant.DELETE_BEFORE_SEND else Uploader


def break_agent(variant: Variant) -> None:
    """Patch the agent's process."""
    if variant is Variant.ANY_200:
        vars(collector_client)["parse_response"] = _accept_any_200


def break_collector(variant: Variant) -> None:
    """Patch the collector's process."""
    if variant is Variant.ACK_BEFORE_COMMIT:
        Store.transact = _transact_later  # type: ignore[method-assign]
    elif variant is Variant.NO_DEDUP:
        journal_store.add_batch = _add_batch_twice
    elif variant is Variant.ASYNC_COMMIT:
        event.listen(Engine, "begin", _commit_lazily)


class _ForgettingSender(Uploader):
    def _post_batch(self, choice: upload_policy.Send, name: BatchId, body: bytes) -> None:
        self._spool.ack(name)
        super()._post_batch(choice, name, body)


def _accept_any_200(status: int, retry_after: str, body: bytes, digest: str) -> BatchResponse:
    found = parse_response(status, retry_after, body, digest)
    if status != 200 or found.kind is ResponseKind.STORED:
        return found
    return BatchResponse(kind=ResponseKind.STORED, reason="200", status=200, ack=wire.Ack(digest=digest))


class _RollbackError(Exception):
    """Rolls a transaction back once its result is known."""


def _transact_later(self: Store, work: Callable[[WriteTransaction], Any]) -> Any:
    results = []
    try:
        with self.write() as writer:
            results.append(work(writer))
            raise _RollbackError
    except _RollbackError:
        threading.Timer(COMMIT_LATE_S, _commit, (self, work)).start()
    return results[0]


def _commit(store: Store, work: Callable[[WriteTransaction], Any]) -> None:
    with store.write() as writer:
        work(writer)


_add_batch = journal_store.add_batch


def _add_batch_twice(connection: Connection, entry: JournalEntry) -> int | None:
    batches = _add_batch(connection, entry)
    if batches is not None:
        return batches
    row = {"src_id": entry.src_id, "epoch": entry.key.epoch}
    found = connection.execute(
        text("UPDATE ledger SET batches = batches + 1 WHERE src_id = :src_id AND epoch = :epoch RETURNING batches"), row
    )
    return int(found.scalar_one())


def _commit_lazily(connection: Connection) -> None:
    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
