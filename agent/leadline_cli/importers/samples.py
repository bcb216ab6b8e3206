"""Common form of all input files: runs of numbered probes, and samples with times from them.

Rule 1: the time of a sample is its send time. If the program prints the time of the reply, the RTT is subtracted.
Rule 2: a probe without a time gets one by interpolation between its neighbours, by its number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from leadline.errors import ConfigError
from leadline.model import RTT_US_MAX, ErrorBound, Failure
from leadline_cli.importers.printed_rtt import PrintedRtt, Rounding, build_error_bound

#: Two probes further apart than this many periods for each number: the program stalled in between.
STALL_FACTOR = 1.5


class LoggedProbe(NamedTuple):
    """Result of a probe: an RTT or a failure, and the send time in microseconds if known."""

    #: Upper edge of the interval of the printed RTT.
    rtt_us: int | None = None
    failure: Failure | None = None
    detail: int | None = None
    at_us: int | None = None
    duplicates: int = 0
    #: Width of that interval; 0 without an RTT.
    error_us: int = 0


class Sample(NamedTuple):
    """A probe with its send time ``at_us`` in microseconds since 1970."""

    at_us: int
    rtt_us: int | None
    failure: Failure | None = None
    detail: int | None = None
    duplicates: int = 0
    #: The true RTT is in [``rtt_us`` - bound, ``rtt_us``]; None if unknown.
    error: ErrorBound | None = None


#: A probe without a valid reply and without a specific reason.
LOST = LoggedProbe(failure=Failure.TIMEOUT)


@dataclass(slots=True, kw_only=True)
class LogRun:
    """Output of one run of a program for one host."""

    host: str
    #: IP address if the file has one.
    address: str | None
    probes: dict[int, LoggedProbe] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedLog:
    """A parsed file."""

    runs: Sequence[LogRun]
    #: Coarsest resolution of a printed RTT in microseconds; None if unknown.
    resolution_us: int | None = None
    #: How the program rounds the printed RTTs.
    rounding: Rounding = Rounding.UNKNOWN
    #: Omissions that concern the whole file.
    notes: Sequence[str] = ()


def build_reply(rtt: PrintedRtt, timestamp: str | None) -> LoggedProbe:
    """Return a reply with this RTT; ``timestamp`` is the printed time in seconds."""
    at_us = None if timestamp is None else int(Decimal(timestamp) * 1_000_000) - rtt.printed_us
    return LoggedProbe(rtt_us=rtt.rtt_us, at_us=at_us, error_us=rtt.error_us)


def select_runs(log: ParsedLog, host: str | None) -> list[LogRun]:
    """Return the runs of one host; ConfigError lists the hosts if the choice is ambiguous."""
    hosts = list(dict.fromkeys(run.host for run in log.runs if run.probes))
    if not hosts:
        raise ConfigError("FILE", "contains no probes")
    if host is None and len(hosts) > 1:
        raise ConfigError("--host", f"the file has {len(hosts)} hosts; select one of them: {', '.join(hosts)}")
    if host is not None and host not in hosts:
        raise ConfigError("--host", f"{host!r} is not in the file; it has {', '.join(hosts)}")
    return [run for run in log.runs if run.probes and run.host == (host or hosts[0])]


def assign_times(runs: Sequence[LogRun], start_us: int | None, interval_us: int | None) -> list[Sample]:
    """Return every probe with its time, in the order of the file; ConfigError if a time is unknown."""
    if start_us is not None and len(runs) > 1:
        raise ConfigError("--start", f"applies to one run only, but the file has {len(runs)} runs: split the file")
    return [sample for run in runs for sample in _assign_run_times(run, start_us, interval_us)]


def _assign_run_times(run: LogRun, start_us: int | None, interval_us: int | None) -> list[Sample]:
    anchors = [(number, probe.at_us) for number, probe in sorted(run.probes.items()) if probe.at_us is not None]
    if anchors and start_us is not None:
        raise ConfigError("--start", "must be omitted: the file has its own times")
    if not anchors:
        times = _count_times_from_start(run.probes, start_us, interval_us)
    else:
        times = _interpolate_times(sorted(run.probes), anchors, interval_us)
    return [_build_sample(times[number], probe) for number, probe in sorted(run.probes.items())]


def _build_sample(at_us: int, probe: LoggedProbe) -> Sample:
    """Build a sample. A reply after more than a minute is a loss, beyond any timeout (RFC 6703 §4.1.1)."""
    if probe.rtt_us is not None and probe.rtt_us > RTT_US_MAX:
        return Sample(at_us, None, Failure.TIMEOUT, None, probe.duplicates)
    error = None if probe.rtt_us is None else build_error_bound(probe.error_us, probe.error_us)
    return Sample(at_us, probe.rtt_us, probe.failure, probe.detail, probe.duplicates, error)


def _count_times_from_start(
    probes: Mapping[int, LoggedProbe], start_us: int | None, interval_us: int | None
) -> dict[int, int]:
    if start_us is None or interval_us is None:
        missing = "--start" if start_us is None else "--interval"
        raise ConfigError(
            missing,
            "the file has no times (ping and fping print them with -D): pass the send time of the first probe with "
            "--start 2026-11-22T06:00:00Z, and the time between probes with --interval 1s",
        )
    first = min(probes)
    return {number: start_us + (number - first) * interval_us for number in probes}


def _interpolate_times(
    numbers: Sequence[int], anchors: Sequence[tuple[int, int]], interval_us: int | None
) -> dict[int, int]:
    """Keep known times; compute the others by number from the probe before, or else from the next one."""
    period_us = _estimate_period_us(numbers, anchors, interval_us)
    anchor_numbers = [number for number, _ in anchors]
    times = dict(anchors)
    for number in numbers:
        if number not in times:
            after = bisect_left(anchor_numbers, number)
            times[number] = _interpolate_time(number, anchors[max(0, after - 1) : after + 1], period_us)
    return times


def _estimate_period_us(numbers: Sequence[int], anchors: Sequence[tuple[int, int]], interval_us: int | None) -> int:
    steps = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(anchors)]
    if steps:
        return round(median(steps))
    if interval_us is None and len(numbers) > 1:
        raise ConfigError("--interval", "is required: cannot infer the time between probes from a single reply")
    return interval_us or 0


def _interpolate_time(number: int, around: Sequence[tuple[int, int]], period_us: int) -> int:
    """Compute a time from ``around``: the anchors before and after, or the only one."""
    (first, at_us), *after = around
    if after and first < number:
        step_us = (after[0][1] - at_us) / (after[0][0] - first)
        if 0 < step_us <= STALL_FACTOR * period_us:
            return at_us + round((number - first) * step_us)
    elif after:
        first, at_us = after[0]
    return at_us + (number - first) * period_us
