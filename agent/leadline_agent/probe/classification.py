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
from leadline_agent.probe.in_flight import InFlightProbe
from leadline_agent.probe.results import ProbeResult
from leadline_agent.probe.schedule import NS_PER_MS
from leadline_agent.probe.stall_detector import STALL_END_MARGIN_NS
from leadline_agent.probe.transport import IcmpError, Reply


class ReceiveInterval(NamedTuple):
    """When the sockets were read: an arrival without a stamp of the kernel came between these. Wall nanoseconds."""

    start_ns: int
    end_ns: int


class RttMeasurement(NamedTuple):
    """An RTT and the uncertainty of its stamps, nanoseconds."""

    rtt_ns: int
    error_ns: int


def classify_reply(probe: InFlightProbe, reply: Reply, interval: ReceiveInterval) -> ProbeResult:
    """The outcome of a flight by its first reply."""
    rtt_ns, error_ns = measure_rtt(probe, reply, interval)
    if probe.has_clock_step or rtt_ns < 0 or _is_near_stall_end(probe, reply, interval):
        return _build_result(probe, failure=Failure.LOCAL_STALL, ttl=reply.ttl)
    if rtt_ns > probe.schedule.target.settings.timeout_ms * NS_PER_MS:
        return _build_result(probe, failure=Failure.LATE, detail=us_ceil(rtt_ns), error_ns=error_ns, ttl=reply.ttl)
    return _build_result(probe, rtt_ns=rtt_ns, error_ns=error_ns, ttl=reply.ttl)


def classify_icmp_error(probe: InFlightProbe, error: IcmpError) -> ProbeResult:
    """The outcome of a flight that a router or its target answered with an ICMP error."""
    return _build_result(probe, failure=Failure.UNREACHABLE, detail=error.type * 256 + error.code)


def classify_missing_reply(probe: InFlightProbe) -> ProbeResult:
    """The outcome of a flight that nobody answered."""
    return _build_result(probe, failure=probe.suspected_cause or Failure.TIMEOUT)


def classify_stall(probe: InFlightProbe) -> ProbeResult:
    """The outcome of a flight whose fate nobody can tell any more."""
    return _build_result(probe, failure=Failure.LOCAL_STALL)


def measure_rtt(probe: InFlightProbe, reply: Reply, interval: ReceiveInterval) -> RttMeasurement:
    """RTT between the kernel's stamps; our own, where there are none, err to the long side by at most ``error_ns``."""
    error_ns = 0
    sent_ns, received_ns = probe.tx_timestamp_ns, reply.received_at_ns
    if sent_ns is None:
        sent_ns, error_ns = probe.sent_wall_ns, probe.send_duration_ns
    if received_ns is None:
        received_ns = interval.end_ns
        error_ns += received_ns - max(interval.start_ns, sent_ns)
    return RttMeasurement(received_ns - sent_ns, error_ns)


def _is_near_stall_end(flight: InFlightProbe, reply: Reply, reading: ReceiveInterval) -> bool:
    """True when it arrived with what a paused machine finds waiting, so that its stamp may be too late."""
    if flight.stall_end_ns is None:
        return False
    received_ns = reading.end_ns if reply.received_at_ns is None else reply.received_at_ns
    return abs(received_ns - flight.stall_end_ns) <= STALL_END_MARGIN_NS


def _build_result(
    flight: InFlightProbe,
    *,
    rtt_ns: int | None = None,
    failure: Failure | None = None,
    detail: int | None = None,
    error_ns: int = 0,
    ttl: int | None = None,
) -> ProbeResult:
    sent_ns = flight.sent_wall_ns if flight.tx_timestamp_ns is None else flight.tx_timestamp_ns
    return ProbeResult(flight.schedule.target, flight.slot, rtt_ns, failure, detail, error_ns, sent_ns, ttl)
