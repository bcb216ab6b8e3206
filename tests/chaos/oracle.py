"""What an agent promised, written down outside of it: an append-only file of JSON lines for each agent.

``sealed`` is written before the spool takes a batch in, so that a batch of which nothing is promised is known as well;
``accepted`` after ``commit`` returned it; ``acked`` when the agent takes it for delivered. A kill -9 loses no line: the
page cache survives it, and a line is one write.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from leadline_agent.delivery.batch_builder import unpack
from leadline_agent.spool.index import BatchId, PackedBatch
from leadline_agent.spool.spool import Committed, NotDurable, Spool
from tests.chaos.fast_clock import SPEED

#: A turn of the agent's loop lasts no less: hours in seconds must not become a busy loop.
TURN_S_MIN = 0.005


class OracleFile:
    """The writing end."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, what: str, *facts: object) -> None:
        """One line, in one write."""
        os.write(self._file, msgspec.json.encode([what, *facts]) + b"\n")


class WitnessedSpool(Spool):
    """The real spool, its promises written down. Waits for its own lock in real time, so those are shortened."""

    def __init__(self, *, oracle: OracleFile, **parameters: Any) -> None:
        self._oracle = oracle
        super().__init__(**parameters)

    def append(self, batch: PackedBatch) -> int:
        windows = [[one.target, one.start_s, one.interval_ms] for one in unpack(batch.body).series]
        self._oracle.write("sealed", *batch.id, hashlib.sha256(batch.body).hexdigest(), windows)
        return super().append(batch)

    def commit(self) -> Committed | NotDurable:
        return self._witnessed(super().commit())

    def close(self) -> Committed | NotDurable:
        return self._witnessed(super().close())

    def _witnessed(self, result: Committed | NotDurable) -> Committed | NotDurable:
        if isinstance(result, Committed) and result.accepted:
            self._oracle.write("accepted", result.accepted)
        return result

    def ack(self, batch: BatchId) -> bool:
        self._oracle.write("acked", *batch)
        return super().ack(batch)

    def wait(self, timeout_s: float) -> None:
        super().wait(max(timeout_s / SPEED, TURN_S_MIN))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One minute of one path."""

    agent: str
    target: str
    start_s: int
    interval_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A batch, for ever."""

    agent: str
    epoch: str
    seq: int


@dataclass(slots=True, kw_only=True)
class Told:
    """All that the agents said."""

    #: Digest and windows of every batch that was ever given to a spool.
    digests: dict[Name, str] = field(default_factory=dict)
    windows: dict[Name, list[Place]] = field(default_factory=dict)
    accepted: set[Name] = field(default_factory=set)
    acked: set[Name] = field(default_factory=set)

    @property
    def places(self) -> set[Place]:
        """Every window that was ever sealed."""
        return {place for places in self.windows.values() for place in places}


def read(files: dict[str, Path]) -> Told:
    """The oracle files of the agents; a last line that is not whole was never written."""
    told = Told()
    for agent, path in files.items():
        for line in _lines(path):
            _take(told, agent, line)
    return told


def _lines(path: Path) -> Iterator[list[Any]]:
    data = path.read_bytes() if path.exists() else b""
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        yield msgspec.json.decode(line)


def _take(told: Told, agent: str, line: list[Any]) -> None:
    what, *facts = line
    if what == "accepted":
        told.accepted.update(Name(agent=agent, epoch=epoch, seq=seq) for epoch, seq in facts[0])
        return
    name = Name(agent=agent, epoch=facts[0], seq=facts[1])
    if what == "acked":
        told.acked.add(name)
        return
    told.digests[name] = facts[2]
    told.windows[name] = [
        Place(agent=agent, target=target, start_s=start_s, interval_ms=interval_ms)
        for target, start_s, interval_ms in facts[3]
    ]
