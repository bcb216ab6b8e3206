"""Broken variants of the product: each violates one delivery rule, and the checker must detect it.

They exist only as patches in the processes of a chaos run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.engine import Engine

from leadline.wire.batch import Ack
from leadline_agent.delivery import collector_client, upload_policy
from leadline_agent.delivery.responses import BatchResponse, ResponseKind, parse_response
from leadline_agent.delivery.uploader import Uploader
from leadline_agent.spool.index import BatchId
from leadline_collector.db.transactions import Store, WriteTransaction
from leadline_collector.journal import store as journal_store
from leadline_collector.journal.store import JournalEntry

#: Delay between acknowledgement and commit (ACK_BEFORE_COMMIT).
COMMIT_LATE_S = 0.5


class Variant(StrEnum):
    """Violation of a delivery rule."""

    NONE = "none"
    #: The agent accepts every 200 as an acknowledgement.
    ANY_200 = "any-200"
    #: The agent acknowledges a batch before the response.
    DELETE_BEFORE_SEND = "delete-before-send"
    #: The collector responds before it commits.
    ACK_BEFORE_COMMIT = "ack-before-commit"
    #: The collector counts a batch each time it arrives.
    NO_DEDUP = "no-dedup"
    #: PostgreSQL confirms a commit before its log is written. (SQLite with ``synchronous=OFF`` loses nothing after a
    #: kill -9, because the data is in the page cache. The file system simulator covers that case.)
    ASYNC_COMMIT = "async-commit"


def choose_uploader_class(variant: Variant) -> type[Uploader]:
    """Return the uploader class of an agent."""
    return _AcknowledgingUploader if variant is Variant.DELETE_BEFORE_SEND else Uploader


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


class _AcknowledgingUploader(Uploader):
    def _post_batch(self, send: upload_policy.Send, batch_id: BatchId, body: bytes) -> None:
        self._spool.ack(batch_id)
        super()._post_batch(send, batch_id, body)


def _accept_any_200(status: int, retry_after: str, body: bytes, digest: str) -> BatchResponse:
    response = parse_response(status, retry_after, body, digest)
    if status != 200 or response.kind is ResponseKind.STORED:
        return response
    return BatchResponse(kind=ResponseKind.STORED, reason="200", status=200, ack=Ack(digest=digest))


class _RollbackError(Exception):
    """Rolls back a transaction after its result is known."""


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
    result = connection.execute(
        text("UPDATE ledger SET batches = batches + 1 WHERE src_id = :src_id AND epoch = :epoch RETURNING batches"), row
    )
    return int(result.scalar_one())


def _commit_lazily(connection: Connection) -> None:
    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
