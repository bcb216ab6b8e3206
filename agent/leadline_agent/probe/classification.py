"""What a reply, an ICMP error or silence means for a probe: pure functions of values.

Only silence on the path is loss. What this host did to a probe is told apart, by what can still be known:

====================  ==========================================  ==================================================
while it was out      a reply means                               silence until timeout and late wait are over means
====================  ==========================================  ==================================================
nothing               its RTT; LATE if longer than the timeout    TIMEOUT
a queue overflowed    its RTT: it was not among the dropped       LOCAL_DROP (1)
a standstill          its RTT, for the kernel went on stamping;   LOCAL_STALL (1)
                      LOCAL_STALL if stamped within 100 ms of
                      the standstill's end, when what waited
                      outside of a paused machine arrives
the wall clock        LOCAL_STALL: its stamps are of two clocks   LOCAL_STALL, given at once (1)
stepped
====================  ==========================================  ==================================================

(1) If its reply can have been under way at that time; otherwise it had been lost before, and is TIMEOUT (flight.py).
"""

from __future__ import annotations

from typing import NamedTuple

from leadline.model import Failure, us_ceil
from leadline_agent.probe.in_flight import Flight
from leadline_agent.probe.results import Outcome
from leadline_agent.probe.schedule import NS_PER_MS
from leadline_agent.probe.stall_detector import EDGE_NS
from leadline_agent.probe.transport import Rejection, Reply


class Reading(NamedTuple):
    """When the sockets were read: an arrival without a stamp of the kernel came between these. Wall nanoseconds."""

    since_ns: int
    until_ns: int


class Trip(NamedTuple):
    """An RTT and the uncertainty of its stamps, nanoseconds."""

    rtt_ns: int
    error_ns: int


def of_reply(flight: Flight, reply: Reply, reading: Reading) -> Outcome:
    """The outcome of a flight by its first reply."""
    rtt_ns, error_ns = trip(flight, reply, reading)
    if flight.stepped or rtt_ns < 0 or _is_on_edge(flight, reply, reading):
        return _outcome(flight, failure=Failure.LOCAL_STALL, ttl=reply.ttl)
    if rtt_ns > flight.stream.aim.settings.timeout_ms * NS_PER_MS:
        return _outcome(flight, failure=Failure.LATE, detail=us_ceil(rtt_ns), error_ns=error_ns, ttl=reply.ttl)
    return _outcome(flight, rtt_ns=rtt_ns, error_ns=error_ns, ttl=reply.ttl)


def of_rejection(flight: Flight, rejection: Rejection) -> Outcome:
    """The outcome of a flight that a router or its target answered with an ICMP error."""
    return _outcome(flight, failure=Failure.UNREACHABLE, detail=rejection.type * 256 + rejection.code)


def of_silence(flight: Flight) -> Outcome:
    """The outcome of a flight that nobody answered."""
    return _outcome(flight, failure=flight.doubt or Failure.TIMEOUT)


def of_stall(flight: Flight) -> Outcome:
    """The outcome of a flight whose fate nobody can tell any more."""
    return _outcome(flight, failure=Failure.LOCAL_STALL)


def trip(flight: Flight, reply: Reply, reading: Reading) -> Trip:
    """RTT between the kernel's stamps; our own, where there are none, err to the long side by at most ``error_ns``."""
    error_ns = 0
    sent_ns, received_ns = flight.departed_ns, reply.received_at_ns
    if sent_ns is None:
        sent_ns, error_ns = flight.sent_ns, flight.send_took_ns
    if received_ns is None:
        received_ns = reading.until_ns
        error_ns += received_ns - max(reading.since_ns, sent_ns)
    return Trip(received_ns - sent_ns, error_ns)


def _is_on_edge(flight: Flight, reply: Reply, reading: Reading) -> bool:
    """True when it arrived with what a paused machine finds waiting, so that its stamp may be too late."""
    if flight.edge_ns is None:
        return False
    received_ns = reading.until_ns if reply.received_at_ns is None else reply.received_at_ns
    return abs(received_ns - flight.edge_ns) <= EDGE_NS


def _outcome(
    flight: Flight,
    *,
    rtt_ns: int | None = None,
    failure: Failure | None = None,
    detail: int | None = None,
    error_ns: int = 0,
    ttl: int | None = None,
) -> Outcome:
    sent_ns = flight.sent_ns if flight.departed_ns is None else flight.departed_ns
    return Outcome(flight.stream.aim, flight.slot, rtt_ns, failure, detail, error_ns, sent_ns, ttl)
