"""Search for the highest rate of a tool in one process without loss, in increasing steps."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.bench import peers
from tests.bench.cable import Cable, compute_address
from tests.bench.report import INTERVAL_MS, ProbeTask, Tool, ToolReport

#: Attempts per rate: other load on the machine can spoil one.
TRIES = 2
#: fping sends delayed probes late instead of skipping them: it sustained the rate if it took at most this much longer.
ELAPSED_RATIO_MAX = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSearch:
    """Rates to try, in this order until one fails, and probes per target at each rate (one a second)."""

    tool: Tool
    probes: int
    rates: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateAttempt:
    """One attempt at one rate, with as many targets as probes per second."""

    tool: Tool
    rate: int
    probes: int
    carried: bool
    #: Probes not sent; sent, but reported as not measured; reported as lost.
    unsent: int
    void: int
    lost: int
    elapsed_s: float | None
    #: User and system seconds per 10,000 probes. They include the cable and its far end, which run within the send
    #: call. None if the tool did not finish.
    cpu_s_per_10k: float | None
    complaint: str


#: leadline limits one process to 50,000/s. fping has 16-bit sequence numbers and reuses a number after 10 s: three
#: seconds show its peak rate, twelve its sustained rate.
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


def search_rate(search: RateSearch) -> Iterator[RateAttempt]:
    """Yield attempts at increasing rates; stop at a rate that fails ``TRIES`` times or at an error of the tool."""
    for rate in search.rates:
        for _ in range(TRIES):
            attempt = attempt_rate(
                ProbeTask(tool=search.tool, addresses=tuple(map(compute_address, range(rate))), probes=search.probes)
            )
            yield attempt
            if attempt.carried:
                break
            if attempt.complaint:
                return  # the tool failed and would fail again
        else:
            return


def attempt_rate(task: ProbeTask) -> RateAttempt:
    """Try one rate on a new cable."""
    with Cable() as cable:
        try:
            measurement = peers.run_tool(task, cable.run)
        except subprocess.TimeoutExpired as error:
            return evaluate_attempt(
                task, ToolReport(rtts_ns={}), None, f"not finished after {error.timeout:.0f} s, killed"
            )
    return evaluate_attempt(task, measurement.report, measurement.cpu_s, measurement.error_text)


def evaluate_attempt(task: ProbeTask, report: ToolReport, cpu_s: float | None, complaint: str) -> RateAttempt:
    """Return the attempt; ``carried`` if every probe was sent within its second and has a reply."""
    sent = sum(map(len, report.rtts_ns.values()))
    answered = sum(rtt_ns is not None for rtts_ns in report.rtts_ns.values() for rtt_ns in rtts_ns)
    void = sum(map(len, report.void.values()))
    nominal_s = task.probes * INTERVAL_MS / 1_000
    # leadline never sends late but reports "not sent"; its process ends after the next whole second and the last reply.
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
    """Return the highest rate carried, else 0, by tool and seconds per rate."""
    rates: dict[tuple[Tool, int], int] = {}
    for attempt in tries:
        key = attempt.tool, attempt.probes
        rates[key] = max(rates.get(key, 0), attempt.rate if attempt.carried else 0)
    return rates


def find_sustained_rate(tries: Iterable[RateAttempt], tool: Tool) -> int | None:
    """Return the highest rate a tool carried in its longest attempts; None without attempts."""
    rates = {probes: rate for (name, probes), rate in find_highest_rates(tries).items() if name is tool}
    return rates[max(rates)] if rates else None
