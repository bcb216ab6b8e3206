"""What the emulator really did, frame by frame: the log that tests compare with, instead of the configured delay.

Stamps ending in ``_ns`` alone are CLOCK_REALTIME, from the kernel: the arrival where the frame entered W, the release
where it left W again. Those ending in ``_mono_ns`` are the same moments on CLOCK_MONOTONIC, by the offset of the
clocks as W sampled it; differences are taken between these, so that a step of the wall clock does not spoil them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TypedDict

from tests.network.frames import (
    ECHO_REPLY,
    ECHO_REPLY_V6,
    ECHO_REQUEST,
    ECHO_REQUEST_V6,
    HEADER_BYTES_MAX,
    ICMP,
    IP_OFFSET,
    is_echo,
    parse_flow,
    parse_probe,
)
from tests.network.plan import DIRECTIONS, Direction

#: order, direction, action, length; arrival, release; due, arrival, release on the monotonic clock; head of the frame.
RECORD_FORMAT = struct.Struct(f"<QBBIqqqqq{HEADER_BYTES_MAX}s")


class FrameAction(IntEnum):
    """What was done with a frame."""

    #: It left on the other side.
    PASS = 0
    #: It was swallowed.
    DROP = 1
    #: This is the copy; the original has its own record with the same ``order``.
    DUPLICATE = 2
    #: It was swallowed and its sender got an ICMP error, released at ``released_ns``.
    ERROR = 3
    #: The kernel refused to send it on (the interface of the other side is down, say).
    REFUSED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """One frame that came to W and what became of it; a duplicated one has two records."""

    #: Counts the frames of both directions in the order W took them up; unique but for duplicates.
    order: int
    direction: Direction
    action: FrameAction
    #: Without the Ethernet header.
    length_bytes: int
    #: None where the frame is not IP.
    src: str | None
    dst: str | None
    protocol: int | None
    #: None where there is no whole ICMP header.
    icmp_type: int | None
    icmp_code: int | None
    #: None but for an echo request or reply.
    icmp_id: int | None
    icmp_sequence: int | None
    #: None but for an echo with at least 16 bytes of payload.
    cookie: int | None
    index: int | None
    arrived_ns: int
    arrived_mono_ns: int
    #: None where nothing left.
    released_ns: int | None
    released_mono_ns: int | None
    #: When the plan wanted it to leave.
    due_mono_ns: int

    @property
    def residence_ns(self) -> int | None:
        """How long the frame really stayed in W; None where nothing left."""
        return None if self.released_mono_ns is None else self.released_mono_ns - self.arrived_mono_ns

    @property
    def lateness_ns(self) -> int | None:
        """How much later than planned the frame left; None where nothing left."""
        return None if self.released_mono_ns is None else self.released_mono_ns - self.due_mono_ns

    @property
    def is_request(self) -> bool:
        return self.icmp_type == (ECHO_REQUEST if self.protocol == ICMP else ECHO_REQUEST_V6)

    @property
    def is_reply(self) -> bool:
        return self.icmp_type == (ECHO_REPLY if self.protocol == ICMP else ECHO_REPLY_V6)


@dataclass(frozen=True, slots=True)
class ProbeKey:
    """A probe as its sender knows it: ``src`` and ``dst`` are those of the request."""

    src: str
    dst: str
    cookie: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueRtt:
    """The round trip of one probe as W saw it, from the request's arrival in W to the reply's release."""

    request: FrameRecord
    reply: FrameRecord
    rtt_ns: int
    #: From the request's release to the reply's arrival: the far side and two veth hops. Part of ``rtt_ns``.
    turnaround_ns: int


def compute_true_rtts(log: Iterable[FrameRecord]) -> dict[ProbeKey, TrueRtt]:
    """The true RTT of every probe whose reply was released, by (src, dst, cookie, index) of the request.

    It is the residence of the request in W, plus the turnaround of B between the release of the request and the arrival
    of the reply, plus the residence of the reply in W; in sum: release of the reply minus arrival of the request.

    Not included, and therefore the measurer's own error: from its stamp of the send to the arrival in W, and from the
    release in W to its stamp of the receipt. Between kernel stamps these are a veth hop each, about 1 µs together.

    Of several requests with one key the first to arrive counts, of several replies the first to be released (a measurer
    takes the first and calls the others duplicates). A probe without a released reply is not in the answer.
    """
    requests: dict[ProbeKey, FrameRecord] = {}
    replies: dict[ProbeKey, FrameRecord] = {}
    passed: dict[ProbeKey, FrameRecord] = {}
    for frame in sorted(log, key=lambda frame: frame.arrived_mono_ns):
        key = _build_probe_key(frame)
        if (
            key is None
            or frame.released_mono_ns is None
            or frame.action not in (FrameAction.PASS, FrameAction.DUPLICATE)
        ):
            continue
        if frame.is_request:
            requests.setdefault(key, frame)
            _keep_first_released(passed, key, frame)
        else:
            _keep_first_released(replies, key, frame)
    return {
        key: _build_true_rtt(requests[key], passed[key], reply) for key, reply in replies.items() if key in requests
    }


def _build_probe_key(frame: FrameRecord) -> ProbeKey | None:
    if frame.src is None or frame.dst is None or frame.cookie is None or frame.index is None:
        return None
    src, dst = (frame.src, frame.dst) if frame.is_request else (frame.dst, frame.src)
    return ProbeKey(src, dst, frame.cookie, frame.index)


def _keep_first_released(kept: dict[ProbeKey, FrameRecord], key: ProbeKey, frame: FrameRecord) -> None:
    other = kept.get(key)
    if other is None or (frame.released_mono_ns or 0) < (other.released_mono_ns or 0):
        kept[key] = frame


def _build_true_rtt(arrived: FrameRecord, passed: FrameRecord, reply: FrameRecord) -> TrueRtt:
    assert passed.released_mono_ns is not None
    assert reply.released_mono_ns is not None
    return TrueRtt(
        request=arrived,
        reply=reply,
        rtt_ns=reply.released_mono_ns - arrived.arrived_mono_ns,
        turnaround_ns=reply.arrived_mono_ns - passed.released_mono_ns,
    )


def parse_log(log: bytes) -> list[FrameRecord]:
    """The records of a log, in the order they were written: a frame is logged when it leaves or is swallowed."""
    return list(_iter_records(log))


def _iter_records(log: bytes) -> Iterator[FrameRecord]:
    for fields in RECORD_FORMAT.iter_unpack(log):
        order, direction, action, length, arrived, released, due, arrived_mono, released_mono, padded = fields
        yield FrameRecord(
            order=order,
            direction=DIRECTIONS[direction],
            action=FrameAction(action),
            length_bytes=length,
            arrived_ns=arrived,
            arrived_mono_ns=arrived_mono,
            released_ns=released or None,
            released_mono_ns=released_mono or None,
            due_mono_ns=due,
            **_parse_headers(padded[: IP_OFFSET + length]),
        )


class _FrameHeaders(TypedDict):
    src: str | None
    dst: str | None
    protocol: int | None
    icmp_type: int | None
    icmp_code: int | None
    icmp_id: int | None
    icmp_sequence: int | None
    cookie: int | None
    index: int | None


def _parse_headers(head: bytes) -> _FrameHeaders:
    flow = parse_flow(head)
    at = flow.icmp_offset
    identity = struct.unpack_from(">HH", head, at + 4) if is_echo(head, flow) else (None, None)
    cookie, index = parse_probe(head, flow) or (None, None)
    return {
        "src": _format_address(flow.src),
        "dst": _format_address(flow.dst),
        "protocol": flow.protocol if flow.src else None,
        "icmp_type": head[at] if at else None,
        "icmp_code": head[at + 1] if at else None,
        "icmp_id": identity[0],
        "icmp_sequence": identity[1],
        "cookie": cookie,
        "index": index,
    }


@lru_cache(maxsize=65_536)
def _format_address(packed: bytes) -> str | None:
    if not packed:
        return None
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
