"""Probes in flight.

A probe stays here until its timeout and the wait for late replies end, with or without a reply. This separates
duplicates from stray replies. Each probe has at most one result (``has_result``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from leadline.model import Failure
from leadline_agent.probe.schedule import NS_PER_MS
from leadline_agent.probe.send_queue import ProbeSchedule

#: Wait after the timeout, to distinguish a late reply from a lost probe.
LATE_WAIT_MS = 5_000
#: Upper bound of a plausible RTT: twice the round trip over two thirds of the Earth's circumference in fibre, or a
#: geostationary satellite plus 400 ms. The longest measured RTT is added to it.
PLAUSIBLE_RTT_NS_MAX = 1_000_000_000


class InFlightProbe:
    """A sent probe. Mutable and slotted, because the prober creates a thousand a second."""

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
        #: Wall nanoseconds before the send call, and the duration of the call.
        self.sent_wall_ns = sent_wall_ns
        self.send_duration_ns = send_duration_ns
        #: Monotonic nanoseconds of the same moment.
        self.sent_monotonic_ns = sent_monotonic_ns
        #: Wall nanoseconds of the kernel's transmit timestamp; None before it is read, or if the kernel gives none.
        self.tx_timestamp_ns: int | None = None
        #: Failure to report instead of TIMEOUT if no reply arrives; set after a stall or queue overflow of this host.
        self.suspected_cause: Failure | None = None
        #: Wall nanoseconds of the end of a stall during the flight; receive timestamps close to it are unreliable.
        self.stall_end_ns: int | None = None
        #: The wall clock stepped during the flight: a reply gives no RTT.
        self.has_clock_step = False
        #: The result was reported.
        self.has_result = False
        #: A reply arrived.
        self.has_reply = False


class InFlightProbes:
    """Probes in flight by index, with their expiry in order."""

    def __init__(self) -> None:
        self._by_index: dict[int, InFlightProbe] = {}
        #: (expiry, index) by timeout. Probes with the same timeout expire in the order of sending.
        self._expiries: dict[int, deque[tuple[int, int]]] = {}

    def add(self, probe: InFlightProbe) -> None:
        self._by_index[probe.index] = probe
        timeout_ms = probe.schedule.target.settings.timeout_ms
        expiry_ns = probe.sent_monotonic_ns + (timeout_ms + LATE_WAIT_MS) * NS_PER_MS
        self._expiries.setdefault(timeout_ms, deque()).append((expiry_ns, probe.index))

    def get(self, index: int) -> InFlightProbe | None:
        return self._by_index.get(index)

    def find_by_sequence(self, destination: str, sequence: int) -> InFlightProbe | None:
        """Return the newest probe to ``destination`` with ``sequence`` as low 16 bits of its index.

        Needed for ICMP errors that quote no index.
        """
        for index in reversed(self._by_index):
            probe = self._by_index[index]
            if index & 0xFFFF == sequence and probe.schedule.address == destination:
                return probe
        return None

    def pop_expired(self, now_ns: int) -> Iterator[InFlightProbe]:
        """Remove and yield the probes that expire by monotonic ``now_ns``."""
        for expiries in self._expiries.values():
            while expiries and expiries[0][0] <= now_ns:
                yield self._by_index.pop(expiries.popleft()[1])

    def iter_pending(self) -> Iterator[InFlightProbe]:
        """Yield the probes without a result, newest first."""
        return (probe for index in reversed(self._by_index) if not (probe := self._by_index[index]).has_result)

    def iter_in_transit_since(self, since_ns: int, rtt_ns_max: int) -> Iterator[InFlightProbe]:
        """Yield the probes whose reply may have been in transit at or after monotonic ``since_ns``.

        ``rtt_ns_max`` is the longest RTT of any target. A probe without a reply for longer than the plausible RTT was
        lost before the event on this host. Without this bound, a host that stalls often would report no loss.
        """
        for probe in self.iter_pending():
            age_ns = since_ns - probe.sent_monotonic_ns
            if age_ns > PLAUSIBLE_RTT_NS_MAX + rtt_ns_max:
                return
            if age_ns <= PLAUSIBLE_RTT_NS_MAX + probe.schedule.rtt_ns_max:
                yield probe
