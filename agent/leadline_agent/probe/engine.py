"""The probe engine: sends on schedule, listens, and gives exactly one ``Outcome`` for every slot of every aim.

Rule 1: open loop. Nothing that happens to a probe changes when the next one leaves.
Rule 2: an RTT is the difference of two kernel stamps. When the process runs does not enter, so it runs seldom: it wakes
at most every ``TICK_NS`` to send what is due, and reads what has come a few times a second. Where the kernel gives no
stamp, our own stands in and the outcome's ``error_ns`` bounds it.
Rule 3: a reply counts only if cookie, index and source address are those of a probe that is out.
Rule 4: only silence on the path is loss; judgement.py says what everything else is.
Rule 5: a slot reached more than half an interval late is NOT_SENT, never loss; so is one above the packets allowed.
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

#: The least time between two wake-ups. At 1,000 probes a second a wake-up per packet would be most of the work; 5 ms is
#: a 200th of the default interval.
TICK_NS = 5_000_000
LATE_WAIT_NS = LATE_WAIT_MS * schedule.NS_PER_MS
#: A tick is at most this share of the shortest interval, so that short slots are not missed by the tick alone.
TICKS_PER_INTERVAL = 10
TICK_NS_MIN = 1_000_000
#: After so many sends the queues are read before their time: stamps and replies share the receive buffer, which holds
#: 330 of them where the system's limit (212,992 bytes) cannot be exceeded.
SENDS_PER_READ = 64


class Prober:
    """Probes the aims it is given, in the thread that calls ``run``."""

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
        """``may_send`` and ``packets_per_s`` only narrow the compiled policy. ``open_lane`` opens a socket for packets
        with a cookie. ``on_went_back`` is told when the wall clock went back so far that slots begin anew (stream.py).
        """
        self._clock, self._on_result, self._on_duplicate, self._is_address_allowed = (
            clock,
            on_result,
            on_duplicate,
            is_address_allowed,
        )
        self._on_clock_stepped_back = on_clock_stepped_back
        cookie = secrets.token_bytes(icmp.COOKIE_BYTES)
        self._socket_pool = SocketPool(lambda lane: open_socket(lane, cookie))
        self._token_bucket = TokenBucket(min(packets_per_s, address_policy.PACKETS_PER_S_MAX), clock.monotonic_ns())
        self._due_queue = DueQueue(rng)
        self._in_flight = InFlightProbes()
        self._pending_count = 0
        self._stall_detector = StallDetector(clock)
        self._next_index = 0
        self._tick_ns = TICK_NS
        self._rtt_ns_max = 0
        self._poll_due_ns = clock.monotonic_ns()
        #: Sent since the queues were read.
        self._sends_since_read = 0
        #: Read from the sockets and not yet judged.
        self._replies: list[Reply] = []
        self._icmp_errors: list[IcmpError] = []
        self._receive_interval = ReceiveInterval(clock.wall_ns(), clock.wall_ns())
        self.counters = ProberCounters()

    def set_targets(self, targets: Sequence[ProbeTarget], *, first_slot_at_ns: int | None = None) -> None:
        """Probe these from now on, or from wall ``first_slot_at_ns`` on if that is later.

        An aim that stays goes on undisturbed. One that goes keeps its slots that begin before the change; a new one has
        its first slot at or after it. ConfigError if one may not be probed, UnavailableError if ICMP is not permitted.
        """
        address_policy.check_targets(targets, self._is_address_allowed)
        now_ns = self._clock.wall_ns()
        self._due_queue.replace_targets(
            targets, max(now_ns, first_slot_at_ns or 0), self._stall_detector.wall_offset_ns
        )
        shortest_ns = min((aim.settings.interval_ms for aim in targets), default=1_000) * schedule.NS_PER_MS
        self._tick_ns = max(min(TICK_NS, shortest_ns // TICKS_PER_INTERVAL), TICK_NS_MIN)
        streams = [*self._due_queue.iter_schedules(), *(flight.schedule for flight in self._in_flight.iter_pending())]
        lanes = {stream.socket_key for stream in streams if stream.socket_key is not None}
        self._socket_pool.close_except(lanes)
        for lane in lanes:
            self._socket_pool.get_or_open(lane)

    def run(self, until_ns: int, wake_fd: int | None = None) -> bool:
        """Probe until monotonic ``until_ns``; True if it returned before because ``wake_fd`` became readable.

        May be called again and again with short spans: nothing is lost in between, as long as that is not long.
        """
        while True:
            self._tick()
            now_ns = self._clock.monotonic_ns()
            if now_ns >= until_ns:
                return False
            if wake_fd in self._wait(min(self._compute_next_tick_ns(now_ns), until_ns), wake_fd):
                return True

    def drain(self, until_ns: int | None = None) -> None:
        """Send no more, and return when nothing is out or every timeout has passed; late replies are not waited for.

        At monotonic ``until_ns`` what is still out becomes LOCAL_STALL: nobody will be here to see what comes of it.
        """
        self._due_queue.clear()
        self._poll(LATE_WAIT_NS)
        while self._pending_count and (until_ns is None or self._clock.monotonic_ns() < until_ns):
            self._wait(min(self._poll_due_ns, until_ns or self._poll_due_ns), None)
            self._poll(LATE_WAIT_NS)
        for flight in list(self._in_flight.iter_pending()):
            self._report_result(flight, classification.classify_stall(flight))

    def close(self) -> None:
        """Close the sockets. What is out gets no outcome: ``drain`` first."""
        self._due_queue.clear()
        self._socket_pool.close()

    def _compute_next_tick_ns(self, now_ns: int) -> int:
        """When to wake: for the next send or the next look, but not too soon."""
        if (self._due_queue.next_due_ns or now_ns) < now_ns - self._tick_ns:
            return now_ns  # A backlog: sending was cut short.
        wake_ns = min(self._poll_due_ns, self._due_queue.next_due_ns or self._poll_due_ns)
        return max(wake_ns, now_ns + self._tick_ns)

    def _wait(self, until_ns: int, wake_fd: int | None) -> list[int]:
        descriptors = [sock.fileno() for sock in self._socket_pool.get_sockets() if not sock.has_rx_timestamps]
        if wake_fd is not None:
            descriptors.append(wake_fd)
        return poll_until(self._clock, until_ns, descriptors)

    def _tick(self) -> None:
        """Look, when it is time to, and send what is due."""
        if self._is_poll_due():
            self._poll()
        self._send_due_probes()

    def _is_poll_due(self) -> bool:
        """Not at every tick: looking is half of the work of a small mesh, and nothing measured depends on it."""
        is_due = self._clock.monotonic_ns() >= self._poll_due_ns
        return is_due or not all(sock.has_rx_timestamps for sock in self._socket_pool.get_sockets())

    def _poll(self, ahead_ns: int = 0) -> None:
        """Read and judge. The sockets are read before the clocks are compared, which then vouches for their stamps.

        Waits that end within ``ahead_ns`` end now.
        """
        self._poll_due_ns = self._clock.monotonic_ns() + POLL_INTERVAL_NS
        self._read_sockets()
        self._apply_host_event(self._stall_detector.poll())
        self._process_received()
        for flight in self._in_flight.pop_expired(self._clock.monotonic_ns() + ahead_ns):
            if not flight.has_result:
                self._report_result(flight, classification.classify_missing_reply(flight))

    def _read_sockets(self) -> None:
        """Empty the queues: replies first, so that the departure of each is already there when its notice is read."""
        self._sends_since_read = 0
        for sock in self._socket_pool.get_sockets():
            self._replies += sock.read_replies()
            for notice in sock.read_error_queue():
                if isinstance(notice, TxTimestamp):
                    self._record_tx_timestamp(notice)
                else:
                    self._icmp_errors.append(notice)
        self._receive_interval = ReceiveInterval(self._receive_interval.start_ns, self._clock.wall_ns())

    def _record_tx_timestamp(self, departure: TxTimestamp) -> None:
        flight = self._in_flight.get(departure.probe_index)
        # The first of several devices (a bridge, a VLAN) is the one that counts: it is the nearest to us.
        if flight is not None and flight.tx_timestamp_ns is None:
            flight.tx_timestamp_ns = departure.sent_at_ns

    def _apply_host_event(self, finding: HostEvent) -> None:
        """Put in doubt what may have suffered from this host since the last look."""
        if finding.has_clock_step:
            self.counters.clock_steps += 1
            self._invalidate_timestamps(finding)
            went_back = self._due_queue.apply_clock_step(
                self._stall_detector.wall_offset_ns, finding.now_ns + self._stall_detector.wall_offset_ns
            )
            if went_back and self._on_clock_stepped_back is not None:
                self._on_clock_stepped_back()
        if finding.has_stall:
            self.counters.stalls += 1
            for flight in self._get_affected_probes(finding):
                flight.suspected_cause = Failure.LOCAL_STALL
                flight.stall_end_ns = finding.now_ns + self._stall_detector.wall_offset_ns
        for lane, drops in self._socket_pool.iter_new_drops():
            self.counters.dropped += drops
            for flight in self._get_affected_probes(finding):
                if flight.schedule.socket_key == lane:
                    flight.suspected_cause = flight.suspected_cause or Failure.LOCAL_DROP

    def _get_affected_probes(self, finding: HostEvent) -> Iterable[InFlightProbe]:
        return self._in_flight.iter_in_transit_since(finding.since_ns, self._rtt_ns_max)

    def _invalidate_timestamps(self, finding: HostEvent) -> None:
        """Take the stamps of everything that is out for worthless."""
        for flight in self._get_affected_probes(finding):
            self._report_result(flight, classification.classify_stall(flight))
        for flight in self._in_flight.iter_pending():
            flight.has_clock_step = True

    def _process_received(self) -> None:
        for reply in self._replies:
            self._process_reply(reply)
        for rejection in self._icmp_errors:
            self._process_icmp_error(rejection)
        self._replies.clear()
        self._icmp_errors.clear()
        self._receive_interval = ReceiveInterval(self._receive_interval.end_ns, self._receive_interval.end_ns)

    def _process_reply(self, reply: Reply) -> None:
        flight = self._in_flight.get(reply.probe_index)
        if flight is None or reply.source != flight.schedule.address:
            self.counters.strays += 1
        elif flight.has_reply:
            self.counters.duplicates += 1
            if self._on_duplicate is not None:
                self._on_duplicate(flight.schedule.target, flight.slot)
        else:
            self.counters.received += 1
            flight.has_reply = True
            if not flight.has_result:
                self._record_rtt(flight, reply)

    def _record_rtt(self, flight: InFlightProbe, reply: Reply) -> None:
        outcome = classification.classify_reply(flight, reply, self._receive_interval)
        if outcome.failure is not Failure.LOCAL_STALL:
            rtt_ns = (outcome.detail or 0) * 1_000 if outcome.rtt_ns is None else outcome.rtt_ns
            flight.schedule.rtt_ns_max = max(flight.schedule.rtt_ns_max, rtt_ns)
            self._rtt_ns_max = max(self._rtt_ns_max, rtt_ns)
        self._report_result(flight, outcome)

    def _process_icmp_error(self, rejection: IcmpError) -> None:
        if rejection.probe_index is None:
            flight = self._in_flight.find_by_sequence(rejection.destination, rejection.sequence)
        else:
            flight = self._in_flight.get(rejection.probe_index)
        if flight is not None and not flight.has_result:
            self._report_result(flight, classification.classify_icmp_error(flight, rejection))

    def _report_result(self, flight: InFlightProbe, outcome: ProbeResult) -> None:
        """Give the outcome of a flight, the only one it gets."""
        assert not flight.has_result
        flight.has_result = True
        self._pending_count -= 1
        self._on_result(outcome)

    def _send_due_probes(self) -> None:
        """Send everything that is due, reading now and then so that a burst does not overflow the queues.

        Cut short when it takes long: more work than time must not be taken for a standstill.
        """
        now_ns = self._clock.monotonic_ns()
        end_ns = now_ns + POLL_INTERVAL_NS
        while now_ns < end_ns and (stream := self._due_queue.pop_due(now_ns)) is not None:
            lag_ns = now_ns - self._due_queue.compute_due_ns(stream)
            if schedule.is_missed(lag_ns, stream.interval_ms):
                self._report_missed_slots(stream, now_ns + self._stall_detector.wall_offset_ns)
            else:
                self.counters.lag_ns_max = max(self.counters.lag_ns_max, lag_ns)
                self._send_probe(stream, now_ns)
                stream.slot += 1
                if self._sends_since_read >= SENDS_PER_READ:
                    self._read_sockets()
            self._due_queue.reschedule(stream)
            now_ns = self._clock.monotonic_ns()

    def _report_missed_slots(self, stream: ProbeSchedule, wall_ns: int) -> None:
        for slot in stream.skip_to(schedule.find_first_reachable_slot(wall_ns, stream.interval_ms)):
            self._on_result(ProbeResult(stream.target, slot, failure=Failure.NOT_SENT))

    def _send_probe(self, stream: ProbeSchedule, now_ns: int) -> None:
        """Send one probe, or say why not."""
        if stream.address is None or stream.socket_key is None:
            self._on_result(ProbeResult(stream.target, stream.slot, failure=Failure.RESOLVE_ERROR))
            return
        sock = self._socket_pool.get_or_open(stream.socket_key)
        if isinstance(sock, int):
            self._report_send_error(stream, sock)
            return
        if not self._token_bucket.try_consume(now_ns):
            self.counters.withheld += 1
            self._on_result(ProbeResult(stream.target, stream.slot, failure=Failure.NOT_SENT))
            return
        index = self._next_index
        self._next_index += 1
        before_ns = self._clock.wall_ns()
        error = sock.send(index, stream.address, stream.target.settings.payload_bytes)
        if error:
            self._report_send_error(stream, error)
            return
        self.counters.sent += 1
        self._sends_since_read += 1
        self._pending_count += 1
        self._in_flight.add(InFlightProbe(stream, index, before_ns, now_ns, self._clock.wall_ns() - before_ns))

    def _report_send_error(self, stream: ProbeSchedule, error: int) -> None:
        self._on_result(ProbeResult(stream.target, stream.slot, failure=Failure.SEND_ERROR, detail=error))
