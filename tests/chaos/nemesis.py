"""The faults, and a seeded schedule of them: two lanes at once, one for processes and disks, one for the network.

Every pass of a lane fires each of its kinds once, in an order drawn anew; a run has at least one whole pass.
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

#: Each restore has every agent send everything again: more would only make a long run longer.
RESTORES_MAX = 3
#: A backlog of this length is built up before it is damaged.
BACKLOG_S = 0.8
#: A lie waits so long for a request to touch.
PROXY_FAULT_S_MAX = 5.0


class ChaosFault(StrEnum):
    """What is done to processes and disks."""

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
    """What the nemesis did, for the checker."""

    fired: Counter[str] = field(default_factory=Counter)
    #: Batches whose bytes it destroyed.
    damaged: set[OracleBatch] = field(default_factory=set)
    #: Those of them that became zeros: at the end of a segment an extent that was never written looks the same.
    zeroed: set[OracleBatch] = field(default_factory=set)
    restored: bool = False
    #: What the store had to have at some moment and had not: (fault, digests).
    missing_after_crash: list[tuple[str, set[str]]] = field(default_factory=list)
    #: Acknowledged before the last restore: the store need not have them by itself.
    before_restore: set[str] = field(default_factory=set)


class Nemesis:
    """Does harm to one cluster."""

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
        """What the proxies are told to do."""
        return self._proxy_faults

    @property
    def faults(self) -> list[ChaosFault]:
        """What of it can be done here."""
        absent = {ChaosFault.RESTORE} if self._postgres else {ChaosFault.POSTGRES_KILL}
        if self._disk is None:
            absent.add(ChaosFault.DISK_FULL)
        return [fault for fault in self._faults if fault not in absent]

    def run(self, seconds: float) -> None:
        """Both lanes for ``seconds``, or one whole pass of each if that takes longer; then everything is up again."""
        network = threading.Thread(
            target=self._run_guarded, args=(self._network_lane, seconds, Random(self._rng.random()))
        )
        network.start()
        try:
            self._process_lane(time.monotonic() + seconds)
        finally:
            self._is_over.set()
            network.join()
            for agent in self._agents:
                agent.proxy.fault = ProxyFault.NONE
        if self._error is not None:
            raise self._error

    def _run_guarded(self, lane: Callable[..., None], *arguments: object) -> None:
        try:
            lane(*arguments)
        except BaseException as error:
            self._error = error

    def _network_lane(self, seconds: float, rng: Random) -> None:
        """Goes on until the other lane has ended, so that no lie lasts for long."""
        each_s = min(2.0, max(0.5, seconds / len(self._proxy_faults)))
        is_first = True
        while is_first or not self._is_over.is_set():
            for lie in rng.sample(self._proxy_faults, len(self._proxy_faults)):
                if is_first or not self._is_over.is_set():
                    self._inject_proxy_fault(lie, each_s, PROXY_FAULT_S_MAX if is_first else 0.0)
            is_first = False

    def _inject_proxy_fault(self, lie: ProxyFault, seconds: float, patience_s: float) -> None:
        """Lie for ``seconds``, or, with patience, until the lie has touched a request."""
        self._say(f"network: {lie}")
        for agent in self._agents:
            if agent.proxy.fault is not ProxyFault.BLOCKED:
                agent.proxy.fault = lie
        time.sleep(seconds)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and not any(agent.proxy.fault_counts[lie] for agent in self._agents):
            time.sleep(0.1)

    def _process_lane(self, deadline: float) -> None:
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
        # -SIGTERM: it had not got as far as to listen for it.
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
        """A copy is taken while the collector is down, and put back some seconds of work later."""
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
        """Digests the collector has acknowledged so far."""
        return {digest for agent in self._agents for digest in tuple(agent.proxy.acknowledged)}

    def _check_acknowledged(self, fault: ChaosFault) -> None:
        """Whatever was acknowledged must be there after a crash, whoever may heal it later."""
        promised = self.collect_acknowledged() - self.fault_log.before_restore
        if missing := promised - self._journal():
            self.fault_log.missing_after_crash.append((fault, missing))

    def _bit_flip(self, agent: ChaosAgent) -> None:
        self._damage_segment(agent, _flip)

    def _zero(self, agent: ChaosAgent) -> None:
        self._damage_segment(agent, _zero)

    def _truncate(self, agent: ChaosAgent) -> None:
        self._damage_segment(agent, _truncate)

    def _damage_segment(self, agent: ChaosAgent, harm: Callable[[bytearray, int], None]) -> None:
        """While the agent is down, near the end of its newest segment, where what is not delivered lies."""
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
            harm(data, self._rng.randint(_pick_offset(before), len(data) - 1))
            path.write_bytes(data)
            lost = _read_batches(agent.name, before) - _read_batches(agent.name, bytes(data))
            self.fault_log.damaged |= lost
            self.fault_log.zeroed |= lost if harm is _zero else set()
            agent.process.start()
            time.sleep(0.3)

    def _spool_removed(self, agent: ChaosAgent) -> None:
        """The directory goes while the agent runs. Moved first, so that it is known what was in it.

        While it starts, or killed before its next commit, it could not tell: nobody would know but the collector, which
        lists the hole.
        """
        with self._block_network(agent):
            wait_until("the agent to know its spool", lambda: agent.has_recovered_spool)
            gone = agent.state_dir / "spool.gone"
            agent.spool.rename(gone)
            wait_until("the agent to begin a new spool", lambda: any(agent.spool.glob("*.seg")))
            for path in gone.iterdir():
                if parse_segment_number(path.name) is not None:
                    self.fault_log.damaged |= _read_batches(agent.name, path.read_bytes())
            shutil.rmtree(gone)

    def _disk_full(self, agent: ChaosAgent) -> None:
        """The small disk has no byte left while nothing can be delivered either."""
        assert self._disk is not None
        with self._block_network(agent):
            self._disk.fill()
            time.sleep(1.0)
            self._disk.free()

    @contextmanager
    def _block_network(self, agent: ChaosAgent) -> Iterator[None]:
        """A backlog builds up meanwhile."""
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


def _flip(data: bytearray, at: int) -> None:
    data[at] ^= 0x10


def _zero(data: bytearray, at: int) -> None:
    end = min(at + 512, len(data))
    data[at:end] = bytes(end - at)


def _truncate(data: bytearray, at: int) -> None:
    del data[at:]


def _read_batches(agent: str, data: bytes) -> set[OracleBatch]:
    """The intact batches of a segment, unless only its tombstones are left."""
    opening = parse_header(data, 0)
    if opening is not None and opening.kind == RecordKind.LOSS_RECORDS:
        return set()
    found = (item.header for item in scan_records(data) if isinstance(item, ScannedRecord) and item.is_intact)
    return {OracleBatch(agent=agent, epoch=one.epoch, seq=one.seq) for one in found if one.kind == RecordKind.BATCH}
