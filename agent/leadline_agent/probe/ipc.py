"""Messages between the two processes of an agent, as length-prefixed MessagePack over a pipe.

Both ends run the same version on the same host, so the format has no version and is no wire contract.
"""

from __future__ import annotations

import struct
from typing import IO, TypeVar

import msgspec
from msgspec import Struct, field

from leadline.model import ProbeSettings
from leadline.wire.batch import TargetWindow
from leadline_agent.probe.counters import ProberCounters

_LENGTH = struct.Struct(">I")
#: 10,000 targets with 6,000 slots take 300 MB. A larger message is a bug.
MESSAGE_BYTES_MAX = 512 << 20

MessageT = TypeVar("MessageT")


class TargetMessage(Struct, frozen=True, array_like=True):
    """A target of a plan; ``address`` is an IP literal, or None if the name has no address."""

    name: str
    address: str | None
    source: str | None
    settings: ProbeSettings


class PlanMessage(Struct, frozen=True, array_like=True):
    """All targets to probe from the next whole minute; the first plan starts at once."""

    mesh_version: int
    targets: list[TargetMessage]


class WindowsMessage(Struct, frozen=True, array_like=True):
    """Complete windows of one mesh version, and the counters of the prober."""

    mesh_version: int
    windows: list[TargetWindow]
    counters: ProberCounters = field(default_factory=ProberCounters)
    #: Targets of the plan that the policy refuses.
    targets_refused: int = 0


def write_message(stream: IO[bytes], message: Struct) -> None:
    """Write one message and flush the stream."""
    data = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def read_message(stream: IO[bytes], message_type: type[MessageT]) -> MessageT | None:
    """Read the next message; None at the end of the stream, also in the middle of a message."""
    header = _read_exactly(stream, _LENGTH.size)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    assert length <= MESSAGE_BYTES_MAX, f"a message of {length} bytes"
    data = _read_exactly(stream, length)
    return None if data is None else msgspec.msgpack.decode(data, type=message_type)


def _read_exactly(stream: IO[bytes], size: int) -> bytes | None:
    """Read exactly ``size`` bytes from a stream that may be unbuffered; None if it ends before."""
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(size - len(data))
        if not chunk:
            return None
        data += chunk
    return bytes(data)
