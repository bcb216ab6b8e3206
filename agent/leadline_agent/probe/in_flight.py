"""The probes that are out, and those whose reply may still come twice.

A flight stays here until its timeout and the wait for late replies are over, answered or not: that is how a duplicate
is known from a stranger. Its outcome is given at most once (``closed``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from leadline.model import Failure
from leadline_agent.probe.schedule import NS_PER_MS
from leadline_agent.probe.send_queue import Stream

#: How long after its timeout a reply is still waited for, to tell "late" from "lost".
LATE_WAIT_MS = 5_000
#: No path on Earth answers later unless its queues are pathological: two thirds of the circumference of the Earth in
#: fibre and back, twice over, or a geostationary satellite with 400 ms to spare. To it comes the longest RTT seen.
HORIZON_NS = 1_000_000_000


class Flight:
    """One probe that was sent. Mutable and slotted: a thousand a second are made."""

    __slots__ = (
        "answered",
        "closed",
        "departed_ns",
        "doubt",
        "edge_ns",
        "index",
        "send_took_ns",
        "sent_ns",
        "sent_on_ns",
        "slot",
        "stepped",
        "stream",
    )

    def __init__(self, stream: Stream, index: int, sent_ns: int, sent_on_ns: int, send_took_ns: int) -> None:
        self.stream = stream
        self.slot = stream.slot
        self.index = index
        #: Wall nanoseconds before the send, by our own clock, and how long the call took.
        self.sent_ns = sent_ns
        self.send_took_ns = send_took_ns
        #: The same moment in monotonic nanoseconds.
        self.sent_on_ns = sent_on_ns
        #: Wall nanoseconds of departure by the kernel's stamp; None until, or unless, it comes.
        self.departed_ns: int | None = None
        #: What silence will mean instead of TIMEOUT; None while nothing has happened to this host.
        self.doubt: Failure | None = None
        #: Wall nanoseconds of the end of a standstill it was out in; arrivals close to it cannot be trusted.
        self.edge_ns: int | None = None
        #: The wall clock stepped while it was out: a reply would have no RTT.
        self.stepped = False
        #: Its outcome has been given.
        self.closed = False
        #: A reply to it has come.
        self.answered = False


class Flights:
    """All flights by index, with their ends in order."""

    def __init__(self) -> None:
        self._by_index: dict[int, Flight] = {}
        #: Per timeout, the moment each flight's wait ends: flights with one timeout end in the order they began.
        self._ends: dict[int, deque[tuple[int, int]]] = {}

    def add(self, flight: Flight) -> None:
        self._by_index[flight.index] = flight
        timeout_ms = flight.stream.aim.settings.timeout_ms
        end_ns = flight.sent_on_ns + (timeout_ms + LATE_WAIT_MS) * NS_PER_MS
        self._ends.setdefault(timeout_ms, deque()).append((end_ns, flight.index))

    def get(self, index: int) -> Flight | None:
        return self._by_index.get(index)

    def find(self, destination: str, sequence: int) -> Flight | None:
        """The newest flight to ``destination`` whose index ends in ``sequence``: for errors that quote no index."""
        for index in reversed(self._by_index):
            flight = self._by_index[index]
            if index & 0xFFFF == sequence and flight.stream.address == destination:
                return flight
        return None

    def take_ended(self, now_ns: int) -> Iterator[Flight]:
        """Take out every flight whose wait has ended by monotonic ``now_ns``."""
        for ends in self._ends.values():
            while ends and ends[0][0] <= now_ns:
                yield self._by_index.pop(ends.popleft()[1])

    def open(self) -> Iterator[Flight]:
        """Those without an outcome, newest first."""
        return (flight for index in reversed(self._by_index) if not (flight := self._by_index[index]).closed)

    def open_within_horizon(self, since_ns: int, rtt_ns_max: int) -> Iterator[Flight]:
        """Those whose reply may have been under way at monotonic ``since_ns`` or after; ``rtt_ns_max`` is anybody's.

        A probe unanswered for longer than any reply takes was lost before: what happens to this host now cannot
        undo that. Without this border a host that often stands still would report no loss at all.
        """
        for flight in self.open():
            out_ns = since_ns - flight.sent_on_ns
            if out_ns > HORIZON_NS + rtt_ns_max:
                return
            if out_ns <= HORIZON_NS + flight.stream.rtt_ns_max:
                yield flight
