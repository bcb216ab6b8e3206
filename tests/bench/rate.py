"""The highest rate a tool keeps up in one process without losing a probe, found by going upwards step by step."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.bench import peers
from tests.bench.cable import Cable, compute_address
from tests.bench.report import INTERVAL_MS, ProbeTask, Tool, ToolReport

#: Two tries, because other work on the machine can spoil one.
TRIES = 2
#: fping does not skip a probe it is late with but sends it later: it has kept its rate if it took no longer than this.
ELAPSED_RATIO_MAX = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSearch:
    """Which rates to try, in this order until one fails, and for how many probes per target (one a second)."""

    tool: Tool
    probes: int
    rates: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateAttempt:
    """One rate, tried once: as many targets as probes a second."""

    tool: Tool
    rate: int
    probes: int
    carried: bool
    #: Of the probes that should have been sent: never sent; sent, but called not measured by the tool; called lost.
    unsent: int
    void: int
    lost: int
    elapsed_s: float | None
    #: User and system seconds per 10,000 probes, those of the cable and its far end included, for they are worked off
    #: in the send call. None where the tool did not come to an end.
    cpu_s_per_10k: float | None
    complaint: str


#: leadline refuses more than 50,000/s to one process. fping numbers its probes with 16 bits and uses a number again
#: after 10 s: three seconds show its speed, twelve what it can go on with.
SEARCHES = (
    RateSearch(tool=Tool.LEADLINE, probes=4, rates=(10_000, 20_000, 25_000, 30_000, 40_000, 50_000)),
    RateSearch(tool=Tool.LEADLINE, probes=12, rates=(20_000, 30_000)),
    RateSearch(tool=Tool.FPING_BURST, probes=3, rates=(10_000, 20_000)),
    RateSearch(tool=Tool.FPING_BURST, probes=12, rates=(6_000, 8_000)),
)
SEARCHES_QUICK = (
    RateSearch(tool=Tool.LEADLINE, probes=2, rates=(10_000, 20_000)),
    RateSearch(tool=Tool.FPING_BURST, probes=2, rates=(10_000,)),
)


def search_rate(wanted: RateSearch) -> Iterator[RateAttempt]:
    """Try the rates upwards; ends with the first that fails ``TRIES`` times, or at which the tool itself gives up."""
    for rate in wanted.rates:
        for _ in range(TRIES):
            tried = attempt_rate(
                ProbeTask(tool=wanted.tool, addresses=tuple(map(compute_address, range(rate))), probes=wanted.probes)
            )
            yield tried
            if tried.carried:
                break
            if tried.complaint:
                return  # it gave up itself and would again
        else:
            return


def attempt_rate(task: ProbeTask) -> RateAttempt:
    """Try one rate on a cable of its own."""
    with Cable() as cable:
        try:
            measured = peers.run_tool(task, cable.run)
        except subprocess.TimeoutExpired as error:
            return evaluate_attempt(
                task, ToolReport(rtts_ns={}), None, f"not finished after {error.timeout:.0f} s, ended"
            )
    return evaluate_attempt(task, measured.report, measured.cpu_s, measured.error_text)


def evaluate_attempt(task: ProbeTask, report: ToolReport, cpu_s: float | None, complaint: str) -> RateAttempt:
    """What a try was worth: carried if every probe was sent in its second and answered."""
    sent = sum(map(len, report.rtts_ns.values()))
    answered = sum(rtt_ns is not None for rtts_ns in report.rtts_ns.values() for rtt_ns in rtts_ns)
    void = sum(map(len, report.void.values()))
    nominal_s = task.probes * INTERVAL_MS / 1_000
    # This engine keeps its slots or says "not sent"; its process lives until the next whole second and the last reply.
    in_time = not task.is_fping or (report.elapsed_s or nominal_s) <= nominal_s * ELAPSED_RATIO_MAX
    return RateAttempt(
        tool=task.tool,
        rate=len(task.addresses),
        probes=task.probes,
        carried=not complaint and in_time and answered == task.count_probes,
        unsent=task.count_probes - sent,
        void=void,
        lost=sent - answered - void,
        elapsed_s=report.elapsed_s,
        cpu_s_per_10k=None if cpu_s is None or not sent else cpu_s * 10_000 / sent,
        complaint=complaint,
    )


def find_highest_rates(tries: Iterable[RateAttempt]) -> dict[tuple[Tool, int], int]:
    """The highest rate carried, 0 if none, by tool and by how many seconds each rate was tried for."""
    found: dict[tuple[Tool, int], int] = {}
    for tried in tries:
        key = tried.tool, tried.probes
        found[key] = max(found.get(key, 0), tried.rate if tried.carried else 0)
    return found


def find_sustained_rate(tries: Iterable[RateAttempt], tool: Tool) -> int | None:
    """The highest rate a tool carried for the longest time it was tried for; None if it was not tried."""
    rates = {probes: rate for (name, probes), rate in find_highest_rates(tries).items() if name is tool}
    return rates[max(rates)] if rates else None
