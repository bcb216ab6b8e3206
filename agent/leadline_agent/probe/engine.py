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
from leadline_agent.probe.classification import Reading
from leadline_agent.probe.counters import Health
from leadline_agent.probe.in_flight import LATE_WAIT_MS, Flight, Flights
from leadline_agent.probe.poll import wait_until
from leadline_agent.probe.rate_limit import Ceiling
from leadline_agent.probe.results import Aim, Outcome
from leadline_agent.probe.send_queue import Agenda, Stream
from leadline_agent.probe.socket_pool import Lanes
from leadline_agent.probe.stall_detector import LOOK_EVERY_NS, Finding, Watch
from leadline_agent.probe.transport import Departure, EchoSocket, Lane, Rejection, Reply

__all__ = ["LATE_WAIT_MS", "Aim", "Health", "Outcome", "Prober"]

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
        on_outcome: Callable[[Outcome], None],
        on_duplicate: Callable[[Aim, int], None] | None = None,
        on_went_back: Callable[[], None] | None = None,
        may_send: Callable[[str], bool] = address_policy.may_send,
        packets_per_s: int = address_policy.PACKETS_PER_S_MAX,
        open_lane: Callable[[Lane, bytes], EchoSocket] = icmp.open_socket,
    ) -> None:
        """``may_send`` and ``packets_per_s`` only narrow the compiled policy. ``open_lane`` opens a socket for packets
        with a cookie. ``on_went_back`` is told when the wall clock went back so far that slots begin anew (stream.py).
        """
        self._clock, self._on_outcome, self._on_duplicate, self._may_send = clock, on_outcome, on_duplicate, may_send
        self._on_went_back = on_went_back
        cookie = secrets.token_bytes(icmp.COOKIE_BYTES)
        self._lanes = Lanes(lambda lane: open_lane(lane, cookie))
        self._ceiling = Ceiling(min(packets_per_s, address_policy.PACKETS_PER_S_MAX), clock.monotonic_ns())
        self._agenda = Agenda(rng)
        self._flights = Flights()
        self._open_count = 0
        self._watch = Watch(clock)
        self._next_index = 0
        self._tick_ns = TICK_NS
        self._rtt_ns_max = 0
        self._look_due_ns = clock.monotonic_ns()
        #: Sent since the queues were read.
        self._unread_count = 0
        #: Read from the sockets and not yet judged.
        self._replies: list[Reply] = []
        self._rejections: list[Rejection] = []
        self._reading = Reading(clock.wall_ns(), clock.wall_ns())
        self.health = Health()

    def aim(self, aims: Sequence[Aim], *, first_slot_at_ns: int | None = None) -> None:
        """Probe these from now on, or from wall ``first_slot_at_ns`` on if that is later.

        An aim that stays goes on undisturbed. One that goes keeps its slots that begin before the change; a new one has
        its first slot at or after it. ConfigError if one may not be probed, UnavailableError if ICMP is not permitted.
        """
        address_policy.check_aims(aims, self._may_send)
        now_ns = self._clock.wall_ns()
        self._agenda.replace(aims, max(now_ns, first_slot_at_ns or 0), self._watch.offset_ns)
        shortest_ns = min((aim.settings.interval_ms for aim in aims), default=1_000) * schedule.NS_PER_MS
        self._tick_ns = max(min(TICK_NS, shortest_ns // TICKS_PER_INTERVAL), TICK_NS_MIN)
        streams = [*self._agenda.streams(), *(flight.stream for flight in self._flights.open())]
        lanes = {stream.lane for stream in streams if stream.lane is not None}
        self._lanes.keep(lanes)
        for lane in lanes:
            self._lanes.socket(lane)

    def run(self, until_ns: int, wake_fd: int | None = None) -> bool:
        """Probe until monotonic ``until_ns``; True if it returned before because ``wake_fd`` became readable.

        May be called again and again with short spans: nothing is lost in between, as long as that is not long.
        """
        while True:
            self._tick()
            now_ns = self._clock.monotonic_ns()
            if now_ns >= until_ns:
                return False
            if wake_fd in self._wait(min(self._next_tick_ns(now_ns), until_ns), wake_fd):
                return True

    def drain(self, until_ns: int | None = None) -> None:
        """Send no more, and return when nothing is out or every timeout has passed; late replies are not waited for.

        At monotonic ``until_ns`` what is still out becomes LOCAL_STALL: nobody will be here to see what comes of it.
        """
        self._agenda.clear()
        self._look(LATE_WAIT_NS)
        while self._open_count and (until_ns is None or self._clock.monotonic_ns() < until_ns):
            self._wait(min(self._look_due_ns, until_ns or self._look_due_ns), None)
            self._look(LATE_WAIT_NS)
        for flight in list(self._flights.open()):
            self._close(flight, classification.of_stall(flight))

    def close(self) -> None:
        """Close the sockets. What is out gets no outcome: ``drain`` first."""
        self._agenda.clear()
        self._lanes.close()

    def _next_tick_ns(self, now_ns: int) -> int:
        """When to wake: for the next send or the next look, but not too soon."""
        if (self._agenda.next_due_ns or now_ns) < now_ns - self._tick_ns:
            return now_ns  # A backlog: sending was cut short.
        wake_ns = min(self._look_due_ns, self._agenda.next_due_ns or self._look_due_ns)
        return max(wake_ns, now_ns + self._tick_ns)

    def _wait(self, until_ns: int, wake_fd: int | None) -> list[int]:
        descriptors = [sock.fileno() for sock in self._lanes.sockets() if not sock.stamps_arrivals]
        if wake_fd is not None:
            descriptors.append(wake_fd)
        return wait_until(self._clock, until_ns, descriptors)

    def _tick(self) -> None:
        """Look, when it is time to, and send what is due."""
        if self._is_time_to_look():
            self._look()
        self._send_due()

    def _is_time_to_look(self) -> bool:
        """Not at every tick: looking is half of the work of a small mesh, and nothing measured depends on it."""
        is_due = self._clock.monotonic_ns() >= self._look_due_ns
        return is_due or not all(sock.stamps_arrivals for sock in self._lanes.sockets())

    def _look(self, ahead_ns: int = 0) -> None:
        """Read and judge. The sockets are read before the clocks are compared, which then vouches for their stamps.

        Waits that end within ``ahead_ns`` end now.
        """
        self._look_due_ns = self._clock.monotonic_ns() + LOOK_EVERY_NS
        self._read()
        self._judge_host(self._watch.look())
        self._settle()
        for flight in self._flights.take_ended(self._clock.monotonic_ns() + ahead_ns):
            if not flight.closed:
                self._close(flight, classification.of_silence(flight))

    def _read(self) -> None:
        """Empty the queues: replies first, so that the departure of each is already there when its notice is read."""
        self._unread_count = 0
        for sock in self._lanes.sockets():
            self._replies += sock.replies()
            for notice in sock.notices():
                if isinstance(notice, Departure):
                    self._note_departure(notice)
                else:
                    self._rejections.append(notice)
        self._reading = Reading(self._reading.since_ns, self._clock.wall_ns())

    def _note_departure(self, departure: Departure) -> None:
        flight = self._flights.get(departure.probe_index)
        # The first of several devices (a bridge, a VLAN) is the one that counts: it is the nearest to us.
        if flight is not None and flight.departed_ns is None:
            flight.departed_ns = departure.sent_at_ns

    def _judge_host(self, finding: Finding) -> None:
        """Put in doubt what may have suffered from this host since the last look."""
        if finding.stepped:
            self.health.clock_steps += 1
            self._void(finding)
            went_back = self._agenda.anchor(self._watch.offset_ns, finding.now_ns + self._watch.offset_ns)
            if went_back and self._on_went_back is not None:
                self._on_went_back()
        if finding.stalled:
            self.health.stalls += 1
            for flight in self._within_reach(finding):
                flight.doubt = Failure.LOCAL_STALL
                flight.edge_ns = finding.now_ns + self._watch.offset_ns
        for lane, drops in self._lanes.take_drops():
            self.health.dropped += drops
            for flight in self._within_reach(finding):
                if flight.stream.lane == lane:
                    flight.doubt = flight.doubt or Failure.LOCAL_DROP

    def _within_reach(self, finding: Finding) -> Iterable[Flight]:
        return self._flights.open_within_horizon(finding.since_ns, self._rtt_ns_max)

    def _void(self, finding: Finding) -> None:
        """Take the stamps of everything that is out for worthless."""
        for flight in self._within_reach(finding):
            self._close(flight, classification.of_stall(flight))
        for flight in self._flights.open():
            flight.stepped = True

    def _settle(self) -> None:
        for reply in self._replies:
            self._settle_reply(reply)
        for rejection in self._rejections:
            self._settle_rejection(rejection)
        self._replies.clear()
        self._rejections.clear()
        self._reading = Reading(self._reading.until_ns, self._reading.until_ns)

    def _settle_reply(self, reply: Reply) -> None:
        flight = self._flights.get(reply.probe_index)
        if flight is None or reply.source != flight.stream.address:
            self.health.strays += 1
        elif flight.answered:
            self.health.duplicates += 1
            if self._on_duplicate is not None:
                self._on_duplicate(flight.stream.aim, flight.slot)
        else:
            self.health.received += 1
            flight.answered = True
            if not flight.closed:
                self._take_rtt(flight, reply)

    def _take_rtt(self, flight: Flight, reply: Reply) -> None:
        outcome = classification.of_reply(flight, reply, self._reading)
        if outcome.failure is not Failure.LOCAL_STALL:
            rtt_ns = (outcome.detail or 0) * 1_000 if outcome.rtt_ns is None else outcome.rtt_ns
            flight.stream.rtt_ns_max = max(flight.stream.rtt_ns_max, rtt_ns)
            self._rtt_ns_max = max(self._rtt_ns_max, rtt_ns)
        self._close(flight, outcome)

    def _settle_rejection(self, rejection: Rejection) -> None:
        if rejection.probe_index is None:
            flight = self._flights.find(rejection.destination, rejection.sequence)
        else:
            flight = self._flights.get(rejection.probe_index)
        if flight is not None and not flight.closed:
            self._close(flight, classification.of_rejection(flight, rejection))

    def _close(self, flight: Flight, outcome: Outcome) -> None:
        """Give the outcome of a flight, the only one it gets."""
        assert not flight.closed
        flight.closed = True
        self._open_count -= 1
        self._on_outcome(outcome)

    def _send_due(self) -> None:
        """Send everything that is due, reading now and then so that a burst does not overflow the queues.

        Cut short when it takes long: more work than time must not be taken for a standstill.
        """
        now_ns = self._clock.monotonic_ns()
        end_ns = now_ns + LOOK_EVERY_NS
        while now_ns < end_ns and (stream := self._agenda.pop_due(now_ns)) is not None:
            lag_ns = now_ns - self._agenda.due_ns(stream)
            if schedule.is_missed(lag_ns, stream.interval_ms):
                self._pass_missed(stream, now_ns + self._watch.offset_ns)
            else:
                self.health.lag_ns_max = max(self.health.lag_ns_max, lag_ns)
                self._send(stream, now_ns)
                stream.slot += 1
                if self._unread_count >= SENDS_PER_READ:
                    self._read()
            self._agenda.advance(stream)
            now_ns = self._clock.monotonic_ns()

    def _pass_missed(self, stream: Stream, wall_ns: int) -> None:
        for slot in stream.skip_to(schedule.first_reachable(wall_ns, stream.interval_ms)):
            self._on_outcome(Outcome(stream.aim, slot, failure=Failure.NOT_SENT))

    def _send(self, stream: Stream, now_ns: int) -> None:
        """Send one probe, or say why not."""
        if stream.address is None or stream.lane is None:
            self._on_outcome(Outcome(stream.aim, stream.slot, failure=Failure.RESOLVE_ERROR))
            return
        sock = self._lanes.socket(stream.lane)
        if isinstance(sock, int):
            self._refused(stream, sock)
            return
        if not self._ceiling.take(now_ns):
            self.health.withheld += 1
            self._on_outcome(Outcome(stream.aim, stream.slot, failure=Failure.NOT_SENT))
            return
        index = self._next_index
        self._next_index += 1
        before_ns = self._clock.wall_ns()
        error = sock.send(index, stream.address, stream.aim.settings.payload_bytes)
        if error:
            self._refused(stream, error)
            return
        self.health.sent += 1
        self._unread_count += 1
        self._open_count += 1
        self._flights.add(Flight(stream, index, before_ns, now_ns, self._clock.wall_ns() - before_ns))

    def _refused(self, stream: Stream, error: int) -> None:
        self._on_outcome(Outcome(stream.aim, stream.slot, failure=Failure.SEND_ERROR, detail=error))
