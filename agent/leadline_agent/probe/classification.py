"""Result of a probe from its reply, an ICMP error or the lack of a reply. Pure functions.

Only a missing reply counts as loss on the path. Events on this host give other results:

====================  ==========================================  ==================================================
event while in        result with a reply                         result without a reply at the end of the late wait
flight
====================  ==========================================  ==================================================
none                  RTT; LATE if longer than the timeout        TIMEOUT
queue overflow        RTT: the reply was not dropped              LOCAL_DROP (1)
stall                 RTT, because the kernel takes the           LOCAL_STALL (1)
                      timestamps; LOCAL_STALL if the timestamp
                      is within 100 ms of the stall's end:
                      packets queued outside a paused machine
                      arrive then
wall clock step       LOCAL_STALL: the timestamps come from       LOCAL_STALL, reported at once (1)
                      two different clocks
====================  ==========================================  ==================================================

(1) Only if the reply can have been in transit at that time. An older probe was lost before and is TIMEOUT
(in_flight.py).
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
    """Bounds of the arrival time of replies without a kernel timestamp, in wall nanoseconds."""

    start_ns: int
    end_ns: int


class RttMeasurement(NamedTuple):
    """An RTT and the uncertainty of its timestamps, in nanoseconds."""

    rtt_ns: int
    error_ns: int


def classify_reply(probe: InFlightProbe, reply: Reply, interval: ReceiveInterval) -> ProbeResult:
    """Return the result of a probe from its first reply."""
    rtt_ns, error_ns = measure_rtt(probe, reply, interval)
    if probe.has_clock_step or rtt_ns < 0 or _is_near_stall_end(probe, reply, interval):
        return _build_result(probe, failure=Failure.LOCAL_STALL, ttl=reply.ttl)
    if rtt_ns > probe.schedule.target.settings.timeout_ms * NS_PER_MS:
        return _build_result(probe, failure=Failure.LATE, detail=us_ceil(rtt_ns), error_ns=error_ns, ttl=reply.ttl)
    return _build_result(probe, rtt_ns=rtt_ns, error_ns=error_ns, ttl=reply.ttl)


def classify_icmp_error(probe: InFlightProbe, error: IcmpError) -> ProbeResult:
    """Return the result of a probe that a router or the target answered with an ICMP error."""
    return _build_result(probe, failure=Failure.UNREACHABLE, detail=error.type * 256 + error.code)


def classify_missing_reply(probe: InFlightProbe) -> ProbeResult:
    """Return the result of a probe without a reply."""
    return _build_result(probe, failure=probe.suspected_cause or Failure.TIMEOUT)


def classify_stall(probe: InFlightProbe) -> ProbeResult:
    """Return the result of a probe that a stall or clock step of this host made unusable."""
    return _build_result(probe, failure=Failure.LOCAL_STALL)


def measure_rtt(probe: InFlightProbe, reply: Reply, interval: ReceiveInterval) -> RttMeasurement:
    """Measure the RTT between the kernel timestamps.

    User-space timestamps replace missing ones. They make the RTT too long by at most ``error_ns``.
    """
    error_ns = 0
    sent_ns, received_ns = probe.tx_timestamp_ns, reply.received_at_ns
    if sent_ns is None:
        sent_ns, error_ns = probe.sent_wall_ns, probe.send_duration_ns
    if received_ns is None:
        received_ns = interval.end_ns
        error_ns += received_ns - max(interval.start_ns, sent_ns)
    return RttMeasurement(received_ns - sent_ns, error_ns)


def _is_near_stall_end(probe: InFlightProbe, reply: Reply, interval: ReceiveInterval) -> bool:
    """Return True if the reply may have been queued outside a paused machine: its timestamp may be too late."""
    if probe.stall_end_ns is None:
        return False
    received_ns = interval.end_ns if reply.received_at_ns is None else reply.received_at_ns
    return abs(received_ns - probe.stall_end_ns) <= STALL_END_MARGIN_NS


def _build_result(
    probe: InFlightProbe,
    *,
    rtt_ns: int | None = None,
    failure: Failure | None = None,
    detail: int | None = None,
    error_ns: int = 0,
    ttl: int | None = None,
) -> ProbeResult:
    sent_ns = probe.sent_wall_ns if probe.tx_timestamp_ns is None else probe.tx_timestamp_ns
    return ProbeResult(probe.schedule.target, probe.slot, rtt_ns, failure, detail, error_ns, sent_ns, ttl)
