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
from leadline_agent.delivery.batch_builder import Sealer
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.host_clock import clock_offset, stamp
from leadline_agent.identity.state_dir import Credential
from leadline_agent.spool.index import BatchId, Spooled
from leadline_agent.spool.spool import Committed, Spool

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
#: A batch that could not be read is tried again so often: a disk that is back is noticed, one that is not costs little.
UNREADABLE_NS = 60 * NS_PER_S


class Sender:
    """One agent's sending. Belongs to one thread."""

    def __init__(
        self, *, clients: Sequence[CollectorClient], spool: Spool, sealer: Sealer, clock: Clock, rng: Random
    ) -> None:
        self._clients, self._spool, self._sealer, self._clock, self._rng = clients, spool, sealer, clock, rng
        self._state = upload_policy.started(len(clients), spool.epoch, clock.monotonic_ns(), rng.random())
        #: Acknowledged before this start, and sent once more: the database may have been restored while we were down.
        self._checks = [replace(_head(one.batch), stored=one.stored) for one in spool.doubts()]
        #: Batches that had no bytes when they were to be sent, and until when they are passed over, monotonic.
        self._passed_over: dict[BatchId, int] = {}
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
        return self._clients[self._state.active]

    @property
    def failures(self) -> int:
        """Posts that failed in a row."""
        return self._state.failures

    def take_up(self, credential: Credential) -> None:
        """Use other keys from now on."""
        self.key_expires_at_s = None
        for client in self._clients:
            client.take_up(credential)

    def hurry(self) -> None:
        """Forget every wait: the agent is about to end."""
        self._state = upload_policy.hurried(self._state, self._clock.monotonic_ns())

    def wait_briefly(self) -> None:
        """Wait for no answer for long from the next request on. Safe from any thread and from a signal handler."""
        for client in self._clients:
            client.hurry()

    def step(self) -> int | None:
        """Send one batch if one is due; when the next may be, monotonic, or None when nothing waits."""
        now_ns = self._clock.monotonic_ns()
        self._passed_over = {name: until_ns for name, until_ns in self._passed_over.items() if now_ns < until_ns}
        newest, oldest = self._heads()
        choice = upload_policy.choose(self._state, newest, oldest, now_ns)
        if isinstance(choice, upload_policy.Idle):
            return min(self._passed_over.values(), default=None) if choice.until_ns is None else choice.until_ns
        name = BatchId(choice.head.epoch, choice.head.seq)
        body = self._spool.body(name)
        if body is None:
            self._settled(choice.head)
            # Dropped or damaged, and noted by the spool; or unreadable for the moment: the others go meanwhile.
            self._passed_over[name] = now_ns + UNREADABLE_NS
            return now_ns
        self._send(choice, name, body)
        return self._clock.monotonic_ns()

    def _heads(self) -> tuple[upload_policy.Head | None, upload_policy.Head | None]:
        """The newer and the older end of what waits; questions go before the backlog and after what is live."""
        question = self._checks[0] if self._checks else None
        newest, oldest = self._spool.newest(self._passed_over), self._spool.oldest(self._passed_over)
        return question if newest is None else _head(newest), question or (None if oldest is None else _head(oldest))

    def _settled(self, head: upload_policy.Head) -> None:
        """A question has its answer, or cannot be asked."""
        self._checks = [one for one in self._checks if one != head]

    def _send(self, choice: upload_policy.Send, name: BatchId, body: bytes) -> None:
        sent = stamp(self._clock)
        answer = self._clients[choice.collector].push(body)
        received = stamp(self._clock)
        self._state, action = upload_policy.after(
            self._state, choice, answer, received.monotonic_ns, self._rng.random()
        )
        if isinstance(action, upload_policy.Acknowledge):
            self._sealer.offset = clock_offset(sent, received, action.ack.received_at_us) or self._sealer.offset
            self._acknowledge(name, choice.head, action)
            return
        self.last_error, self.last_error_at_s = action.reason, received.wall_ns // NS_PER_S
        self._react(name, choice.head, body, action)

    def _acknowledge(self, name: BatchId, head: upload_policy.Head, action: upload_policy.Acknowledge) -> None:
        self._settled(head)
        self._spool.ack(name)
        self._sealer.acknowledged(name)
        self.mesh_version = action.ack.mesh_version
        self.key_expires_at_s = action.ack.key_expires_at_s
        self.last_ack_at_s = self._clock.wall_ns() // NS_PER_S
        log.info("batch accepted", extra={"seq": name.seq, "windows": head.windows})
        if action.rewind:
            log.error("the collector lost batches it had: sending again what is kept")
            self._spool.rewind()
            self._checks = []

    def _react(self, name: BatchId, head: upload_policy.Head, body: bytes, action: upload_policy.Action) -> None:
        match action:
            case (
                upload_policy.PutAside(reason=reason)
                | upload_policy.Split(reason=reason)
                | upload_policy.Rename(reason=reason)
            ) if head.stored is not None:
                # It was stored once: this was a question, and its answer is not about the batch.
                log.error("a stored batch is refused when it is sent again", extra=_facts(name, reason))
                self._settled(head)
            case upload_policy.Keep(reason=reason, loud=loud):
                log.log(logging.ERROR if loud else logging.WARNING, "batch kept", extra=_facts(name, reason))
            case upload_policy.PutAside(reason=reason):
                self._spool.refuse(name, reason)
                log.error("batch refused for ever, put aside", extra=_facts(name, reason))
            case upload_policy.Split(reason=reason):
                self._sealer.split(body)
                self._replaced(name, reason)
            case upload_policy.BeginEpoch(reason=reason):
                log.error("another agent uses this identity: enrol one of them anew", extra=_facts(name, reason))
                self.cloned_at_s = self._clock.wall_ns() // NS_PER_S
                self._spool.renew_epoch()
                self._state = upload_policy.begun(self._state, self._spool.epoch)
                self._rename(name, body, reason)
            case upload_policy.Rename(reason=reason):
                self._rename(name, body, reason)

    def _rename(self, name: BatchId, body: bytes, reason: str) -> None:
        self._sealer.rename(body)
        self._replaced(name, reason)

    def _replaced(self, name: BatchId, reason: str) -> None:
        """The old name goes once its windows are in the spool under others, durably."""
        if isinstance(self._spool.commit(), Committed):
            self._spool.ack(name)
        log.warning("batch sealed anew", extra=_facts(name, reason))


def _facts(name: BatchId, reason: str) -> dict[str, object]:
    return {"seq": name.seq, "reason": reason}


def _head(batch: Spooled) -> upload_policy.Head:
    return upload_policy.Head(epoch=batch.id.epoch, seq=batch.id.seq, windows=batch.windows)
