"""Process for the tools written in Python: a ``ProbeTask`` as JSON on stdin, a ``ToolReport`` on stdout.

Only the tool runs here, so that the CPU time of the process is that of the tool. The benchmark process compares and
counts afterwards.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from operator import itemgetter

import msgspec

from leadline.clock import SystemClock, make_rng
from leadline.model import ProbeSettings
from leadline_agent.probe.engine import Prober
from leadline_agent.probe.results import ProbeResult, ProbeTarget
from tests.bench.report import INTERVAL_MS, TIMEOUT_MS, ProbeTask, Tool, ToolReport
from tests.support.probing import has_finished

_NS_PER_S = 1_000_000_000
#: Time to wait for replies after the last slot.
_LINGER_NS = TIMEOUT_MS * 1_000_000
#: icmplib opens a descriptor per target.
_DESCRIPTORS = 16_384


def start_leadline(task: ProbeTask) -> Callable[[], ToolReport]:
    """Probe with leadline, as the agent's prober process does; return a function that builds the report."""
    gc.disable()
    clock, slots = SystemClock(), list[Slot]()
    prober = Prober(clock=clock, rng=make_rng(1), on_result=lambda result: slots.append(build_slot(result)))
    settings = ProbeSettings(interval_ms=INTERVAL_MS, timeout_ms=TIMEOUT_MS)
    prober.set_targets(
        [ProbeTarget(name=name, address=name, settings=settings, slots=task.probes) for name in task.addresses]
    )
    # The first slot begins with the next whole second.
    end_ns = clock.monotonic_ns() + (task.probes + 1) * INTERVAL_MS * 1_000_000
    while not has_finished(prober) and clock.monotonic_ns() < end_ns + _LINGER_NS:
        prober.run(clock.monotonic_ns() + _NS_PER_S // 4)
    prober.drain(clock.monotonic_ns() + _LINGER_NS)
    prober.close()
    notes = {key: str(value) for key, value in msgspec.structs.asdict(prober.counters).items()}
    return lambda: build_report(task.addresses, slots, notes)


#: Slot number, target, RTT, whether it was sent, whether it was measured. Storing 100,000 results themselves would cost
#: memory that an agent does not need.
Slot = tuple[int, str, int | None, bool, bool]


def build_slot(result: ProbeResult) -> Slot:
    """Return the fields of a result for the benchmark; a late reply is a loss, as in the engine."""
    is_void = result.failure is not None and not result.failure.is_loss
    return result.slot, result.target.name, result.rtt_ns, result.sent_at_ns is not None, not is_void


def build_report(addresses: Sequence[str], slots: Sequence[Slot], notes: dict[str, str]) -> ToolReport:
    """Return the report of leadline: sent probes of each target in order of slot, with their RTTs."""
    rtts_ns: dict[str, list[int | None]] = {address: [] for address in addresses}
    void: dict[str, list[int]] = defaultdict(list)
    not_sent = 0
    for _, target, rtt_ns, is_sent, is_measured in sorted(slots, key=itemgetter(0)):
        if not is_sent:
            not_sent += 1
            continue
        if not is_measured:
            void[target].append(len(rtts_ns[target]))
        rtts_ns[target].append(rtt_ns)
    return ToolReport(rtts_ns=rtts_ns, void=dict(void), not_sent=not_sent, notes=notes)


def start_icmplib(task: ProbeTask) -> Callable[[], ToolReport]:
    """Probe with icmplib's ``async_multiping`` in its fastest mode: datagram sockets, all targets at once."""
    from icmplib import Host, async_multiping

    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
    hosts: list[Host] = asyncio.run(
        async_multiping(
            list(task.addresses),
            count=task.probes,
            interval=INTERVAL_MS / 1_000,
            timeout=TIMEOUT_MS / 1_000,
            concurrent_tasks=len(task.addresses),
            privileged=False,
        )
    )
    return lambda: ToolReport(
        rtts_ns={
            host.address: [round(ms * 1e6) for ms in host.rtts]
            for host in hosts
            if host.packets_received == host.packets_sent
        },
        unplaced={
            host.address: (host.packets_sent, host.packets_received)
            for host in hosts
            if host.packets_received != host.packets_sent
        },
    )


def read_cpu_s() -> float:
    """Return user and system time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run the task from stdin."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=ProbeTask)
    clock = SystemClock()
    before_s, before_ns = read_cpu_s(), clock.monotonic_ns()
    finish = {Tool.LEADLINE: start_leadline, Tool.ICMPLIB: start_icmplib}[task.tool](task)
    spent_s, elapsed_s = read_cpu_s() - before_s, (clock.monotonic_ns() - before_ns) / _NS_PER_S
    report = msgspec.structs.replace(finish(), cpu_s=spent_s, elapsed_s=elapsed_s)
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
