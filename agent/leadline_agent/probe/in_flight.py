"""The probes that are out, and those whose reply may still come twice.

A flight stays here until its timeout and the wait for late replies are over, answered or not: that is how a duplicate
is known from a stranger. Its outcome is given at most once (``closed``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from leadline.model import Failure
from leadline_agent.probe.schedule import NS_PER_MS
from leadline_agent.probe.send_queue import ProbeSchedule

#: How long after its timeout a reply is still waited for, to tell "late" from "lost".
LATE_WAIT_MS = 5_000
#: No path on Earth answers later unless its queues are pathological: two thirds of the circumference of the Earth in
#: fibre and back, twice over, or a geostationary satellite with 400 ms to spare. To it comes the longest RTT seen.
PLAUSIBLE_RTT_NS_MAX = 1_000_000_000


class InFlightProbe:
    """One probe that was sent. Mutable and slotted: a thousand a second are made."""

    __slots__ = (
        "has_clock_step",
        "has_reply",
        "has_result",
        "index",
        "schedule",
        "send_duration_ns",
        "sent_monotonic_ns",
        "sent_wall_ns",
        "slot",
        "stall_end_ns",
        "suspected_cause",
        "tx_timestamp_ns",
    )

    def __init__(
        self, schedule: ProbeSchedule, index: int, sent_wall_ns: int, sent_monotonic_ns: int, send_duration_ns: int
    ) -> None:
        self.schedule = schedule
        self.slot = schedule.slot
        self.index = index
        #: Wall nanoseconds before the send, by our own clock, and how long the call took.
        self.sent_wall_ns = sent_wall_ns
        self.send_duration_ns = send_duration_ns
        #: The same moment in monotonic nanoseconds.
        self.sent_monotonic_ns = sent_monotonic_ns
        #: Wall nanoseconds of departure by the kernel's stamp; None until, or unless, it comes.
        self.tx_timestamp_ns: int | None = None
        #: What silence will mean instead of TIMEOUT; None while nothing has happened to this host.
        self.suspected_cause: Failure | None = None
        #: Wall nanoseconds of the end of a standstill it was out in; arrivals close to it cannot be trusted.
        self.stall_end_ns: int | None = None
        #: The wall clock stepped while it was out: a reply would have no RTT.
        self.has_clock_step = False
        #: Its outcome has been given.
        self.has_result = False
        #: A reply to it has come.
        self.has_reply = False


class InFlightProbes:
    """All flights by index, with their ends in order."""

    def __init__(self) -> None:
        self._by_index: dict[int, InFlightProbe] = {}
        #: Per timeout, the moment each flight's wait ends: flights with one timeout end in the order they began.
        self._expiries: dict[int, deque[tuple[int, int]]] = {}

    def add(self, probe: InFlightProbe) -> None:
        self._by_index[probe.index] = probe
        timeout_ms = probe.schedule.target.settings.timeout_ms
        end_ns = probe.sent_monotonic_ns + (timeout_ms + LATE_WAIT_MS) * NS_PER_MS
        self._expiries.setdefault(timeout_ms, deque()).append((end_ns, probe.index))

    def get(self, index: int) -> InFlightProbe | None:
        return self._by_index.get(index)

    def find_by_sequence(self, destination: str, sequence: int) -> InFlightProbe | None:
        """The newest flight to ``destination`` whose index ends in ``sequence``: for errors that quote no index."""
        for index in reversed(self._by_index):
            flight = self._by_index[index]
            if index & 0xFFFF == sequence and flight.schedule.address == destination:
                return flight
        return None

    def pop_expired(self, now_ns: int) -> Iterator[InFlightProbe]:
        """Take out every flight whose wait has ended by monotonic ``now_ns``."""
        for ends in self._expiries.values():
            while ends and ends[0][0] <= now_ns:
                yield self._by_index.pop(ends.popleft()[1])

    def iter_pending(self) -> Iterator[InFlightProbe]:
        """Those without an outcome, newest first."""
        return (flight for index in reversed(self._by_index) if not (flight := self._by_index[index]).has_result)

    def iter_in_transit_since(self, since_ns: int, rtt_ns_max: int) -> Iterator[InFlightProbe]:
        """Those whose reply may have been under way at monotonic ``since_ns`` or after; ``rtt_ns_max`` is anybody's.

        A probe unanswered for longer than any reply takes was lost before: what happens to this host now cannot
        undo that. Without this border a host that often stands still would report no loss at all.
        """
        for flight in self.iter_pending():
            out_ns = since_ns - flight.sent_monotonic_ns
            if out_ns > PLAUSIBLE_RTT_NS_MAX + rtt_ns_max:
                return
            if out_ns <= PLAUSIBLE_RTT_NS_MAX + flight.schedule.rtt_ns_max:
                yield flight
