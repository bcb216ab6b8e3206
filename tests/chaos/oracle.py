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

from leadline_agent.delivery.batch_builder import unpack_batch
from leadline_agent.spool.index import BatchId, PackedBatch
from leadline_agent.spool.spool import CommitFailure, CommitSuccess, Spool
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
        windows = [[one.target, one.start_s, one.interval_ms] for one in unpack_batch(batch.body).series]
        self._oracle.write("sealed", *batch.id, hashlib.sha256(batch.body).hexdigest(), windows)
        return super().append(batch)

    def commit(self) -> CommitSuccess | CommitFailure:
        return self._record_result(super().commit())

    def close(self) -> CommitSuccess | CommitFailure:
        return self._record_result(super().close())

    def _record_result(self, result: CommitSuccess | CommitFailure) -> CommitSuccess | CommitFailure:
        if isinstance(result, CommitSuccess) and result.accepted_ids:
            self._oracle.write("accepted", result.accepted_ids)
        return result

    def ack(self, batch_id: BatchId) -> bool:
        self._oracle.write("acked", *batch_id)
        return super().ack(batch_id)

    def wait(self, timeout_s: float) -> None:
        super().wait(max(timeout_s / SPEED, TURN_S_MIN))


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleWindow:
    """One minute of one path."""

    agent: str
    target: str
    start_s: int
    interval_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleBatch:
    """A batch, for ever."""

    agent: str
    epoch: str
    seq: int


@dataclass(slots=True, kw_only=True)
class Promises:
    """All that the agents said."""

    #: Digest and windows of every batch that was ever given to a spool.
    digests: dict[OracleBatch, str] = field(default_factory=dict)
    windows: dict[OracleBatch, list[OracleWindow]] = field(default_factory=dict)
    accepted: set[OracleBatch] = field(default_factory=set)
    acked: set[OracleBatch] = field(default_factory=set)

    @property
    def sealed_windows(self) -> set[OracleWindow]:
        """Every window that was ever sealed."""
        return {place for places in self.windows.values() for place in places}


def read_oracle_files(files: dict[str, Path]) -> Promises:
    """The oracle files of the agents; a last line that is not whole was never written."""
    told = Promises()
    for agent, path in files.items():
        for line in _read_lines(path):
            _add_record(told, agent, line)
    return told


def _read_lines(path: Path) -> Iterator[list[Any]]:
    data = path.read_bytes() if path.exists() else b""
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        yield msgspec.json.decode(line)


def _add_record(told: Promises, agent: str, line: list[Any]) -> None:
    what, *facts = line
    if what == "accepted":
        told.accepted.update(OracleBatch(agent=agent, epoch=epoch, seq=seq) for epoch, seq in facts[0])
        return
    name = OracleBatch(agent=agent, epoch=facts[0], seq=facts[1])
    if what == "acked":
        told.acked.add(name)
        return
    told.digests[name] = facts[2]
    told.windows[name] = [
        OracleWindow(agent=agent, target=target, start_s=start_s, interval_ms=interval_ms)
        for target, start_s, interval_ms in facts[3]
    ]
