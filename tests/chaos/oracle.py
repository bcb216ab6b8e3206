"""Oracle: the promises of each agent, in an append-only file of JSON lines outside the spool.

``sealed`` is written before a batch is appended, so that batches without a promise are known too; ``accepted`` after
``commit`` returned the batch; ``acked`` when the agent regards it as delivered. A kill -9 loses no line: the page cache
survives it, and a line is one write.
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

#: Shortest iteration of the agent's main loop; prevents a busy loop with the fast clock.
TURN_S_MIN = 0.005


class OracleFile:
    """Writer of an oracle file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, kind: str, *values: object) -> None:
        """Append one line with a single write."""
        os.write(self._file, msgspec.json.encode([kind, *values]) + b"\n")


class WitnessedSpool(Spool):
    """Real spool that records its promises. ``wait`` uses real time, so timeouts are divided by ``SPEED``."""

    def __init__(self, *, oracle: OracleFile, **parameters: Any) -> None:
        self._oracle = oracle
        super().__init__(**parameters)

    def append(self, batch: PackedBatch) -> int:
        series = unpack_batch(batch.body).series
        windows = [[window.target, window.start_s, window.interval_ms] for window in series]
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
    """One window of one path."""

    agent: str
    target: str
    start_s: int
    interval_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleBatch:
    """Permanent identity of a batch."""

    agent: str
    epoch: str
    seq: int


@dataclass(slots=True, kw_only=True)
class Promises:
    """Promises of all agents."""

    #: Digest and windows of every batch that was appended to a spool.
    digests: dict[OracleBatch, str] = field(default_factory=dict)
    windows: dict[OracleBatch, list[OracleWindow]] = field(default_factory=dict)
    accepted: set[OracleBatch] = field(default_factory=set)
    acked: set[OracleBatch] = field(default_factory=set)

    @property
    def all_windows(self) -> set[OracleWindow]:
        """All windows of all batches."""
        return {window for windows in self.windows.values() for window in windows}


def read_oracle_files(files: dict[str, Path]) -> Promises:
    """Read the oracle files of the agents; ignore an incomplete last line."""
    promises = Promises()
    for agent, path in files.items():
        for line in _read_lines(path):
            _add_record(promises, agent, line)
    return promises


def _read_lines(path: Path) -> Iterator[list[Any]]:
    data = path.read_bytes() if path.exists() else b""
    for line in data[: data.rfind(b"\n") + 1].splitlines():
        yield msgspec.json.decode(line)


def _add_record(promises: Promises, agent: str, line: list[Any]) -> None:
    kind, *values = line
    if kind == "accepted":
        promises.accepted.update(OracleBatch(agent=agent, epoch=epoch, seq=seq) for epoch, seq in values[0])
        return
    batch = OracleBatch(agent=agent, epoch=values[0], seq=values[1])
    if kind == "acked":
        promises.acked.add(batch)
        return
    promises.digests[batch] = values[2]
    promises.windows[batch] = [
        OracleWindow(agent=agent, target=target, start_s=start_s, interval_ms=interval_ms)
        for target, start_s, interval_ms in values[3]
    ]
