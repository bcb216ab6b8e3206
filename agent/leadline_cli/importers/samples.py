"""What a file says, whatever wrote it: runs of numbered probes, and from them samples with times.

Rule 1: a sample's time is that of sending. A program that stamps the reply is believed less its RTT.
Rule 2: a probe without a stamp of its own stands between its neighbours, by its number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from math import ceil
from statistics import median
from typing import NamedTuple

from leadline.errors import ConfigError
from leadline.model import RTT_US_MAX, Failure

#: Two known probes further apart than this many periods a number: the program stood still in between.
STALL_FACTOR = 1.5


class LoggedProbe(NamedTuple):
    """What became of a probe: an RTT or a failure, and when it was sent in microseconds if that is known."""

    rtt_us: int | None = None
    failure: Failure | None = None
    detail: int | None = None
    at_us: int | None = None
    duplicates: int = 0


class Sample(NamedTuple):
    """A probe that was sent at ``at_us``, microseconds since 1970."""

    at_us: int
    rtt_us: int | None
    failure: Failure | None = None
    detail: int | None = None
    duplicates: int = 0


#: No valid reply; what a probe counts as when a program says nothing more of it.
LOST = LoggedProbe(failure=Failure.TIMEOUT)


@dataclass(slots=True, kw_only=True)
class LogRun:
    """One start of a program, as far as it is about one host."""

    host: str
    #: IP address where the file has one.
    address: str | None
    probes: dict[int, LoggedProbe] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedLog:
    """A file, read."""

    runs: Sequence[LogRun]
    #: The step in which the program prints an RTT, at its coarsest; None if the file does not show it.
    resolution_us: int | None = None


#: Microseconds of the last digit, by how many follow the point of a number of milliseconds.
_RESOLUTIONS_US = (1_000, 100, 10, 1)


def parse_rtt_us(milliseconds: str) -> int:
    """Microseconds of a printed number of milliseconds, rounded up; ValueError for what is none."""
    try:
        value = Decimal(milliseconds) * 1_000
    except InvalidOperation:
        raise ValueError(f"{milliseconds!r} is not a number of milliseconds") from None
    if not value.is_finite() or value < 0:
        raise ValueError(f"{milliseconds!r} is not a number of milliseconds")
    return ceil(value)


def parse_resolution_us(milliseconds: str) -> int:
    """The step of the last digit of a printed number of milliseconds."""
    return _RESOLUTIONS_US[min(3, len(milliseconds.partition(".")[2]))]


def parse_reply(milliseconds: str, timestamp: str | None) -> LoggedProbe:
    """A reply with this RTT, printed at ``stamp`` seconds."""
    us = parse_rtt_us(milliseconds)
    return LoggedProbe(rtt_us=us, at_us=None if timestamp is None else int(Decimal(timestamp) * 1_000_000) - us)


def select_runs(log: ParsedLog, host: str | None) -> list[LogRun]:
    """The runs of one host; ConfigError names the hosts where that is not clear."""
    hosts = list(dict.fromkeys(run.host for run in log.runs if run.probes))
    if not hosts:
        raise ConfigError("FILE", "has no probes in it")
    if host is None and len(hosts) > 1:
        raise ConfigError("--host", f"the file is about {len(hosts)} hosts; name one of them: {', '.join(hosts)}")
    if host is not None and host not in hosts:
        raise ConfigError("--host", f"{host!r} is not in the file; it has {', '.join(hosts)}")
    return [run for run in log.runs if run.probes and run.host == (host or hosts[0])]


def assign_times(runs: Sequence[LogRun], start_us: int | None, interval_us: int | None) -> list[Sample]:
    """Every probe of the runs with its time, in the order of the file; ConfigError where a time cannot be had."""
    if start_us is not None and len(runs) > 1:
        raise ConfigError("--start", f"the file has {len(runs)} runs, and only one can begin then: cut the file")
    return [sample for run in runs for sample in _assign_run_times(run, start_us, interval_us)]


def _assign_run_times(run: LogRun, start_us: int | None, interval_us: int | None) -> list[Sample]:
    anchors = [(number, one.at_us) for number, one in sorted(run.probes.items()) if one.at_us is not None]
    if anchors and start_us is not None:
        raise ConfigError("--start", "the file has times of its own: leave it out")
    if not anchors:
        times = _count_times_from_start(run.probes, start_us, interval_us)
    else:
        times = _interpolate_times(sorted(run.probes), anchors, interval_us)
    return [_build_sample(times[number], one) for number, one in sorted(run.probes.items())]


def _build_sample(at_us: int, one: LoggedProbe) -> Sample:
    """A reply after more than a minute is a loss: it is beyond every timeout (RFC 6703 §4.1.1)."""
    if one.rtt_us is not None and one.rtt_us > RTT_US_MAX:
        return Sample(at_us, None, Failure.TIMEOUT, None, one.duplicates)
    return Sample(at_us, one.rtt_us, one.failure, one.detail, one.duplicates)


def _count_times_from_start(
    outcomes: Mapping[int, LoggedProbe], start_us: int | None, interval_us: int | None
) -> dict[int, int]:
    if start_us is None or interval_us is None:
        missing = "--start" if start_us is None else "--interval"
        raise ConfigError(
            missing,
            "no reply in the file has a time (ping and fping print it with -D): say when the first probe was sent with "
            "--start 2026-11-22T06:00:00Z, and how far apart they were with --interval 1s",
        )
    first = min(outcomes)
    return {number: start_us + (number - first) * interval_us for number in outcomes}


def _interpolate_times(
    numbers: Sequence[int], anchors: Sequence[tuple[int, int]], interval_us: int | None
) -> dict[int, int]:
    """Known times as they are; the others by their number, from the probe before, or for want of one from the next."""
    period_us = _estimate_period_us(numbers, anchors, interval_us)
    known = [number for number, _ in anchors]
    times = dict(anchors)
    for number in numbers:
        if number not in times:
            after = bisect_left(known, number)
            times[number] = _interpolate_time(number, anchors[max(0, after - 1) : after + 1], period_us)
    return times


def _estimate_period_us(numbers: Sequence[int], anchors: Sequence[tuple[int, int]], interval_us: int | None) -> int:
    steps = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(anchors)]
    if steps:
        return round(median(steps))
    if interval_us is None and len(numbers) > 1:
        raise ConfigError("--interval", "a single reply does not show how far apart the probes were: say it")
    return interval_us or 0


def _interpolate_time(number: int, around: Sequence[tuple[int, int]], period_us: int) -> int:
    """``around`` is the anchor before and the one after, or the only one there is."""
    (first, at_us), *after = around
    if after and first < number:
        step_us = (after[0][1] - at_us) / (after[0][0] - first)
        if 0 < step_us <= STALL_FACTOR * period_us:
            return at_us + round((number - first) * step_us)
    elif after:
        first, at_us = after[0]
    return at_us + (number - first) * period_us
