"""What the two processes of an agent say to each other over a pipe: length-prefixed MessagePack.

Both ends are the same version on the same host, so this is no wire contract and has no version.
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
#: 10,000 targets of 6,000 slots would be 300 MB; a frame larger than this is a bug, not a measurement.
MESSAGE_BYTES_MAX = 512 << 20

MessageT = TypeVar("MessageT")


class TargetMessage(Struct, frozen=True, array_like=True):
    """One target as the probing process needs it; ``address`` is an IP literal, None when the name has none."""

    name: str
    address: str | None
    source: str | None
    settings: ProbeSettings


class PlanMessage(Struct, frozen=True, array_like=True):
    """Everything to be probed from the next whole minute on (the first plan: at once)."""

    mesh_version: int
    targets: list[TargetMessage]


class WindowsMessage(Struct, frozen=True, array_like=True):
    """Whole windows, all measured under one version of the mesh, and how the prober fares."""

    mesh_version: int
    windows: list[TargetWindow]
    counters: ProberCounters = field(default_factory=ProberCounters)
    #: Targets of the plan that policy left out.
    targets_refused: int = 0


def write_message(stream: IO[bytes], message: Struct) -> None:
    """Write one frame and flush it."""
    data = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def read_message(stream: IO[bytes], message_type: type[MessageT]) -> MessageT | None:
    """The next frame; None at the end of the stream, also when it ends within a frame."""
    header = _read_exactly(stream, _LENGTH.size)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    assert length <= MESSAGE_BYTES_MAX, f"a frame of {length} bytes"
    data = _read_exactly(stream, length)
    return None if data is None else msgspec.msgpack.decode(data, type=message_type)


def _read_exactly(stream: IO[bytes], size: int) -> bytes | None:
    """Exactly ``size`` bytes, from a stream that may be unbuffered; None when it ends before."""
    data = bytearray()
    while len(data) < size:
        more = stream.read(size - len(data))
        if not more:
            return None
        data += more
    return bytes(data)
