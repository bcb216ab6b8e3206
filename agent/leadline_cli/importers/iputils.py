"""Reader of ping output of Linux iputils (tested with 20221126), with or without ``-D`` and ``-O``.

Rule 1: icmp_seq counts the sent probes. ping does not advance it if the kernel refuses a probe. So a missing number was
sent and is lost, from 1 (or the first number of a truncated file) to the last probe that is known to be sent.
Rule 2: the last probe without a reply is not measured, because ping may have ended before its reply.
Rule 3: icmp_seq has 16 bits: 0 follows 65535. A reply is at most ``REORDERING_MAX`` numbers late; any other step is
forward. A pause in which the number may have wrapped around is an error, because the number of lost probes is unknown.
Rule 4: the total is a check: if its replies differ from the file, lines are missing, which would look like loss.
Rule 5: ping prints three significant digits, at least a microsecond. Versions since 20180629 round to the nearest
value, older ones down. 20180629 omits the carry: it prints 17.96 ms as 17.10, and 1.997 ms as 1.100.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from leadline.errors import ConfigError
from leadline.model import Failure
from leadline_cli.importers.parse_errors import build_line_error, build_unknown_line_error, extract_address
from leadline_cli.importers.printed_rtt import PrintedRtt, Rounding, parse_printed_rtt
from leadline_cli.importers.samples import LOST, LoggedProbe, LogRun, ParsedLog, build_reply

#: Rule 5.
ROUNDING = Rounding.NEAREST_OR_DOWN
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
#: RTT without its carry. Other versions print no such value, except ``-3``, which always prints three decimals.
_MISSING_CARRY = re.compile(r"(?P<tens>\d{2,})\.10|(?P<ones>[1-9])\.100")
#: Lines that identify unsupported programs, and the reasons.
_WINDOWS = re.compile(r"Pinging .*|Reply from .*: bytes=.*|Antwort von .*|Ping wird .*")
_BSD = re.compile(r"PING .*: \d+ data bytes|Request timeout for icmp_seq .*|round-trip .*|.* bytes from .*: seq=\d+ .*")
_UNSUPPORTED_PROGRAMS = (
    (_WINDOWS, "ping of Windows prints whole milliseconds and no timestamps"),
    (_BSD, "ping of BSD, macOS or busybox uses different sequence numbers and timestamps"),
)
SEQUENCE_MODULUS: Final = 1 << 16
#: Seventeen minutes at one probe a second, ten seconds at the shortest interval.
REORDERING_MAX: Final = 1_024
#: Type and code of ICMP errors by their text (RFC 792, RFC 1812; RFC 4443 for IPv6).
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
    """Parse the output of ping; ConfigError has the invalid line."""
    reader = _PingParser()
    for number, line in enumerate(lines, 1):
        reader.parse_line(number, line.rstrip("\r\n"))
    return reader.finish()


class _PingParser:
    def __init__(self) -> None:
        self._runs: list[_RunBuilder] = []
        self._resolution_us_max: int | None = None
        #: With ``-3``, no value has two decimals.
        self._has_two_decimals = False

    def parse_line(self, number: int, line: str) -> None:
        if match := _REPLY.fullmatch(line):
            if match["time"] is None:
                raise build_line_error(
                    number, "has no time: ping measures times only with a payload of 16 bytes or more (-s)"
                )
            self._current_run(number, match["from"]).add_reply(
                number, int(match["seq"]), build_reply(self._parse_rtt(match["ms"]), match["stamp"])
            )
        elif match := _HEADER.fullmatch(line):
            self._runs.append(_RunBuilder(match["host"], extract_address(match["address"]), first=1))
        elif match := _NO_REPLY_YET.fullmatch(line):
            self._current_run(number, None).add_failure(int(match["seq"]), LOST)
        elif match := _ERROR.fullmatch(line):
            self._current_run(number, None).add_failure(
                int(match["seq"]), _parse_icmp_error(number, line, match["from"], match["what"])
            )
        elif match := _TOTAL.fullmatch(line):
            self._current_run(number, None).set_total(number, int(match[1]), int(match[2]))
        elif not _IGNORED_LINE.fullmatch(line):
            raise _build_format_error(number, line)

    def _parse_rtt(self, milliseconds: str) -> PrintedRtt:
        if match := _MISSING_CARRY.fullmatch(milliseconds):
            if match["tens"]:
                milliseconds = f"{int(match['tens']) + 1}.0"
            elif self._has_two_decimals:
                milliseconds = f"{int(match['ones']) + 1}.00"
        rtt = parse_printed_rtt(milliseconds, ROUNDING)
        self._has_two_decimals |= rtt.resolution_us == 10
        self._resolution_us_max = max(self._resolution_us_max or 0, rtt.resolution_us)
        return rtt

    def _current_run(self, line: int, host: str | None) -> _RunBuilder:
        """Return the run of a line; create one without a header if the file starts in the middle of a run."""
        if not self._runs or self._runs[-1].is_finished:
            if host is None:
                raise build_line_error(
                    line, "is before the first reply and without a PING line, so its host is unknown"
                )
            self._runs.append(_RunBuilder(host, extract_address(host), first=None))
        return self._runs[-1]

    def finish(self) -> ParsedLog:
        runs = [probe.build() for probe in self._runs]
        return ParsedLog(runs=runs, resolution_us=self._resolution_us_max, rounding=ROUNDING)


class _RunBuilder:
    """Builder of one run."""

    def __init__(self, host: str, address: str | None, first: int | None) -> None:
        self._run = LogRun(host=host, address=address)
        #: Number of the first sent probe; None if the file starts in the middle of a run.
        self._first_number = first
        self._latest_number = 1 if first is None else first
        #: Number of sent probes from the statistics of ping; None without them.
        self._sent_count: int | None = None
        self.is_finished = False
        self._has_probes = False
        #: Number and time of the first and the latest reply with a time.
        self._first_reply: tuple[int, int] | None = None
        self._latest_reply = (0, 0)

    def add_reply(self, line: int, seq: int, probe: LoggedProbe) -> None:
        number = self._unwrap_sequence(seq)
        if probe.at_us is not None:
            self._check_wraparound(line, number, probe.at_us)
        before = self._run.probes.get(number)
        if before is not None and before.rtt_us is not None:
            probe = before._replace(duplicates=before.duplicates + 1)
        self._run.probes[number] = probe

    def add_failure(self, seq: int, probe: LoggedProbe) -> None:
        """Add a failure. A reply takes precedence over any failure, an ICMP error over "no answer yet"."""
        number = self._unwrap_sequence(seq)
        before = self._run.probes.get(number)
        if before is None or (before == LOST and probe != LOST):
            self._run.probes[number] = probe

    def _unwrap_sequence(self, seq: int) -> int:
        if not self._has_probes and self._first_number is None:
            self._latest_number = seq
        self._has_probes = True
        step = (seq - self._latest_number) % SEQUENCE_MODULUS
        number = self._latest_number + (step - SEQUENCE_MODULUS if step >= SEQUENCE_MODULUS - REORDERING_MAX else step)
        self._latest_number = max(self._latest_number, number)
        return number

    def _check_wraparound(self, line: int, number: int, at_us: int) -> None:
        """Raise ConfigError if the sequence number may have wrapped around since the latest reply."""
        if self._first_reply is None:
            self._first_reply = self._latest_reply = (number, at_us)
            return
        (first, first_us), (before, before_us) = self._first_reply, self._latest_reply
        if before > first and (at_us - before_us) * (before - first) > (number - before + SEQUENCE_MODULUS // 2) * (
            before_us - first_us
        ):
            raise build_line_error(
                line, "follows a pause in which icmp_seq may have wrapped around: split the file before this line"
            )
        self._latest_reply = max(self._latest_reply, (number, at_us))

    def set_total(self, line: int, sent: int, received: int) -> None:
        self.is_finished = True
        self._sent_count = sent
        counted = sum(probe.rtt_us is not None for probe in self._run.probes.values())
        if self._first_number is not None and counted != received:
            raise build_line_error(
                line, f"ping counted {received} replies, but the file has {counted}: lines are missing"
            )

    def build(self) -> LogRun:
        probes = self._run.probes
        if not probes and not self._sent_count:
            return self._run
        first = min(probes) if self._first_number is None else self._first_number
        last = max([*probes, first - 1])
        if self._first_number is not None and self._sent_count is not None and self._sent_count > last:
            self._run.notes.append("the last probe had no reply when ping ended and is not measured")
            last = self._sent_count - 1
        for number in range(first, last + 1):
            probes.setdefault(number, LOST)
        if self._first_number is None or self._sent_count is None:
            self._run.notes.append(
                "the file does not contain a complete run, so its number of replies could not be checked"
            )
        return self._run


def _parse_icmp_error(number: int, line: str, source: str, what: str) -> LoggedProbe:
    codes = _ICMPV6_CODES if ":" in source.rpartition("(")[2] else _ICMPV4_CODES
    type_and_code = next((code for words, code in codes.items() if what.startswith(words)), None)
    if type_and_code is None:
        raise build_unknown_line_error(number, line, "ping of Linux iputils")
    return LoggedProbe(failure=Failure.UNREACHABLE, detail=type_and_code[0] * 256 + type_and_code[1])


def _build_format_error(number: int, line: str) -> ConfigError:
    for pattern, reason in _UNSUPPORTED_PROGRAMS:
        if pattern.fullmatch(line):
            return build_line_error(
                number, f"{reason}: import the output of Linux iputils or fping, or convert it to CSV"
            )
    return build_unknown_line_error(number, line, "ping of Linux iputils")
