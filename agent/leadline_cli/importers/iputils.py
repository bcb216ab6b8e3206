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
from leadline_cli.importers.parse_errors import address_in, not_understood, wrong
from leadline_cli.importers.samples import LOST, Outcome, Reading, Run, reply, resolution_us

_STAMP = r"(?:\[(?P<stamp>\d+(?:\.\d+)?)\] )?"
_HEAD = re.compile(
    r"PING (?P<host>\S+?) ?\((?P<address>\S+)\) (?:from .*: )?(?:\d+\(\d+\) bytes of data\.|\d+ data bytes)"
)
_REPLY = re.compile(
    _STAMP + r"\d+ bytes from (?P<from>.+?): icmp_seq=(?P<seq>\d+)(?: ident=\d+)? ttl=\d+"
    r"(?P<time> time=(?P<ms>[\d.]+) ms)?(?P<again> \(DUP!\))?(?: \(DIFFERENT ADDRESS!\))?"
)
_NO_ANSWER = re.compile(_STAMP + r"no answer yet for icmp_seq=(?P<seq>\d+)")
_ERROR = re.compile(_STAMP + r"From (?P<from>.+?):? icmp_seq=(?P<seq>\d+) (?P<what>.+)")
_TOTAL = re.compile(r"(\d+) packets transmitted, (\d+) received(?:, .*)?")
_BESIDE = re.compile(r"(?:\^C)?--- .* ping statistics ---|rtt min/.*|pipe \d+.*|WARNING: .*|ping: sendmsg: .*|\^C|\s*")
#: Other programs by what only they print, and why they are not read.
_WINDOWS = re.compile(r"Pinging .*|Reply from .*: bytes=.*|Antwort von .*|Ping wird .*")
_BSD = re.compile(r"PING .*: \d+ data bytes|Request timeout for icmp_seq .*|round-trip .*|.* bytes from .*: seq=\d+ .*")
_STRANGERS = (
    (_WINDOWS, "ping of Windows prints whole milliseconds and no times"),
    (_BSD, "ping of BSD, macOS or busybox counts and stamps otherwise"),
)
SEQUENCES: Final = 1 << 16
#: Seventeen minutes at one a second, ten seconds at the shortest interval.
BACK_MAX: Final = 1_024
#: Type and code of the ICMP errors by their words (RFC 792, RFC 1812; RFC 4443 for IPv6).
_CODES_4 = {
    "Destination Net Unreachable": (3, 0), "Destination Host Unreachable": (3, 1),
    "Destination Protocol Unreachable": (3, 2), "Destination Port Unreachable": (3, 3),
    "Frag needed and DF set": (3, 4), "Source Route Failed": (3, 5), "Destination Net Unknown": (3, 6),
    "Destination Host Unknown": (3, 7), "Destination Net Prohibited": (3, 9), "Destination Host Prohibited": (3, 10),
    "Packet filtered": (3, 13), "Time to live exceeded": (11, 0), "Frag reassembly time exceeded": (11, 1),
}  # fmt: skip
_CODES_6 = {
    "Destination unreachable: No route": (1, 0), "Destination unreachable: Administratively prohibited": (1, 1),
    "Destination unreachable: Beyond scope of source address": (1, 2),
    "Destination unreachable: Address unreachable": (1, 3), "Destination unreachable: Port unreachable": (1, 4),
    "Packet too big": (2, 0), "Time exceeded: Hop limit": (3, 0), "Time exceeded: Defragmentation failure": (3, 1),
}  # fmt: skip


def read(lines: Iterable[str]) -> Reading:
    """The probes in the output of ping; ConfigError names the line that is wrong."""
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        reader.take(number, line.rstrip("\r\n"))
    return reader.reading()


class _Reader:
    def __init__(self) -> None:
        self._runs: list[_Open] = []
        self._resolution_us: int | None = None

    def take(self, number: int, line: str) -> None:
        if found := _REPLY.fullmatch(line):
            if found["time"] is None:
                raise wrong(number, "has no time: ping measures one only with 16 bytes of payload or more (-s)")
            self._resolution_us = max(self._resolution_us or 0, resolution_us(found["ms"]))
            self._run(number, found["from"]).reply(number, int(found["seq"]), reply(found["ms"], found["stamp"]))
        elif found := _HEAD.fullmatch(line):
            self._runs.append(_Open(found["host"], address_in(found["address"]), first=1))
        elif found := _NO_ANSWER.fullmatch(line):
            self._run(number, None).failed(int(found["seq"]), LOST)
        elif found := _ERROR.fullmatch(line):
            self._run(number, None).failed(int(found["seq"]), _unreachable(number, line, found["from"], found["what"]))
        elif found := _TOTAL.fullmatch(line):
            self._run(number, None).total(number, int(found[1]), int(found[2]))
        elif not _BESIDE.fullmatch(line):
            raise _stranger(number, line)

    def _run(self, line: int, host: str | None) -> _Open:
        """The run that a line belongs to; one without its head if the file begins in the middle."""
        if not self._runs or self._runs[-1].is_over:
            if host is None:
                raise wrong(line, "comes before the first reply and without the line PING that says of which host")
            self._runs.append(_Open(host, address_in(host), first=None))
        return self._runs[-1]

    def reading(self) -> Reading:
        runs = [one.run() for one in self._runs]
        return Reading(runs=runs, resolution_us=self._resolution_us)


