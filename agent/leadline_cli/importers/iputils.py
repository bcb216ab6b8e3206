"""Output of ping of Linux iputils (checked with 20221126), with ``-D`` or without, with ``-O`` or without.

Rule 1: icmp_seq counts what left: ping does not advance it when the kernel refuses a probe. So a missing number was
sent and is lost, from 1 (or the first number in a file whose head is cut off) to the last that is known to have left.
Rule 2: the very last one, if nothing came back, is not measured: nobody can tell whether ping still waited for it.
Rule 3: icmp_seq has 16 bits. After 65535 comes 0. A reply is at most ``BACK_MAX`` numbers late; any other step goes
forward. A silence in which the numbers may have gone round is refused: how many were lost, nobody can tell.
Rule 4: the total is a check: a file with other replies than ping counted has lost lines, which would look like loss.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from leadline.errors import ConfigError
from leadline.model import Failure
from leadline_cli.importers.parse_errors import build_line_error, build_unknown_line_error, extract_address
from leadline_cli.importers.samples import LOST, LoggedProbe, LogRun, ParsedLog, parse_reply, parse_resolution_us

_STAMP = r"(?:\[(?P<stamp>\d+(?:\.\d+)?)\] )?"
_HEADER = re.compile(
    r"PING (?P<host>\S+?) ?\((?P<address>\S+)\) (?:from .*: )?(?:\d+\(\d+\) bytes of data\.|\d+ data bytes)"
)
_REPLY = re.compile(
    _STAMP + r"\d+ bytes from (?P<from>.+?): icmp_seq=(?P<seq>\d+)(?: ident=\d+)? ttl=\d+"
    r"(?P<time> time=(?P<ms>[\d.]+) ms)?(?P<again> \(DUP!\))?(?: \(DIFFERENT ADDRESS!\))?"
)
_NO_REPLY_YET = re.compile(_STAMP + r"no answer yet for icmp_seq=(?P<seq>\d+)")
_ERROR = re.compile(_STAMP + r"From (?P<from>.+?):? icmp_seq=(?P<seq>\d+) (?P<what>.+)")
_TOTAL = re.compile(r"(\d+) packets transmitted, (\d+) received(?:, .*)?")
_IGNORED_LINE = re.compile(
    r"(?:\^C)?--- .* ping statistics ---|rtt min/.*|pipe \d+.*|WARNING: .*|ping: sendmsg: .*|\^C|\s*"
)
#: Other programs by what only they print, and why they are not read.
_WINDOWS = re.compile(r"Pinging .*|Reply from .*: bytes=.*|Antwort von .*|Ping wird .*")
_BSD = re.compile(r"PING .*: \d+ data bytes|Request timeout for icmp_seq .*|round-trip .*|.* bytes from .*: seq=\d+ .*")
_UNSUPPORTED_PROGRAMS = (
    (_WINDOWS, "ping of Windows prints whole milliseconds and no times"),
    (_BSD, "ping of BSD, macOS or busybox counts and stamps otherwise"),
)
SEQUENCE_MODULUS: Final = 1 << 16
#: Seventeen minutes at one a second, ten seconds at the shortest interval.
REORDERING_MAX: Final = 1_024
#: Type and code of the ICMP errors by their words (RFC 792, RFC 1812; RFC 4443 for IPv6).
_ICMPV4_CODES = {
    "Destination Net Unreachable": (3, 0), "Destination Host Unreachable": (3, 1),
    "Destination Protocol Unreachable": (3, 2), "Destination Port Unreachable": (3, 3),
    "Frag needed and DF set": (3, 4), "Source Route Failed": (3, 5), "Destination Net Unknown": (3, 6),
    "Destination Host Unknown": (3, 7), "Destination Net Prohibited": (3, 9), "Destination Host Prohibited": (3, 10),
    "Packet filtered": (3, 13), "Time to live exceeded": (11, 0), "Frag reassembly time exceeded": (11, 1),
}  # fmt: skip
_ICMPV6_CODES = {
    "Destination unreachable: No route": (1, 0), "Destination unreachable: Administratively prohibited": (1, 1),
    "Destination unreachable: Beyond scope of source address": (1, 2),
    "Destination unreachable: Address unreachable": (1, 3), "Destination unreachable: Port unreachable": (1, 4),
    "Packet too big": (2, 0), "Time exceeded: Hop limit": (3, 0), "Time exceeded: Defragmentation failure": (3, 1),
}  # fmt: skip


def parse_log(lines: Iterable[str]) -> ParsedLog:
    """The probes in the output of ping; ConfigError names the line that is wrong."""
    reader = _PingParser()
    for number, line in enumerate(lines, 1):
        reader.parse_line(number, line.rstrip("\r\n"))
    return reader.finish()


class _PingParser:
    def __init__(self) -> None:
        self._runs: list[_RunBuilder] = []
        self._resolution_us_max: int | None = None

    def parse_line(self, number: int, line: str) -> None:
        if found := _REPLY.fullmatch(line):
            if found["time"] is None:
                raise build_line_error(
                    number, "has no time: ping measures one only with 16 bytes of payload or more (-s)"
                )
            self._resolution_us_max = max(self._resolution_us_max or 0, parse_resolution_us(found["ms"]))
            self._current_run(number, found["from"]).add_reply(
                number, int(found["seq"]), parse_reply(found["ms"], found["stamp"])
            )
        elif found := _HEADER.fullmatch(line):
            self._runs.append(_RunBuilder(found["host"], extract_address(found["address"]), first=1))
        elif found := _NO_REPLY_YET.fullmatch(line):
            self._current_run(number, None).add_failure(int(found["seq"]), LOST)
        elif found := _ERROR.fullmatch(line):
            self._current_run(number, None).add_failure(
                int(found["seq"]), _parse_icmp_error(number, line, found["from"], found["what"])
            )
        elif found := _TOTAL.fullmatch(line):
            self._current_run(number, None).set_total(number, int(found[1]), int(found[2]))
        elif not _IGNORED_LINE.fullmatch(line):
            raise _build_format_error(number, line)

    def _current_run(self, line: int, host: str | None) -> _RunBuilder:
        """The run that a line belongs to; one without its head if the file begins in the middle."""
        if not self._runs or self._runs[-1].is_finished:
            if host is None:
                raise build_line_error(
                    line, "comes before the first reply and without the line PING that says of which host"
                )
            self._runs.append(_RunBuilder(host, extract_address(host), first=None))
        return self._runs[-1]

    def finish(self) -> ParsedLog:
        runs = [one.build() for one in self._runs]
        return ParsedLog(runs=runs, resolution_us=self._resolution_us_max)


class _RunBuilder:
    """A run that is being read."""

    def __init__(self, host: str, address: str | None, first: int | None) -> None:
        self._run = LogRun(host=host, address=address)
        #: Number of the first probe that left; None where the file does not begin with it.
        self._first_number = first
        self._latest_number = 1 if first is None else first
        #: What ping says it sent; None without its last lines.
        self._sent_count: int | None = None
        self.is_finished = False
        self._has_probes = False
        #: Number and time of the first and of the latest reply with a time.
        self._first_reply: tuple[int, int] | None = None
        self._latest_reply = (0, 0)

    def add_reply(self, line: int, seq: int, outcome: LoggedProbe) -> None:
        number = self._unwrap_sequence(seq)
        if outcome.at_us is not None:
            self._check_wraparound(line, number, outcome.at_us)
        before = self._run.probes.get(number)
        if before is not None and before.rtt_us is not None:
            outcome = before._replace(duplicates=before.duplicates + 1)
        self._run.probes[number] = outcome

    def add_failure(self, seq: int, outcome: LoggedProbe) -> None:
        """A reply wins over what was said before or after it; an ICMP error over "no answer yet"."""
        number = self._unwrap_sequence(seq)
        before = self._run.probes.get(number)
        if before is None or (before == LOST and outcome != LOST):
            self._run.probes[number] = outcome

    def _unwrap_sequence(self, seq: int) -> int:
        if not self._has_probes and self._first_number is None:
            self._latest_number = seq
        self._has_probes = True
        step = (seq - self._latest_number) % SEQUENCE_MODULUS
        number = self._latest_number + (step - SEQUENCE_MODULUS if step >= SEQUENCE_MODULUS - REORDERING_MAX else step)
        self._latest_number = max(self._latest_number, number)
        return number

    def _check_wraparound(self, line: int, number: int, at_us: int) -> None:
        """Compare how far the numbers and how far the times have gone since the latest reply."""
        if self._first_reply is None:
            self._first_reply = self._latest_reply = (number, at_us)
            return
        (first, first_us), (before, before_us) = self._first_reply, self._latest_reply
        if before > first and (at_us - before_us) * (before - first) > (number - before + SEQUENCE_MODULUS // 2) * (
            before_us - first_us
        ):
            raise build_line_error(
                line, "comes after a silence in which icmp_seq may have gone round: cut the file before it"
            )
        self._latest_reply = max(self._latest_reply, (number, at_us))

    def set_total(self, line: int, sent: int, received: int) -> None:
        self.is_finished = True
        self._sent_count = sent
        found = sum(one.rtt_us is not None for one in self._run.probes.values())
        if self._first_number is not None and found != received:
            raise build_line_error(
                line, f"ping counted {received} replies and the file has {found}: lines are missing from it"
            )

    def build(self) -> LogRun:
        outcomes = self._run.probes
        if not outcomes and not self._sent_count:
            return self._run
        first = min(outcomes) if self._first_number is None else self._first_number
        last = max([*outcomes, first - 1])
        if self._first_number is not None and self._sent_count is not None and self._sent_count > last:
            self._run.notes.append("the last probe had no answer when ping ended: not measured")
            last = self._sent_count - 1
        for number in range(first, last + 1):
            outcomes.setdefault(number, LOST)
        if self._first_number is None or self._sent_count is None:
            self._run.notes.append("the file has not all of a run: its count of replies could not be checked")
        return self._run


def _parse_icmp_error(number: int, line: str, source: str, what: str) -> LoggedProbe:
    codes = _ICMPV6_CODES if ":" in source.rpartition("(")[2] else _ICMPV4_CODES
    known = next((code for words, code in codes.items() if what.startswith(words)), None)
    if known is None:
        raise build_unknown_line_error(number, line, "ping of Linux iputils")
    return LoggedProbe(failure=Failure.UNREACHABLE, detail=known[0] * 256 + known[1])


def _build_format_error(number: int, line: str) -> ConfigError:
    for pattern, reason in _UNSUPPORTED_PROGRAMS:
        if pattern.fullmatch(line):
            return build_line_error(number, f"{reason}: import what Linux iputils or fping wrote, or make a CSV of it")
    return build_unknown_line_error(number, line, "ping of Linux iputils")
