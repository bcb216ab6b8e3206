"""The agent's prober on the test bed, and its outcomes beside the truth.

As a program (``python -m tests.network.measuring ADDRESS SLOTS INTERVAL_MS``) it measures in a process of its own,
which a test can stop; it prints one line per outcome: slot, rtt_ns, failure.
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
#: What lies between our stamps and the emulator's is two veth hops; a probe is looked for this near to its own time.
NEAR_NS = 5_000_000
TIMEOUT_MS = 400
INTERVAL_MS = 50
RUNS_MAX = 3
HOST_FAILURES = {Failure.NOT_SENT, Failure.LOCAL_STALL}


@dataclass(slots=True)
class ProberMeasurement:
    """What a measurement gave."""

    results: list[ProbeResult] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    counters: ProberCounters = field(default_factory=ProberCounters)

    @property
    def rtts_ns(self) -> list[int]:
        return [outcome.rtt_ns for outcome in self.results if outcome.rtt_ns is not None]


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
    """An aim named after its address, with short times, so that tests are short."""
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
    *aims: ProbeTarget,
    kinds: Sequence[icmp.SocketKind] = tuple(icmp.SocketKind),
    open_lane: Callable[[SocketKey, bytes], ProbeSocket] | None = None,
    waits_for_late: bool = False,
    on_halfway: Callable[[], None] | None = None,
) -> ProberMeasurement:
    """Probe from A until every aim has had its slots; ``halfway`` is called in the middle of it.

    A run during which this machine could not send in time is one of the machine, not of the engine: it is made again,
    twice at most. Where ``halfway`` does something to the machine there is one run.
    """
    for run in range(RUNS_MAX if on_halfway is None else 1):
        if run:
            wan.restart_log()
        measured = _run_prober(wan, aims, kinds, open_lane, waits_for_late, on_halfway or (lambda: None))
        if not {outcome.failure for outcome in measured.results} & HOST_FAILURES:
            break
    return measured


def _run_prober(
    wan: Wan,
    aims: Sequence[ProbeTarget],
    kinds: Sequence[icmp.SocketKind],
    open_lane: Callable[[SocketKey, bytes], ProbeSocket] | None,
    waits_for_late: bool,
    halfway: Callable[[], None],
) -> ProberMeasurement:
    measured = ProberMeasurement()
    clock = SystemClock()
    prober = Prober(
        clock=clock,
        rng=make_rng(1),
        on_result=measured.results.append,
        on_duplicate=lambda _, slot: measured.duplicates.append(slot),
        open_socket=open_lane or partial(icmp.open_socket, kinds=kinds),
    )
    with wan.enter("a"):
        prober.set_targets(aims)
    length_ms = max((aim.slots or 0) * aim.settings.interval_ms for aim in aims)
    prober.run(clock.monotonic_ns() + length_ms * 500_000)
    halfway()
    prober.run(clock.monotonic_ns() + (length_ms // 2 + 2 * INTERVAL_MS) * 1_000_000)
    while waits_for_late and not has_finished(prober):
        prober.run(clock.monotonic_ns() + SLICE_NS)
    prober.drain()
    prober.close()
    measured.counters = prober.counters
    return measured


class GroundTruth:
    """The true RTTs of a measurement, found by where and when a probe was sent."""

    def __init__(self, log: Sequence[FrameRecord]) -> None:
        self._by_target: dict[str, list[TrueRtt]] = defaultdict(list)
        for key, rtt in compute_true_rtts(log).items():
            self._by_target[key.dst].append(rtt)
        for rtts in self._by_target.values():
            rtts.sort(key=lambda rtt: rtt.request.arrived_ns)

    def find_rtt_ns(self, outcome: ProbeResult) -> int:
        """The true RTT of a probe that was answered, nanoseconds."""
        assert outcome.sent_at_ns is not None
        rtts = self._by_target[outcome.target_name]
        at = bisect_left(rtts, outcome.sent_at_ns, key=lambda rtt: rtt.request.arrived_ns)
        near = min(
            rtts[max(at - 1, 0) : at + 2], key=lambda rtt: abs(rtt.request.arrived_ns - (outcome.sent_at_ns or 0))
        )
        assert abs(near.request.arrived_ns - outcome.sent_at_ns) < NEAR_NS
        return near.rtt_ns

    def compute_errors_ns(self, outcomes: Iterable[ProbeResult]) -> list[int]:
        """Measured less true RTT, smallest first."""
        return sorted(outcome.rtt_ns - self.find_rtt_ns(outcome) for outcome in outcomes if outcome.rtt_ns is not None)


def main(address: str, slots: str, interval_ms: str) -> None:
    def show(outcome: ProbeResult) -> None:
        print(outcome.slot, outcome.rtt_ns, outcome.failure, flush=True)

    clock = SystemClock()
    prober = Prober(clock=clock, rng=make_rng(1), on_result=show)
    prober.set_targets([build_probe_target(address, slots=int(slots), interval_ms=int(interval_ms))])
    while not has_finished(prober):
        prober.run(clock.monotonic_ns() + SLICE_NS)


if __name__ == "__main__":
    main(*sys.argv[1:])
