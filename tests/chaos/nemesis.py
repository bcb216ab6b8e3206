"""Nemesis: injects faults by a seeded schedule, in two threads: one for processes and disks, one for the network.

Each pass of a thread injects every fault once, in random order; a run has at least one complete pass.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random

from leadline_agent.spool.record_format import (
    HEADER_PAGE_BYTES,
    RecordKind,
    ScannedRecord,
    parse_header,
    parse_segment_number,
    scan_records,
)
from tests.chaos.cluster import ChaosAgent, ChaosCollector, Postgres, SmallDisk, copy_database, wait_until
from tests.chaos.oracle import OracleBatch
from tests.chaos.proxy import PROXY_FAULTS, ProxyFault

#: After each restore every agent sends all batches again; more restores would only extend the run.
RESTORES_MAX = 3
#: A backlog of this duration accumulates before it is damaged.
BACKLOG_S = 0.8
#: Longest wait until a proxy fault has affected a request.
PROXY_FAULT_S_MAX = 5.0


class ChaosFault(StrEnum):
    """Fault of a process or a disk."""

    AGENT_KILL = "agent_kill"
    AGENT_TERM = "agent_term"
    AGENT_STOP = "agent_stop"
    COLLECTOR_KILL = "collector_kill"
    COLLECTOR_STOP = "collector_stop"
    #: SQLite only.
    RESTORE = "restore"
    #: PostgreSQL only.
    POSTGRES_KILL = "postgres_kill"
    BIT_FLIP = "bit_flip"
    ZERO = "zero"
    TRUNCATE = "truncate"
    SPOOL_REMOVED = "spool_removed"
    DISK_FULL = "disk_full"


_AGENT_FAULTS = frozenset(
    fault for fault in ChaosFault if fault.startswith(("agent", "bit", "zero", "trunc", "spool", "disk"))
)


@dataclass(slots=True, kw_only=True)
class FaultLog:
    """Injected faults and their effects, for the checker."""

    fired: Counter[str] = field(default_factory=Counter)
    #: Batches with destroyed bytes.
    damaged: set[OracleBatch] = field(default_factory=set)
    #: Damaged batches that were overwritten with zeros. At the end of a segment they look like an unwritten extent.
    zeroed: set[OracleBatch] = field(default_factory=set)
    restored: bool = False
    #: Acknowledged digests that were missing in the store after a crash: (fault, digests).
    missing_after_crash: list[tuple[str, set[str]]] = field(default_factory=list)
    #: Digests acknowledged before the last restore; the store may lack them until they are sent again.
    before_restore: set[str] = field(default_factory=set)


class Nemesis:
    """Injects faults into one cluster."""

    def __init__(
        self,
        *,
        agents: Sequence[ChaosAgent],
        collector: ChaosCollector,
        postgres: Postgres | None,
        disk: SmallDisk | None,
        journal: Callable[[], set[str]],
        rng: Random,
        say: Callable[[str], None],
        faults: Sequence[ChaosFault] = tuple(ChaosFault),
        proxy_faults: Sequence[ProxyFault] = PROXY_FAULTS,
    ) -> None:
        self._faults, self._proxy_faults = faults, proxy_faults
        self._is_over = threading.Event()
        self._agents, self._collector, self._postgres, self._disk = agents, collector, postgres, disk
        self._journal, self._rng, self._say = journal, rng, say
        self.fault_log = FaultLog()
        self._restores = 0
        self._error: BaseException | None = None

    @property
    def proxy_faults(self) -> Sequence[ProxyFault]:
        """Faults of the proxies."""
        return self._proxy_faults

    @property
    def faults(self) -> list[ChaosFault]:
        """Faults of processes and disks that are possible in this run."""
        unavailable = {ChaosFault.RESTORE} if self._postgres else {ChaosFault.POSTGRES_KILL}
        if self._disk is None:
            unavailable.add(ChaosFault.DISK_FULL)
        return [fault for fault in self._faults if fault not in unavailable]

    def run(self, seconds: float) -> None:
        """Inject faults for ``seconds``, at least one complete pass of each thread; afterwards all processes run."""
        network = threading.Thread(
            target=self._run_guarded, args=(self._run_network_faults, seconds, Random(self._rng.random()))
        )
        network.start()
        try:
            self._run_process_faults(time.monotonic() + seconds)
        finally:
            self._is_over.set()
            network.join()
            for agent in self._agents:
                agent.proxy.fault = ProxyFault.NONE
        if self._error is not None:
            raise self._error

    def _run_guarded(self, run_faults: Callable[..., None], *arguments: object) -> None:
        try:
            run_faults(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised again by run()
            self._error = error

    def _run_network_faults(self, seconds: float, rng: Random) -> None:
        """Inject proxy faults until the other thread has ended, so that none of them lasts for long."""
        duration_s = min(2.0, max(0.5, seconds / len(self._proxy_faults)))
        is_first = True
        while is_first or not self._is_over.is_set():
            for fault in rng.sample(self._proxy_faults, len(self._proxy_faults)):
                if is_first or not self._is_over.is_set():
                    self._inject_proxy_fault(fault, duration_s, PROXY_FAULT_S_MAX if is_first else 0.0)
            is_first = False

    def _inject_proxy_fault(self, fault: ProxyFault, seconds: float, timeout_s: float) -> None:
        """Inject a fault for ``seconds``, and then up to ``timeout_s`` until it has affected a request."""
        self._say(f"network: {fault}")
        for agent in self._agents:
            if agent.proxy.fault is not ProxyFault.BLOCKED:
                agent.proxy.fault = fault
        time.sleep(seconds)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not any(agent.proxy.fault_counts[fault] for agent in self._agents):
            time.sleep(0.1)

    def _run_process_faults(self, deadline: float) -> None:
        while True:
            for fault in self._rng.sample(self.faults, len(self.faults)):
                self._inject(fault)
                time.sleep(0.1 + 0.4 * self._rng.random())
            if time.monotonic() >= deadline:
                return

    def _inject(self, fault: ChaosFault) -> None:
        if fault is ChaosFault.RESTORE and self._restores >= RESTORES_MAX:
            return
        agent = self._choose_victim(fault)
        self._say(f"process: {fault} ({agent.name})" if fault in _AGENT_FAULTS else f"process: {fault}")
        getattr(self, f"_{fault.value}")(agent)
        self.fault_log.fired[fault] += 1

    def _choose_victim(self, fault: ChaosFault) -> ChaosAgent:
        if fault in {ChaosFault.DISK_FULL, ChaosFault.SPOOL_REMOVED}:
            return next(agent for agent in self._agents if agent.is_small is (fault is ChaosFault.DISK_FULL))
        return self._rng.choice(self._agents)

    def _agent_kill(self, agent: ChaosAgent) -> None:
        agent.process.kill()
        time.sleep(0.3 * self._rng.random())
        agent.process.start()

    def _agent_term(self, agent: ChaosAgent) -> None:
        status = agent.process.terminate()
        # -SIGTERM: the agent had not installed its handler yet.
        assert status in {0, -signal.SIGTERM}, (
            f"{agent.name} ended with {status}: {agent.process.log.read_text()[-2000:]}"
        )
        agent.process.start()

    def _agent_stop(self, agent: ChaosAgent) -> None:
        agent.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5 + self._rng.random())
        agent.process.send_signal(signal.SIGCONT)

    def _collector_kill(self, agent: ChaosAgent) -> None:
        self._collector.process.kill()
        self._check_acknowledged(ChaosFault.COLLECTOR_KILL)
        time.sleep(0.5 * self._rng.random())
        self._collector.start()

    def _collector_stop(self, agent: ChaosAgent) -> None:
        self._collector.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5 + self._rng.random())
        self._collector.process.send_signal(signal.SIGCONT)

    def _postgres_kill(self, agent: ChaosAgent) -> None:
        assert self._postgres is not None
        self._postgres.kill()
        time.sleep(0.5 * self._rng.random())
        self._postgres.start()
        self._check_acknowledged(ChaosFault.POSTGRES_KILL)

    def _restore(self, agent: ChaosAgent) -> None:
        """Copy the database while the collector is down; restore the copy after it has worked for some seconds."""
        database = Path(self._collector.database.database or "")
        backup = database.with_name("backup.sqlite")
        self._restores += 1
        self._collector.process.terminate()
        copy_database(database, backup)
        self._collector.start()
        time.sleep(1.5 + self._rng.random())
        self._collector.process.kill()
        self._check_acknowledged(ChaosFault.RESTORE)
        self.fault_log.restored = True
        self.fault_log.before_restore = self.collect_acknowledged()
        copy_database(backup, database)
        self._collector.start()

    def collect_acknowledged(self) -> set[str]:
        """Return the digests that the collector has acknowledged so far."""
        return {digest for agent in self._agents for digest in tuple(agent.proxy.acknowledged)}

    def _check_acknowledged(self, fault: ChaosFault) -> None:
        """Record acknowledged batches that are missing after a crash, even if they arrive again later."""
        expected = self.collect_acknowledged() - self.fault_log.before_restore
        if missing := expected - self._journal():
            self.fault_log.missing_after_crash.append((fault, missing))

    def _bit_flip(self, agent: ChaosAgent) -> None:
        self._damage_segment(agent, _flip)

    def _zero(self, agent: ChaosAgent) -> None:
        self._damage_segment(agent, _zero)

    def _truncate(self, agent: ChaosAgent) -> None:
        self._damage_segment(agent, _truncate)

    def _damage_segment(self, agent: ChaosAgent, damage: Callable[[bytearray, int], None]) -> None:
        """Damage the newest segment near its end, among undelivered batches, while the agent is down."""
        with self._block_network(agent):
            while True:
                agent.process.kill()
                segments = sorted(path for path in agent.spool.iterdir() if _is_filled(path))
                if segments:
                    break
                agent.process.start()
                time.sleep(BACKLOG_S)
            path = segments[-1]
            before = path.read_bytes()
            data = bytearray(before)
            damage(data, self._rng.randint(_pick_offset(before), len(data) - 1))
            path.write_bytes(data)
            lost = _read_batches(agent.name, before) - _read_batches(agent.name, bytes(data))
            self.fault_log.damaged |= lost
            self.fault_log.zeroed |= lost if damage is _zero else set()
            agent.process.start()
            time.sleep(0.3)

    def _spool_removed(self, agent: ChaosAgent) -> None:
        """Remove the spool while the agent runs. Rename it first, to read its batches.

        Only a running agent that commits again can report this loss. Otherwise only the collector's list of gaps shows
        it.
        """
        with self._block_network(agent):
            wait_until("the recovery of the spool", lambda: agent.has_recovered_spool)
            removed_spool = agent.state_dir / "spool.gone"
            agent.spool.rename(removed_spool)
            wait_until("the new spool", lambda: any(agent.spool.glob("*.seg")))
            for path in removed_spool.iterdir():
                if parse_segment_number(path.name) is not None:
                    self.fault_log.damaged |= _read_batches(agent.name, path.read_bytes())
            shutil.rmtree(removed_spool)

    def _disk_full(self, agent: ChaosAgent) -> None:
        """Fill the small disk while the network is blocked."""
        assert self._disk is not None
        with self._block_network(agent):
            self._disk.fill()
            time.sleep(1.0)
            self._disk.free()

    @contextmanager
    def _block_network(self, agent: ChaosAgent) -> Iterator[None]:
        """Block the network, so that a backlog accumulates."""
        agent.proxy.fault = ProxyFault.BLOCKED
        time.sleep(BACKLOG_S)
        try:
            yield
        finally:
            agent.proxy.fault = ProxyFault.NONE


def _is_filled(path: Path) -> bool:
    return parse_segment_number(path.name) is not None and path.stat().st_size > HEADER_PAGE_BYTES + 200


def _pick_offset(data: bytes) -> int:
    return HEADER_PAGE_BYTES + (len(data) - HEADER_PAGE_BYTES) * 3 // 4


def _flip(data: bytearray, offset: int) -> None:
    data[offset] ^= 0x10


def _zero(data: bytearray, offset: int) -> None:
    end = min(offset + 512, len(data))
    data[offset:end] = bytes(end - offset)


def _truncate(data: bytearray, offset: int) -> None:
    del data[offset:]


def _read_batches(agent: str, data: bytes) -> set[OracleBatch]:
    """Return the intact batches of a segment; none if the segment is evicted."""
    first = parse_header(data, 0)
    if first is not None and first.kind == RecordKind.LOSS_RECORDS:
        return set()
    headers = (item.header for item in scan_records(data) if isinstance(item, ScannedRecord) and item.is_intact)
    batches = (header for header in headers if header.kind == RecordKind.BATCH)
    return {OracleBatch(agent=agent, epoch=header.epoch, seq=header.seq) for header in batches}
