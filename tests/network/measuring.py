"""Run the agent's prober on the test bed and compare its results with the ground truth.

``python -m tests.network.measuring ADDRESS SLOTS INTERVAL_MS`` measures in a separate process, which a test can stop.
It prints one line per result: slot, rtt_ns, failure.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from leadline.clock import SystemClock, make_rng
from leadline.model import Failure, ProbeSettings
from leadline_agent.probe import icmp
from leadline_agent.probe.engine import Prober, ProberCounters, ProbeResult, ProbeTarget
from leadline_agent.probe.transport import ProbeSocket, SocketKey
from tests.network.truth import FrameRecord, TrueRtt, compute_true_rtts
from tests.network.wan import Wan
from tests.support.probing import has_finished

SLICE_NS = 50_000_000
#: Maximum distance between the prober's timestamp and the emulator's: two veth hops, with a large margin.
NEAR_NS = 5_000_000
TIMEOUT_MS = 400
INTERVAL_MS = 50
RUNS_MAX = 3
HOST_FAILURES = {Failure.NOT_SENT, Failure.LOCAL_STALL}


@dataclass(slots=True)
class ProberMeasurement:
    """Results and counters of one measurement."""

    results: list[ProbeResult] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    counters: ProberCounters = field(default_factory=ProberCounters)

    @property
    def rtts_ns(self) -> list[int]:
        return [result.rtt_ns for result in self.results if result.rtt_ns is not None]


def build_probe_target(
    address: str,
    *,
    slots: int = 40,
    interval_ms: int = INTERVAL_MS,
    timeout_ms: int = TIMEOUT_MS,
    payload_bytes: int = 56,
    dscp: int = 0,
    dont_fragment: bool = False,
) -> ProbeTarget:
    """Return a target named after its address, with short times to keep tests short."""
    settings = ProbeSettings(
        interval_ms=interval_ms,
        timeout_ms=timeout_ms,
        payload_bytes=payload_bytes,
        dscp=dscp,
        dont_fragment=dont_fragment,
    )
    return ProbeTarget(name=address, address=address, settings=settings, slots=slots)


def measure_targets(
    wan: Wan,
    *targets: ProbeTarget,
    kinds: Sequence[icmp.SocketKind] = tuple(icmp.SocketKind),
    open_socket: Callable[[SocketKey, bytes], ProbeSocket] | None = None,
    waits_for_late: bool = False,
    on_halfway: Callable[[], None] | None = None,
) -> ProberMeasurement:
    """Probe from A until all slots of all targets are done; call ``on_halfway`` in the middle.

    If this machine did not send in time (``HOST_FAILURES``), the run says nothing about the engine and is repeated, at
    most twice. With ``on_halfway`` there is one run.
    """
    for run in range(RUNS_MAX if on_halfway is None else 1):
        if run:
            wan.restart_log()
        measurement = _run_prober(wan, targets, kinds, open_socket, waits_for_late, on_halfway or (lambda: None))
        if not {result.failure for result in measurement.results} & HOST_FAILURES:
            break
    return measurement


def _run_prober(
    wan: Wan,
    targets: Sequence[ProbeTarget],
    kinds: Sequence[icmp.SocketKind],
    open_socket: Callable[[SocketKey, bytes], ProbeSocket] | None,
    waits_for_late: bool,
    on_halfway: Callable[[], None],
) -> ProberMeasurement:
    measurement = ProberMeasurement()
    clock = SystemClock()
    prober = Prober(
        clock=clock,
        rng=make_rng(1),
        on_result=measurement.results.append,
        on_duplicate=lambda _, slot: measurement.duplicates.append(slot),
        open_socket=open_socket or partial(icmp.open_socket, kinds=kinds),
    )
    with wan.enter("a"):
        prober.set_targets(targets)
    length_ms = max((target.slots or 0) * target.settings.interval_ms for target in targets)
    prober.run(clock.monotonic_ns() + length_ms * 500_000)
    on_halfway()
    prober.run(clock.monotonic_ns() + (length_ms // 2 + 2 * INTERVAL_MS) * 1_000_000)
    while waits_for_late and not has_finished(prober):
        prober.run(clock.monotonic_ns() + SLICE_NS)
    prober.drain()
    prober.close()
    measurement.counters = prober.counters
    return measurement


class GroundTruth:
    """True RTTs of a measurement, by target and send time of a probe."""

    def __init__(self, log: Sequence[FrameRecord]) -> None:
        self._by_target: dict[str, list[TrueRtt]] = defaultdict(list)
        for key, rtt in compute_true_rtts(log).items():
            self._by_target[key.dst].append(rtt)
        for rtts in self._by_target.values():
            rtts.sort(key=lambda rtt: rtt.request.arrived_ns)

    def find_rtt_ns(self, result: ProbeResult) -> int:
        """Return the true RTT of a probe with a reply, in nanoseconds."""
        assert result.sent_at_ns is not None
        rtts = self._by_target[result.target.name]
        at = bisect_left(rtts, result.sent_at_ns, key=lambda rtt: rtt.request.arrived_ns)
        nearest = min(
            rtts[max(at - 1, 0) : at + 2], key=lambda rtt: abs(rtt.request.arrived_ns - (result.sent_at_ns or 0))
        )
        assert abs(nearest.request.arrived_ns - result.sent_at_ns) < NEAR_NS
        return nearest.rtt_ns

    def compute_errors_ns(self, results: Iterable[ProbeResult]) -> list[int]:
        """Return measured minus true RTT of every probe with a reply, in ascending order."""
        return sorted(result.rtt_ns - self.find_rtt_ns(result) for result in results if result.rtt_ns is not None)


def main(address: str, slots: str, interval_ms: str) -> None:
    def print_result(result: ProbeResult) -> None:
        print(result.slot, result.rtt_ns, result.failure, flush=True)

    clock = SystemClock()
    prober = Prober(clock=clock, rng=make_rng(1), on_result=print_result)
    prober.set_targets([build_probe_target(address, slots=int(slots), interval_ms=int(interval_ms))])
    while not has_finished(prober):
        prober.run(clock.monotonic_ns() + SLICE_NS)


if __name__ == "__main__":
    main(*sys.argv[1:])
