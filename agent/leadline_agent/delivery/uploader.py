"""Does what ``upload`` decides: takes a batch from the spool, posts it, and does to it what the answer asks for.

It decides nothing itself; the spool keeps the batches, ``upload`` the state of sending.
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
#: A batch that could not be read is tried again so often: a disk that is back is noticed, one that is not costs little.
UNREADABLE_RETRY_NS = 60 * NS_PER_S


class Uploader:
    """One agent's sending. Belongs to one thread."""

    def __init__(
        self,
        *,
        clients: Sequence[CollectorClient],
        spool: Spool,
        batch_builder: BatchBuilder,
        clock: Clock,
        rng: Random,
    ) -> None:
        self._clients, self._spool, self._batch_builder, self._clock, self._rng = (
            clients,
            spool,
            batch_builder,
            clock,
            rng,
        )
        self._state = upload_policy.initial_state(len(clients), spool.epoch, clock.monotonic_ns(), rng.random())
        #: Acknowledged before this start, and sent once more: the database may have been restored while we were down.
        self._reconcile_probes = [
            replace(_build_queue_end(one.batch), expected_batches=one.expected_batches)
            for one in spool.list_reconcile_probes()
        ]
        #: Batches that had no bytes when they were to be sent, and until when they are passed over, monotonic.
        self._skipped_until_ns: dict[BatchId, int] = {}
        #: The version of the mesh the collector named last; None before the first acknowledgement.
        self.mesh_version: int | None = None
        #: End of the key in use as the collector told it last; None for a key without one, or before it was told.
        self.key_expires_at_s: int | None = None
        self.last_ack_at_s: int | None = None
        self.last_error: str | None = None
        self.last_error_at_s: int | None = None
        #: When another agent was last found to use this identity; None: never since the start.
        self.cloned_at_s: int | None = None

    @property
    def client(self) -> CollectorClient:
        """The collector in use."""
        return self._clients[self._state.active_collector]

    @property
    def failures(self) -> int:
        """Posts that failed in a row."""
        return self._state.failures

    def use_credential(self, credential: Credential) -> None:
        """Use other keys from now on."""
        self.key_expires_at_s = None
        for client in self._clients:
            client.use_credential(credential)

    def skip_delays(self) -> None:
        """Forget every wait: the agent is about to end."""
        self._state = upload_policy.without_delays(self._state, self._clock.monotonic_ns())

    def shorten_timeouts(self) -> None:
        """Wait for no answer for long from the next request on. Safe from any thread and from a signal handler."""
        for client in self._clients:
            client.shorten_timeouts()

    def upload_next(self) -> int | None:
        """Send one batch if one is due; when the next may be, monotonic, or None when nothing waits."""
        now_ns = self._clock.monotonic_ns()
        self._skipped_until_ns = {
            name: until_ns for name, until_ns in self._skipped_until_ns.items() if now_ns < until_ns
        }
        newest, oldest = self._find_queue_ends()
        choice = upload_policy.next_action(self._state, newest, oldest, now_ns)
        if isinstance(choice, upload_policy.Idle):
            return min(self._skipped_until_ns.values(), default=None) if choice.until_ns is None else choice.until_ns
        name = BatchId(choice.queue_end.epoch, choice.queue_end.seq)
        body = self._spool.read_body(name)
        if body is None:
            self._remove_reconcile_probe(choice.queue_end)
            # Dropped or damaged, and noted by the spool; or unreadable for the moment: the others go meanwhile.
            self._skipped_until_ns[name] = now_ns + UNREADABLE_RETRY_NS
            return now_ns
        self._post_batch(choice, name, body)
        return self._clock.monotonic_ns()

    def _find_queue_ends(self) -> tuple[upload_policy.QueueEnd | None, upload_policy.QueueEnd | None]:
        """The newer and the older end of what waits; questions go before the backlog and after what is live."""
        question = self._reconcile_probes[0] if self._reconcile_probes else None
        newest, oldest = (
            self._spool.find_newest(self._skipped_until_ns),
            self._spool.find_oldest(self._skipped_until_ns),
        )
        return question if newest is None else _build_queue_end(newest), question or (
            None if oldest is None else _build_queue_end(oldest)
        )

    def _remove_reconcile_probe(self, head: upload_policy.QueueEnd) -> None:
        """A question has its answer, or cannot be asked."""
        self._reconcile_probes = [one for one in self._reconcile_probes if one != head]

    def _post_batch(self, choice: upload_policy.Send, name: BatchId, body: bytes) -> None:
        sent = read_clocks(self._clock)
        answer = self._clients[choice.collector].send_batch(body)
        received = read_clocks(self._clock)
        self._state, action = upload_policy.apply_response(
            self._state, choice, answer, received.monotonic_ns, self._rng.random()
        )
        if isinstance(action, upload_policy.Acknowledge):
            self._batch_builder.clock_offset = (
                estimate_clock_offset(sent, received, action.ack.received_at_us) or self._batch_builder.clock_offset
            )
            self._acknowledge(name, choice.queue_end, action)
            return
        self.last_error, self.last_error_at_s = action.reason, received.wall_ns // NS_PER_S
        self._apply_action(name, choice.queue_end, body, action)

    def _acknowledge(self, name: BatchId, head: upload_policy.QueueEnd, action: upload_policy.Acknowledge) -> None:
        self._remove_reconcile_probe(head)
        self._spool.ack(name)
        self._batch_builder.acknowledge(name)
        self.mesh_version = action.ack.mesh_version
        self.key_expires_at_s = action.ack.key_expires_at_s
        self.last_ack_at_s = self._clock.wall_ns() // NS_PER_S
        log.info("batch accepted", extra={"seq": name.seq, "windows": head.windows})
        if action.rewind:
            log.error("the collector lost batches it had: sending again what is kept")
            self._spool.rewind()
            self._reconcile_probes = []

    def _apply_action(
        self, name: BatchId, head: upload_policy.QueueEnd, body: bytes, action: upload_policy.UploadAction
    ) -> None:
        match action:
            case (
                upload_policy.MoveToDeadLetters(reason=reason)
                | upload_policy.Split(reason=reason)
                | upload_policy.Reissue(reason=reason)
            ) if head.expected_batches is not None:
                # It was stored once: this was a question, and its answer is not about the batch.
                log.error("a stored batch is refused when it is sent again", extra=_build_log_fields(name, reason))
                self._remove_reconcile_probe(head)
            case upload_policy.Retry(reason=reason, needs_operator=loud):
                log.log(logging.ERROR if loud else logging.WARNING, "batch kept", extra=_build_log_fields(name, reason))
            case upload_policy.MoveToDeadLetters(reason=reason):
                self._spool.refuse(name, reason)
                log.error("batch refused for ever, put aside", extra=_build_log_fields(name, reason))
            case upload_policy.Split(reason=reason):
                self._batch_builder.split(body)
                self._retire_batch(name, reason)
            case upload_policy.BeginEpoch(reason=reason):
                log.error(
                    "another agent uses this identity: enrol one of them anew", extra=_build_log_fields(name, reason)
                )
                self.cloned_at_s = self._clock.wall_ns() // NS_PER_S
                self._spool.renew_epoch()
                self._state = upload_policy.with_new_epoch(self._state, self._spool.epoch)
                self._reissue(name, body, reason)
            case upload_policy.Reissue(reason=reason):
                self._reissue(name, body, reason)

    def _reissue(self, name: BatchId, body: bytes, reason: str) -> None:
        self._batch_builder.reissue(body)
        self._retire_batch(name, reason)

    def _retire_batch(self, name: BatchId, reason: str) -> None:
        """The old name goes once its windows are in the spool under others, durably."""
        if isinstance(self._spool.commit(), CommitSuccess):
            self._spool.ack(name)
        log.warning("batch sealed anew", extra=_build_log_fields(name, reason))


def _build_log_fields(name: BatchId, reason: str) -> dict[str, object]:
    return {"seq": name.seq, "reason": reason}


def _build_queue_end(batch: SpooledBatch) -> upload_policy.QueueEnd:
    return upload_policy.QueueEnd(epoch=batch.id.epoch, seq=batch.id.seq, windows=batch.windows)
