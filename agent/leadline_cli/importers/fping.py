"""Reader of fping output (tested with 5.1): lines of ``-l`` and ``-c``, with or without ``-D``, and totals of ``-C``.

Rule 1: fping prints one numbered line for every sent probe. A number without a line was not sent (the kernel refused
it, and fping prints nothing) or was in flight at the end. It is not measured, and a note has the count.
Rule 2: a repeated number starts a new run: fping was started again and appended to the file.
Rule 3: a total is a check. It must equal the number of replies in the file.
Rule 4: version 5 prints three significant digits, at least a microsecond, and rounds to the nearest value. Version 4
rounds down, with at most two decimals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from leadline.errors import ConfigError
from leadline_cli.importers.parse_errors import build_line_error, build_unknown_line_error, extract_address
from leadline_cli.importers.printed_rtt import PrintedRtt, Rounding, parse_printed_rtt
from leadline_cli.importers.samples import LOST, LoggedProbe, LogRun, ParsedLog, build_reply

#: Rule 4.
ROUNDING = Rounding.NEAREST_OR_DOWN
_LINE = re.compile(r"(?:\[(?P<stamp>\d+(?:\.\d+)?)\] )?(?P<host>\S.*?)\s* : (?P<rest>\S.*)")
_REPLY = re.compile(r"\[(\d+)\], \d+ bytes, ([\d.e+]+) ms(?: .*)?")
_TIMED_OUT = re.compile(r"\[(\d+)\], timed out(?: .*)?")
_DUPLICATE = re.compile(r"duplicate for \[(\d+)\], .*")
_TOTAL = re.compile(r"xmt/rcv/%(?:loss|return) = (\d+)/(\d+)/.*")
_VALUES = re.compile(r"(?:-|[\d.]+)(?: (?:-|[\d.]+))*")
#: Ignored lines: ICMP errors (the probe has its own line), intervals of -Q, statistics of -s, errors of fping.
_IGNORED_LINE = re.compile(r"ICMP .* for ICMP Echo sent to .*|\[\d\d:\d\d:\d\d\]| +\d.*|.* error while sending ping.*|")


def parse_log(lines: Iterable[str]) -> ParsedLog:
    """Parse the output of fping; ConfigError has the invalid line."""
    reader = _FpingParser()
    for number, line in enumerate(lines, 1):
        reader.parse_line(number, line.rstrip("\r\n"))
    return reader.finish()


@dataclass(slots=True)
class _HostLog:
    """Runs of one host, and the total of the last one."""

    runs: list[LogRun] = field(default_factory=list)
    #: Line, probes and replies of the total after the probe lines; None before it.
    total: tuple[int, int, int] | None = None


class _FpingParser:
    def __init__(self) -> None:
        self._hosts: dict[str, _HostLog] = {}
        self._resolution_us_max: int | None = None
        self._has_only_totals = False

    def parse_line(self, number: int, line: str) -> None:
        if line.startswith("{"):
            raise build_line_error(
                number, "is JSON of fping -J, which is not supported (unstable format); use -D -l or -D -c N instead"
            )
        if _IGNORED_LINE.fullmatch(line):
            return
        match = _LINE.fullmatch(line)
        if match is None or not self._parse_host_line(number, match["host"], match["stamp"], match["rest"]):
            raise build_unknown_line_error(number, line, "fping -l, -c or -C")

    def _parse_host_line(self, line: int, host: str, stamp: str | None, rest: str) -> bool:
        if match := _REPLY.fullmatch(rest):
            self._add_probe(host, int(match[1]), build_reply(self._parse_rtt(match[2]), stamp))
        elif match := _TIMED_OUT.fullmatch(rest):
            self._add_probe(host, int(match[1]), LOST)
        elif match := _DUPLICATE.fullmatch(rest):
            self._count_duplicate(line, host, int(match[1]))
        elif match := _TOTAL.fullmatch(rest):
            self._check_total(line, host, int(match[1]), int(match[2]))
        elif _VALUES.fullmatch(rest):
            self._add_values(line, host, rest.split(" "))
        else:
            return False
        return True

    def _parse_rtt(self, milliseconds: str) -> PrintedRtt:
        rtt = parse_printed_rtt(milliseconds, ROUNDING)
        self._resolution_us_max = max(self._resolution_us_max or 0, rtt.resolution_us)
        return rtt

    def _add_probe(self, name: str, number: int, probe: LoggedProbe) -> None:
        host = self._hosts.setdefault(name, _HostLog())
        if not host.runs or number in host.runs[-1].probes or host.total:
            host.runs.append(LogRun(host=name, address=extract_address(name)))
            host.total = None
        host.runs[-1].probes[number] = probe

    def _count_duplicate(self, line: int, name: str, number: int) -> None:
        host = self._hosts.get(name)
        before = host.runs[-1].probes.get(number) if host and host.runs else None
        if host is None or before is None:
            raise build_line_error(line, f"reports a duplicate of [{number}], which is not in the file before it")
        host.runs[-1].probes[number] = before._replace(duplicates=before.duplicates + 1)

    def _check_total(self, line: int, name: str, sent: int, received: int) -> None:
        host = self._hosts.get(name)
        if host is None or not host.runs:
            self._has_only_totals = True
            return
        run = host.runs[-1]
        _check_reply_count(line, received, sum(probe.rtt_us is not None for probe in run.probes.values()))
        host.total = (line, sent, received)
        _note_missing(run, sent)

    def _add_values(self, line: int, name: str, values: list[str]) -> None:
        """Add the totals of ``-C``: probes without times, unless the file also has their lines."""
        host = self._hosts.setdefault(name, _HostLog())
        if host.runs and not host.total:
            run = host.runs[-1]
            _check_reply_count(
                line, len(values) - values.count("-"), sum(probe.rtt_us is not None for probe in run.probes.values())
            )
            host.total = (line, len(values), 0)
            return
        for number, value in enumerate(values):
            self._add_probe(name, number, LOST if value == "-" else build_reply(self._parse_rtt(value), None))
        host.total = (line, len(values), 0)

    def finish(self) -> ParsedLog:
        for host in self._hosts.values():
            for run in host.runs:
                if not run.notes:
                    _note_missing(run, max(run.probes) + 1)
        if self._has_only_totals and not self._hosts:
            raise ConfigError(
                "FILE", "contains only totals of fping (-q, -Q) and no probes: run fping without these options"
            )
        return ParsedLog(
            runs=[run for host in self._hosts.values() for run in host.runs],
            resolution_us=self._resolution_us_max,
            rounding=ROUNDING,
        )


def _check_reply_count(line: int, reported: int, counted: int) -> None:
    if reported != counted:
        raise build_line_error(line, f"fping counted {reported} replies, but the file has {counted}: lines are missing")


def _note_missing(run: LogRun, sent: int) -> None:
    missing = sent - min(run.probes) - len(run.probes)
    if missing > 0:
        run.notes.append(
            f"{missing} probes have no line (in flight at the end, or refused by the kernel) and are not measured"
        )
