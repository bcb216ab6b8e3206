"""Uploads batches from the spool and executes the decisions of ``upload_policy``.

It contains no policy. The spool keeps the batches, ``upload_policy`` defines the state of the uploads.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from leadline.clock import Clock
from leadline_agent.delivery import upload_policy
from leadline_agent.delivery.batch_builder import BatchBuilder
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.host_clock import estimate_clock_offset, read_clocks
from leadline_agent.identity.state_dir import Credential
from leadline_agent.spool.index import BatchId, SpooledBatch
from leadline_agent.spool.spool import CommitSuccess, Spool

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
#: Retry interval of a batch that fails to read: short enough to notice the recovery, long enough to cost little.
UNREADABLE_RETRY_NS = 60 * NS_PER_S


class Uploader:
    """Uploads the batches of one agent. Not thread-safe, except ``shorten_timeouts``."""

    def __init__(
        self,
        *,
        clients: Sequence[CollectorClient],
        spool: Spool,
        batch_builder: BatchBuilder,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._clients, self._spool, self._batch_builder = clients, spool, batch_builder
        self._clock, self._rng = clock, rng
        self._state = upload_policy.initial_state(len(clients), spool.epoch, clock.monotonic_ns(), rng.random())
        #: Batches acknowledged before this start that are sent once more, to detect a restored database.
        self._batches_to_verify = [
            replace(_build_queue_end(entry.batch), expected_batches=entry.expected_batches)
            for entry in spool.list_batches_to_verify()
        ]
        #: Batches that could not be read, and until when they are skipped (monotonic).
        self._skipped_until_ns: dict[BatchId, int] = {}
        #: Mesh version of the last acknowledgement; None before the first one.
        self.mesh_version: int | None = None
        #: Expiry of the key in use, from the last acknowledgement; None if the key does not expire, or before one.
        self.key_expires_at_s: int | None = None
        self.last_ack_at_s: int | None = None
        self.last_error: str | None = None
        self.last_error_at_s: int | None = None
        #: When the collector last reported a clone of this identity, epoch seconds; None: not since the start.
        self.cloned_at_s: int | None = None

    @property
    def client(self) -> CollectorClient:
        """Client of the active collector."""
        return self._clients[self._state.active_collector]

    @property
    def failures(self) -> int:
        """Consecutive failed uploads."""
        return self._state.failures

    def use_credential(self, credential: Credential) -> None:
        """Use other keys from now on."""
        self.key_expires_at_s = None
        for client in self._clients:
            client.use_credential(credential)

    def skip_delays(self) -> None:
        """Remove all delays, for the shutdown."""
        self._state = upload_policy.without_delays(self._state, self._clock.monotonic_ns())

    def shorten_timeouts(self) -> None:
        """Use short timeouts from the next request on. Safe from any thread and from a signal handler."""
        for client in self._clients:
            client.shorten_timeouts()

    def upload_next(self) -> int | None:
        """Upload one batch if it is due; return when the next one may be (monotonic), or None without a batch."""
        now_ns = self._clock.monotonic_ns()
        self._skipped_until_ns = {
            batch_id: until_ns for batch_id, until_ns in self._skipped_until_ns.items() if now_ns < until_ns
        }
        newest, oldest = self._find_queue_ends()
        action = upload_policy.next_action(self._state, newest, oldest, now_ns)
        if isinstance(action, upload_policy.Idle):
            return min(self._skipped_until_ns.values(), default=None) if action.until_ns is None else action.until_ns
        batch_id = BatchId(action.queue_end.epoch, action.queue_end.seq)
        body = self._spool.read_body(batch_id)
        if body is None:
            self._remove_batch_to_verify(action.queue_end)
            # The spool has recorded a dropped or damaged batch. One that fails to read is retried; others are sent now.
            self._skipped_until_ns[batch_id] = now_ns + UNREADABLE_RETRY_NS
            return now_ns
        self._post_batch(action, batch_id, body)
        return self._clock.monotonic_ns()

    def _find_queue_ends(self) -> tuple[upload_policy.QueueEnd | None, upload_policy.QueueEnd | None]:
        """Return both queue ends. Batches to re-verify come after live batches and before the backlog."""
        probe = self._batches_to_verify[0] if self._batches_to_verify else None
        newest = self._spool.find_newest(self._skipped_until_ns)
        oldest = self._spool.find_oldest(self._skipped_until_ns)
        newest_end = probe if newest is None else _build_queue_end(newest)
        oldest_end = None if oldest is None else _build_queue_end(oldest)
        return newest_end, probe or oldest_end

    def _remove_batch_to_verify(self, queue_end: upload_policy.QueueEnd) -> None:
        """Remove a batch to re-verify after its response, or if it cannot be read."""
        self._batches_to_verify = [probe for probe in self._batches_to_verify if probe != queue_end]

    def _post_batch(self, send: upload_policy.Send, batch_id: BatchId, body: bytes) -> None:
        send_reading = read_clocks(self._clock)
        response = self._clients[send.collector].send_batch(body)
        receive_reading = read_clocks(self._clock)
        self._state, action = upload_policy.apply_response(
            self._state, send, response, receive_reading.monotonic_ns, self._rng.random()
        )
        if isinstance(action, upload_policy.Acknowledge):
            offset = estimate_clock_offset(send_reading, receive_reading, action.ack.received_at_us)
            self._batch_builder.clock_offset = offset or self._batch_builder.clock_offset
            self._acknowledge(batch_id, send.queue_end, action)
            return
        self.last_error, self.last_error_at_s = action.reason, receive_reading.wall_ns // NS_PER_S
        self._apply_action(batch_id, send.queue_end, body, action)

    def _acknowledge(
        self, batch_id: BatchId, queue_end: upload_policy.QueueEnd, action: upload_policy.Acknowledge
    ) -> None:
        self._remove_batch_to_verify(queue_end)
        self._spool.ack(batch_id)
        self._batch_builder.acknowledge(batch_id)
        self.mesh_version = action.ack.mesh_version
        self.key_expires_at_s = action.ack.key_expires_at_s
        self.last_ack_at_s = self._clock.wall_ns() // NS_PER_S
        log.info("batch accepted", extra={"seq": batch_id.seq, "windows": queue_end.windows})
        if action.rewind:
            log.error("the collector lost stored batches: sending all batches in the spool again")
            self._spool.rewind()
            self._batches_to_verify = []

    def _apply_action(
        self, batch_id: BatchId, queue_end: upload_policy.QueueEnd, body: bytes, action: upload_policy.UploadAction
    ) -> None:
        match action:
            case (
                upload_policy.MoveToDeadLetters(reason=reason)
                | upload_policy.Split(reason=reason)
                | upload_policy.Reissue(reason=reason)
            ) if queue_end.expected_batches is not None:
                # The batch was stored before. The response to its re-verification does not change its state.
                log.error("the collector refuses a batch that it has stored", extra=_build_log_fields(batch_id, reason))
                self._remove_batch_to_verify(queue_end)
            case upload_policy.Retry(reason=reason, needs_operator=needs_operator):
                level = logging.ERROR if needs_operator else logging.WARNING
                log.log(level, "upload failed, the batch stays in the spool", extra=_build_log_fields(batch_id, reason))
            case upload_policy.MoveToDeadLetters(reason=reason):
                self._spool.refuse(batch_id, reason)
                log.error("batch permanently refused, now a dead letter", extra=_build_log_fields(batch_id, reason))
            case upload_policy.Split(reason=reason):
                self._batch_builder.split(body)
                self._retire_batch(batch_id, reason)
            case upload_policy.BeginEpoch(reason=reason):
                log.error(
                    "another agent uses this identity: enrol one of the two again",
                    extra=_build_log_fields(batch_id, reason),
                )
                self.cloned_at_s = self._clock.wall_ns() // NS_PER_S
                self._spool.renew_epoch()
                self._state = upload_policy.with_new_epoch(self._state, self._spool.epoch)
                self._reissue(batch_id, body, reason)
            case upload_policy.Reissue(reason=reason):
                self._reissue(batch_id, body, reason)

    def _reissue(self, batch_id: BatchId, body: bytes, reason: str) -> None:
        self._batch_builder.reissue(body)
        self._retire_batch(batch_id, reason)

    def _retire_batch(self, batch_id: BatchId, reason: str) -> None:
        """Acknowledge the old batch once its windows are durable under new ids."""
        if isinstance(self._spool.commit(), CommitSuccess):
            self._spool.ack(batch_id)
        log.warning("batch replaced under a new id", extra=_build_log_fields(batch_id, reason))


def _build_log_fields(batch_id: BatchId, reason: str) -> dict[str, object]:
    return {"seq": batch_id.seq, "reason": reason}


def _build_queue_end(batch: SpooledBatch) -> upload_policy.QueueEnd:
    return upload_policy.QueueEnd(epoch=batch.id.epoch, seq=batch.id.seq, windows=batch.windows)
