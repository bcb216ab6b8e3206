"""Probe engine: sends on schedule, receives, and reports exactly one ``ProbeResult`` for every slot of every target.

Rule 1: open loop. The result of a probe never changes the send time of the next one.
Rule 2: an RTT is the difference of two kernel timestamps. It does not depend on when the process runs. So the process
wakes at most once in ``TICK_NS`` to send due probes, and reads the sockets a few times a second. A user-space timestamp
replaces a missing kernel timestamp, and ``error_ns`` of the result bounds its error.
Rule 3: a reply counts only if its cookie, index and source address match a probe in flight.
Rule 4: only a missing reply is loss. classification.py defines all other results.
Rule 5: a slot that is more than half an interval late is NOT_SENT, not loss. So is a slot above the packet rate limit.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from random import Random

from leadline.clock import Clock
from leadline.model import Failure
from leadline_agent.probe import address_policy, classification, icmp, schedule
from leadline_agent.probe.classification import ReceiveInterval
from leadline_agent.probe.counters import ProberCounters
from leadline_agent.probe.in_flight import LATE_WAIT_MS, InFlightProbe, InFlightProbes
from leadline_agent.probe.poll import poll_until
from leadline_agent.probe.rate_limit import TokenBucket
from leadline_agent.probe.results import ProbeResult, ProbeTarget
from leadline_agent.probe.send_queue import DueQueue, ProbeSchedule
from leadline_agent.probe.socket_pool import SocketPool
from leadline_agent.probe.stall_detector import POLL_INTERVAL_NS, HostEvent, StallDetector
from leadline_agent.probe.transport import IcmpError, ProbeSocket, Reply, SocketKey, TxTimestamp

__all__ = ["LATE_WAIT_MS", "ProbeResult", "ProbeTarget", "Prober", "ProberCounters"]

#: Minimum time between two wake-ups. At 1,000 probes a second, a wake-up for each packet would dominate the CPU time.
#: 5 ms is 1/200 of the default interval.
TICK_NS = 5_000_000
LATE_WAIT_NS = LATE_WAIT_MS * schedule.NS_PER_MS
#: Ticks in the shortest interval, at least, so that the tick length alone never causes a missed slot.
TICKS_PER_INTERVAL = 10
TICK_NS_MIN = 1_000_000
#: Number of sends that triggers an early read of the queues. Timestamps and replies share the receive buffer, which has
#: room for 330 of them under the default system limit (212,992 bytes).
SENDS_PER_READ = 64


class Prober:
    """Probes a set of targets in the thread that calls ``run``."""

    def __init__(
        self,
        *,
        clock: Clock,
        rng: Random,
        on_result: Callable[[ProbeResult], None],
        on_duplicate: Callable[[ProbeTarget, int], None] | None = None,
        on_clock_stepped_back: Callable[[], None] | None = None,
        is_address_allowed: Callable[[str], bool] = address_policy.is_address_allowed,
        packets_per_s: int = address_policy.PACKETS_PER_S_MAX,
        open_socket: Callable[[SocketKey, bytes], ProbeSocket] = icmp.open_socket,
    ) -> None:
        """Create a prober.

        ``is_address_allowed`` and ``packets_per_s`` can only narrow the compiled policy. ``open_socket`` opens a socket
        for packets with a cookie. ``on_clock_stepped_back`` is called when the wall clock stepped back so far that
        slots repeat (send_queue.py).
        """
        self._clock, self._on_result, self._on_duplicate, self._is_address_allowed = (
            clock,
            on_result,
            on_duplicate,
            is_address_allowed,
        )
        self._on_clock_stepped_back = on_clock_stepped_back
        cookie = secrets.token_bytes(icmp.COOKIE_BYTES)
        self._socket_pool = SocketPool(lambda key: open_socket(key, cookie))
        self._token_bucket = TokenBucket(min(packets_per_s, address_policy.PACKETS_PER_S_MAX), clock.monotonic_ns())
        self._due_queue = DueQueue(rng)
        self._in_flight = InFlightProbes()
        self._pending_count = 0
        self._stall_detector = StallDetector(clock)
        self._next_index = 0
        self._tick_ns = TICK_NS
        self._rtt_ns_max = 0
        self._poll_due_ns = clock.monotonic_ns()
        #: Probes sent since the last read of the queues.
        self._sends_since_read = 0
        #: Received messages that are not processed yet.
        self._replies: list[Reply] = []
        self._icmp_errors: list[IcmpError] = []
        self._receive_interval = ReceiveInterval(clock.wall_ns(), clock.wall_ns())
        self.counters = ProberCounters()

    def set_targets(self, targets: Sequence[ProbeTarget], *, first_slot_at_ns: int | None = None) -> None:
        """Probe these targets from now, or from wall ``first_slot_at_ns`` if that is later.

        An unchanged target continues without interruption. A removed target keeps the slots that begin before the
        change. The first slot of a new target begins at or after the change. Raise ConfigError for a forbidden target,
        UnavailableError if ICMP is not permitted.
        """
        address_policy.check_targets(targets, self._is_address_allowed)
        now_ns = self._clock.wall_ns()
        self._due_queue.replace_targets(
            targets, max(now_ns, first_slot_at_ns or 0), self._stall_detector.wall_offset_ns
        )
        shortest_ns = min((target.settings.interval_ms for target in targets), default=1_000) * schedule.NS_PER_MS
        self._tick_ns = max(min(TICK_NS, shortest_ns // TICKS_PER_INTERVAL), TICK_NS_MIN)
        schedules = [*self._due_queue.iter_schedules(), *(probe.schedule for probe in self._in_flight.iter_pending())]
        keys = {probe_schedule.socket_key for probe_schedule in schedules if probe_schedule.socket_key is not None}
        self._socket_pool.close_except(keys)
        for key in keys:
            self._socket_pool.get_or_open(key)

    def run(self, until_ns: int, wake_fd: int | None = None) -> bool:
        """Probe until monotonic ``until_ns``; return True before that if ``wake_fd`` becomes readable.

        Callers may call this repeatedly with short durations. Nothing is lost between two calls, if the pause is short.
        """
        while True:
            self._tick()
            now_ns = self._clock.monotonic_ns()
            if now_ns >= until_ns:
                return False
            if wake_fd in self._wait(min(self._compute_next_tick_ns(now_ns), until_ns), wake_fd):
                return True

    def drain(self, until_ns: int | None = None) -> None:
        """Stop sending and wait until every probe has a result or its timeout has passed. Do not wait for late replies.

        Probes without a result at monotonic ``until_ns`` become LOCAL_STALL, because their replies are not read.
        """
        self._due_queue.clear()
        self._poll(LATE_WAIT_NS)
        while self._pending_count and (until_ns is None or self._clock.monotonic_ns() < until_ns):
            self._wait(min(self._poll_due_ns, until_ns or self._poll_due_ns), None)
            self._poll(LATE_WAIT_NS)
        for probe in list(self._in_flight.iter_pending()):
            self._report_result(probe, classification.classify_stall(probe))

    def close(self) -> None:
        """Close the sockets. Probes in flight get no result; call ``drain`` first."""
        self._due_queue.clear()
        self._socket_pool.close()

    def _compute_next_tick_ns(self, now_ns: int) -> int:
        """Return the time of the next wake-up: the next send or poll, but at least one tick away."""
        if (self._due_queue.next_due_ns or now_ns) < now_ns - self._tick_ns:
            return now_ns  # A backlog, because the last send run hit its time limit.
        wake_ns = min(self._poll_due_ns, self._due_queue.next_due_ns or self._poll_due_ns)
        return max(wake_ns, now_ns + self._tick_ns)

    def _wait(self, until_ns: int, wake_fd: int | None) -> list[int]:
        descriptors = [sock.fileno() for sock in self._socket_pool.get_sockets() if not sock.has_rx_timestamps]
        if wake_fd is not None:
            descriptors.append(wake_fd)
        return poll_until(self._clock, until_ns, descriptors)

    def _tick(self) -> None:
        """Poll if due, and send the due probes."""
        if self._is_poll_due():
            self._poll()
        self._send_due_probes()

    def _is_poll_due(self) -> bool:
        """Return True if it is time to poll.

        Polling is half of the CPU time of a small mesh and does not affect results, so it does not run at every tick.
        """
        is_due = self._clock.monotonic_ns() >= self._poll_due_ns
        return is_due or not all(sock.has_rx_timestamps for sock in self._socket_pool.get_sockets())

    def _poll(self, ahead_ns: int = 0) -> None:
        """Read the sockets and process the messages. Probes that expire within ``ahead_ns`` expire now.

        The clock comparison comes after the socket reads, so that it covers their timestamps.
        """
        self._poll_due_ns = self._clock.monotonic_ns() + POLL_INTERVAL_NS
        self._read_sockets()
        self._apply_host_event(self._stall_detector.poll())
        self._process_received()
        for probe in self._in_flight.pop_expired(self._clock.monotonic_ns() + ahead_ns):
            if not probe.has_result:
                self._report_result(probe, classification.classify_missing_reply(probe))

    def _read_sockets(self) -> None:
        """Empty the queues. Replies come first, so that the transmit timestamp of each is available afterwards."""
        self._sends_since_read = 0
        for sock in self._socket_pool.get_sockets():
            self._replies += sock.read_replies()
            for message in sock.read_error_queue():
                if isinstance(message, TxTimestamp):
                    self._record_tx_timestamp(message)
                else:
                    self._icmp_errors.append(message)
        self._receive_interval = ReceiveInterval(self._receive_interval.start_ns, self._clock.wall_ns())

    def _record_tx_timestamp(self, timestamp: TxTimestamp) -> None:
        probe = self._in_flight.get(timestamp.probe_index)
        # With several devices (bridge, VLAN), the first timestamp counts: it is closest to this process.
        if probe is not None and probe.tx_timestamp_ns is None:
            probe.tx_timestamp_ns = timestamp.sent_at_ns

    def _apply_host_event(self, event: HostEvent) -> None:
        """Mark the probes that an event on this host may have affected since the last poll."""
        if event.has_clock_step:
            self.counters.clock_steps += 1
            self._invalidate_timestamps(event)
            has_restarted = self._due_queue.apply_clock_step(
                self._stall_detector.wall_offset_ns, event.now_ns + self._stall_detector.wall_offset_ns
            )
            if has_restarted and self._on_clock_stepped_back is not None:
                self._on_clock_stepped_back()
        if event.has_stall:
            self.counters.stalls += 1
            for probe in self._get_affected_probes(event):
                probe.suspected_cause = Failure.LOCAL_STALL
                probe.stall_end_ns = event.now_ns + self._stall_detector.wall_offset_ns
        for key, drops in self._socket_pool.iter_new_drops():
            self.counters.dropped += drops
            for probe in self._get_affected_probes(event):
                if probe.schedule.socket_key == key:
                    probe.suspected_cause = probe.suspected_cause or Failure.LOCAL_DROP

    def _get_affected_probes(self, event: HostEvent) -> Iterable[InFlightProbe]:
        return self._in_flight.iter_in_transit_since(event.since_ns, self._rtt_ns_max)

    def _invalidate_timestamps(self, event: HostEvent) -> None:
        """Discard the timestamps of all probes in flight after a step of the wall clock."""
        for probe in self._get_affected_probes(event):
            self._report_result(probe, classification.classify_stall(probe))
        for probe in self._in_flight.iter_pending():
            probe.has_clock_step = True

    def _process_received(self) -> None:
        for reply in self._replies:
            self._process_reply(reply)
        for error in self._icmp_errors:
            self._process_icmp_error(error)
        self._replies.clear()
        self._icmp_errors.clear()
        self._receive_interval = ReceiveInterval(self._receive_interval.end_ns, self._receive_interval.end_ns)

    def _process_reply(self, reply: Reply) -> None:
        probe = self._in_flight.get(reply.probe_index)
        if probe is None or reply.source != probe.schedule.address:
            self.counters.strays += 1
        elif probe.has_reply:
            self.counters.duplicates += 1
            if self._on_duplicate is not None:
                self._on_duplicate(probe.schedule.target, probe.slot)
        else:
            self.counters.received += 1
            probe.has_reply = True
            if not probe.has_result:
                self._record_rtt(probe, reply)

    def _record_rtt(self, probe: InFlightProbe, reply: Reply) -> None:
        result = classification.classify_reply(probe, reply, self._receive_interval)
        if result.failure is not Failure.LOCAL_STALL:
            rtt_ns = (result.detail or 0) * 1_000 if result.rtt_ns is None else result.rtt_ns
            probe.schedule.rtt_ns_max = max(probe.schedule.rtt_ns_max, rtt_ns)
            self._rtt_ns_max = max(self._rtt_ns_max, rtt_ns)
        self._report_result(probe, result)

    def _process_icmp_error(self, error: IcmpError) -> None:
        if error.probe_index is None:
            probe = self._in_flight.find_by_sequence(error.destination, error.sequence)
        else:
            probe = self._in_flight.get(error.probe_index)
        if probe is not None and not probe.has_result:
            self._report_result(probe, classification.classify_icmp_error(probe, error))

    def _report_result(self, probe: InFlightProbe, result: ProbeResult) -> None:
        """Report the only result of a probe."""
        assert not probe.has_result
        probe.has_result = True
        self._pending_count -= 1
        self._on_result(result)

    def _send_due_probes(self) -> None:
        """Send all due probes. Read the queues in between, so that a burst does not overflow them.

        The run has a time limit, so that an overload does not look like a stall.
        """
        now_ns = self._clock.monotonic_ns()
        end_ns = now_ns + POLL_INTERVAL_NS
        while now_ns < end_ns and (probe_schedule := self._due_queue.pop_due(now_ns)) is not None:
            lag_ns = now_ns - self._due_queue.compute_due_ns(probe_schedule)
            if schedule.is_missed(lag_ns, probe_schedule.interval_ms):
                self._report_missed_slots(probe_schedule, now_ns + self._stall_detector.wall_offset_ns)
            else:
                self.counters.lag_ns_max = max(self.counters.lag_ns_max, lag_ns)
                self._send_probe(probe_schedule, now_ns)
                probe_schedule.slot += 1
                if self._sends_since_read >= SENDS_PER_READ:
                    self._read_sockets()
            self._due_queue.reschedule(probe_schedule)
            now_ns = self._clock.monotonic_ns()

    def _report_missed_slots(self, probe_schedule: ProbeSchedule, wall_ns: int) -> None:
        for slot in probe_schedule.skip_to(schedule.find_first_reachable_slot(wall_ns, probe_schedule.interval_ms)):
            self._on_result(ProbeResult(probe_schedule.target, slot, failure=Failure.NOT_SENT))

    def _send_probe(self, probe_schedule: ProbeSchedule, now_ns: int) -> None:
        """Send one probe, or report the reason for not sending it."""
        if probe_schedule.address is None or probe_schedule.socket_key is None:
            self._on_result(ProbeResult(probe_schedule.target, probe_schedule.slot, failure=Failure.RESOLVE_ERROR))
            return
        sock = self._socket_pool.get_or_open(probe_schedule.socket_key)
        if isinstance(sock, int):
            self._report_send_error(probe_schedule, sock)
            return
        if not self._token_bucket.try_consume(now_ns):
            self.counters.withheld += 1
            self._on_result(ProbeResult(probe_schedule.target, probe_schedule.slot, failure=Failure.NOT_SENT))
            return
        index = self._next_index
        self._next_index += 1
        before_ns = self._clock.wall_ns()
        error = sock.send(index, probe_schedule.address, probe_schedule.target.settings.payload_bytes)
        if error:
            self._report_send_error(probe_schedule, error)
            return
        self.counters.sent += 1
        self._sends_since_read += 1
        self._pending_count += 1
        self._in_flight.add(InFlightProbe(probe_schedule, index, before_ns, now_ns, self._clock.wall_ns() - before_ns))

    def _report_send_error(self, probe_schedule: ProbeSchedule, error: int) -> None:
        self._on_result(
            ProbeResult(probe_schedule.target, probe_schedule.slot, failure=Failure.SEND_ERROR, detail=error)
        )
