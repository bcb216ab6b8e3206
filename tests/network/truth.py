"""Truth log of the emulator: one record per frame. Tests compare with it instead of the configured delay.

Fields that end in ``_ns`` alone are kernel timestamps on CLOCK_REALTIME: arrival of the frame in W and its release from
W. Fields that end in ``_mono_ns`` are the same times on CLOCK_MONOTONIC, by the offset that W samples. Compute
differences from these: a step of the wall clock does not affect them.
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
    """What the emulator did with a frame."""

    #: Sent on the other side.
    PASS = 0
    #: Dropped.
    DROP = 1
    #: The copy of a frame; the original has its own record with the same ``order``.
    DUPLICATE = 2
    #: Dropped; its sender got an ICMP error, released at ``released_ns``.
    ERROR = 3
    #: The kernel refused to send it, for example because the interface of the other side is down.
    REFUSED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """One frame that arrived in W and its treatment; a duplicated frame has two records."""

    #: Number of the frame over both directions, in the order W received them; unique except for duplicates.
    order: int
    direction: Direction
    action: FrameAction
    #: Without the Ethernet header.
    length_bytes: int
    #: None for non-IP frames.
    src: str | None
    dst: str | None
    protocol: int | None
    #: None without a complete ICMP header.
    icmp_type: int | None
    icmp_code: int | None
    #: Only of an echo request or reply, else None.
    icmp_id: int | None
    icmp_sequence: int | None
    #: Only of an echo with at least 16 bytes of payload, else None.
    cookie: int | None
    index: int | None
    arrived_ns: int
    arrived_mono_ns: int
    #: None for a frame that was not sent.
    released_ns: int | None
    released_mono_ns: int | None
    #: Planned release by the rules.
    due_mono_ns: int

    @property
    def residence_ns(self) -> int | None:
        """Real time of the frame in W; None for a frame that was not sent."""
        return None if self.released_mono_ns is None else self.released_mono_ns - self.arrived_mono_ns

    @property
    def lateness_ns(self) -> int | None:
        """Real minus planned release; None for a frame that was not sent."""
        return None if self.released_mono_ns is None else self.released_mono_ns - self.due_mono_ns

    @property
    def is_request(self) -> bool:
        return self.icmp_type == (ECHO_REQUEST if self.protocol == ICMP else ECHO_REQUEST_V6)

    @property
    def is_reply(self) -> bool:
        return self.icmp_type == (ECHO_REPLY if self.protocol == ICMP else ECHO_REPLY_V6)


@dataclass(frozen=True, slots=True)
class ProbeKey:
    """Identity of a probe; ``src`` and ``dst`` are those of the request."""

    src: str
    dst: str
    cookie: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueRtt:
    """Round trip of one probe at W, from the arrival of the request in W to the release of the reply."""

    request: FrameRecord
    reply: FrameRecord
    rtt_ns: int
    #: From the release of the request to the arrival of the reply: the far side and two veth hops. Part of ``rtt_ns``.
    turnaround_ns: int


def compute_true_rtts(log: Iterable[FrameRecord]) -> dict[ProbeKey, TrueRtt]:
    """Return the true RTT of every probe with a released reply, by (src, dst, cookie, index) of the request.

    The true RTT is residence of the request in W, plus turnaround of B between the release of the request and the
    arrival of the reply, plus residence of the reply in W. The sum is the release of the reply minus the arrival of the
    request.

    It does not include the veth hop from the sender's TX timestamp to W and the hop from W to its RX timestamp, about 1
    µs together with kernel timestamps. They are part of the error of the sender.

    Of several requests with one key the first arrival counts; of several replies the first release counts, as a prober
    uses the first reply and counts the others as duplicates. Probes without a released reply are left out.
    """
    requests: dict[ProbeKey, FrameRecord] = {}
    replies: dict[ProbeKey, FrameRecord] = {}
    forwarded: dict[ProbeKey, FrameRecord] = {}
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
            _keep_first_released(forwarded, key, frame)
        else:
            _keep_first_released(replies, key, frame)
    return {
        key: _build_true_rtt(requests[key], forwarded[key], reply) for key, reply in replies.items() if key in requests
    }


def _build_probe_key(frame: FrameRecord) -> ProbeKey | None:
    if frame.src is None or frame.dst is None or frame.cookie is None or frame.index is None:
        return None
    src, dst = (frame.src, frame.dst) if frame.is_request else (frame.dst, frame.src)
    return ProbeKey(src, dst, frame.cookie, frame.index)


def _keep_first_released(frames: dict[ProbeKey, FrameRecord], key: ProbeKey, frame: FrameRecord) -> None:
    current = frames.get(key)
    if current is None or (frame.released_mono_ns or 0) < (current.released_mono_ns or 0):
        frames[key] = frame


def _build_true_rtt(arrived: FrameRecord, forwarded: FrameRecord, reply: FrameRecord) -> TrueRtt:
    assert forwarded.released_mono_ns is not None
    assert reply.released_mono_ns is not None
    return TrueRtt(
        request=arrived,
        reply=reply,
        rtt_ns=reply.released_mono_ns - arrived.arrived_mono_ns,
        turnaround_ns=reply.arrived_mono_ns - forwarded.released_mono_ns,
    )


def parse_log(log: bytes) -> list[FrameRecord]:
    """Return the records of a log in the order of writing: a frame is logged when it is sent or dropped."""
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