class _Open:
    """A run that is being read."""

    def __init__(self, host: str, address: str | None, first: int | None) -> None:
        self._run = Run(host=host, address=address)
        #: Number of the first probe that left; None where the file does not begin with it.
        self._first = first
        self._latest = 1 if first is None else first
        #: What ping says it sent; None without its last lines.
        self._sent: int | None = None
        self.is_over = False
        self._has_any = False
        #: Number and time of the first and of the latest reply with a time.
        self._begun: tuple[int, int] | None = None
        self._heard = (0, 0)

    def reply(self, line: int, seq: int, outcome: Outcome) -> None:
        number = self._number(seq)
        if outcome.at_us is not None:
            self._check_silence(line, number, outcome.at_us)
        before = self._run.outcomes.get(number)
        if before is not None and before.rtt_us is not None:
            outcome = before._replace(duplicates=before.duplicates + 1)
        self._run.outcomes[number] = outcome

    def failed(self, seq: int, outcome: Outcome) -> None:
        """A reply wins over what was said before or after it; an ICMP error over "no answer yet"."""
        number = self._number(seq)
        before = self._run.outcomes.get(number)
        if before is None or (before == LOST and outcome != LOST):
            self._run.outcomes[number] = outcome

    def _number(self, seq: int) -> int:
        if not self._has_any and self._first is None:
            self._latest = seq
        self._has_any = True
        step = (seq - self._latest) % SEQUENCES
        number = self._latest + (step - SEQUENCES if step >= SEQUENCES - BACK_MAX else step)
        self._latest = max(self._latest, number)
        return number

    def _check_silence(self, line: int, number: int, at_us: int) -> None:
        """Compare how far the numbers and how far the times have gone since the latest reply."""
        if self._begun is None:
            self._begun = self._heard = (number, at_us)
            return
        (first, first_us), (before, before_us) = self._begun, self._heard
        if before > first and (at_us - before_us) * (before - first) > (number - before + SEQUENCES // 2) * (
            before_us - first_us
        ):
            raise wrong(line, "comes after a silence in which icmp_seq may have gone round: cut the file before it")
        self._heard = max(self._heard, (number, at_us))

    def total(self, line: int, sent: int, received: int) -> None:
        self.is_over = True
        self._sent = sent
        found = sum(one.rtt_us is not None for one in self._run.outcomes.values())
        if self._first is not None and found != received:
            raise wrong(line, f"ping counted {received} replies and the file has {found}: lines are missing from it")

    def run(self) -> Run:
        outcomes = self._run.outcomes
        if not outcomes and not self._sent:
            return self._run
        first = min(outcomes) if self._first is None else self._first
        last = max([*outcomes, first - 1])
        if self._first is not None and self._sent is not None and self._sent > last:
            self._run.notes.append("the last probe had no answer when ping ended: not measured")
            last = self._sent - 1
        for number in range(first, last + 1):
            outcomes.setdefault(number, LOST)
        if self._first is None or self._sent is None:
            self._run.notes.append("the file has not all of a run: its count of replies could not be checked")
        return self._run


def _unreachable(number: int, line: str, source: str, what: str) -> Outcome:
    codes = _CODES_6 if ":" in source.rpartition("(")[2] else _CODES_4
    known = next((code for words, code in codes.items() if what.startswith(words)), None)
    if known is None:
        raise not_understood(number, line, "ping of Linux iputils")
    return Outcome(failure=Failure.UNREACHABLE, detail=known[0] * 256 + known[1])


def _stranger(number: int, line: str) -> ConfigError:
    for pattern, reason in _STRANGERS:
        if pattern.fullmatch(line):
            return wrong(number, f"{reason}: import what Linux iputils or fping wrote, or make a CSV of it")
    return not_understood(number, line, "ping of Linux iputils")
