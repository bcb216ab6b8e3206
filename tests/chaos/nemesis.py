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

from leadline_agent.spool.record_format import BLOCK_BYTES, Found, Kind, header_at, scan, segment_number
from tests.chaos.cluster import Agent, Collector, Postgres, SmallDisk, copy_database, wait_until
from tests.chaos.oracle import Name
from tests.chaos.proxy import LIES, Lie

#: Each restore has every agent send everything again: more would only make a long run longer.
RESTORES_MAX = 3
#: A backlog of this length is built up before it is damaged.
BACKLOG_S = 0.8
#: A lie waits so long for a request to touch.
LIE_S_MAX = 5.0


class Fault(StrEnum):
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


_OF_AGENTS = frozenset(fault for fault in Fault if fault.startswith(("agent", "bit", "zero", "trunc", "spool", "disk")))


@dataclass(slots=True, kw_only=True)
class Harm:
    """What the nemesis did, for the checker."""

    fired: Counter[str] = field(default_factory=Counter)
    #: Batches whose bytes it destroyed.
    damaged: set[Name] = field(default_factory=set)
    #: Those of them that became zeros: at the end of a segment an extent that was never written looks the same.
    blanked: set[Name] = field(default_factory=set)
    restored: bool = False
    #: What the store had to have at some moment and had not: (fault, digests).
    vanished: list[tuple[str, set[str]]] = field(default_factory=list)
    #: Acknowledged before the last restore: the store need not have them by itself.
    before_restore: set[str] = field(default_factory=set)


class Nemesis:
    """Does harm to one cluster."""

    def __init__(
        self,
        *,
        agents: Sequence[Agent],
        collector: Collector,
        postgres: Postgres | None,
        disk: SmallDisk | None,
        journal: Callable[[], set[str]],
        rng: Random,
        say: Callable[[str], None],
        faults: Sequence[Fault] = tuple(Fault),
        lies: Sequence[Lie] = LIES,
    ) -> None:
        self._faults, self._lies = faults, lies
        self._over = threading.Event()
        self._agents, self._collector, self._postgres, self._disk = agents, collector, postgres, disk
        self._journal, self._rng, self._say = journal, rng, say
        self.harm = Harm()
        self._restores = 0
        self._error: BaseException | None = None

    @property
    def lies(self) -> Sequence[Lie]:
        """What the proxies are told to do."""
        return self._lies

    @property
    def kinds(self) -> list[Fault]:
        """What of it can be done here."""
        absent = {Fault.RESTORE} if self._postgres else {Fault.POSTGRES_KILL}
        if self._disk is None:
            absent.add(Fault.DISK_FULL)
        return [fault for fault in self._faults if fault not in absent]

    def run(self, seconds: float) -> None:
        """Both lanes for ``seconds``, or one whole pass of each if that takes longer; then everything is up again."""
        network = threading.Thread(target=self._guarded, args=(self._network_lane, seconds, Random(self._rng.random())))
        network.start()
        try:
            self._process_lane(time.monotonic() + seconds)
        finally:
            self._over.set()
            network.join()
            for agent in self._agents:
                agent.proxy.lie = Lie.CALM
        if self._error is not None:
            raise self._error

    def _guarded(self, lane: Callable[..., None], *arguments: object) -> None:
        try:
            lane(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised again by run()
            self._error = error

    def _network_lane(self, seconds: float, rng: Random) -> None:
        """Goes on until the other lane has ended, so that no lie lasts for long."""
        each_s = min(2.0, max(0.5, seconds / len(self._lies)))
        is_first = True
        while is_first or not self._over.is_set():
            for lie in rng.sample(self._lies, len(self._lies)):
                if is_first or not self._over.is_set():
                    self._lie(lie, each_s, LIE_S_MAX if is_first else 0.0)
            is_first = False

    def _lie(self, lie: Lie, seconds: float, patience_s: float) -> None:
        """Lie for ``seconds``, or, with patience, until the lie has touched a request."""
        self._say(f"network: {lie}")
        for agent in self._agents:
            if agent.proxy.lie is not Lie.BLOCKED:
                agent.proxy.lie = lie
        time.sleep(seconds)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and not any(agent.proxy.fired[lie] for agent in self._agents):
            time.sleep(0.1)

    def _process_lane(self, deadline: float) -> None:
        while True:
            for fault in self._rng.sample(self.kinds, len(self.kinds)):
                self._fire(fault)
                time.sleep(0.1 + 0.4 * self._rng.random())
            if time.monotonic() >= deadline:
                return

    def _fire(self, fault: Fault) -> None:
        if fault is Fault.RESTORE and self._restores >= RESTORES_MAX:
            return
        agent = self._victim(fault)
        self._say(f"process: {fault} ({agent.name})" if fault in _OF_AGENTS else f"process: {fault}")
        getattr(self, f"_{fault.value}")(agent)
        self.harm.fired[fault] += 1

    def _victim(self, fault: Fault) -> Agent:
        if fault in {Fault.DISK_FULL, Fault.SPOOL_REMOVED}:
            return next(agent for agent in self._agents if agent.is_small is (fault is Fault.DISK_FULL))
        return self._rng.choice(self._agents)

    def _agent_kill(self, agent: Agent) -> None:
        agent.process.kill()
        time.sleep(0.3 * self._rng.random())
        agent.process.start()

    def _agent_term(self, agent: Agent) -> None:
        status = agent.process.terminate()
        # -SIGTERM: it had not got as far as to listen for it.
        assert status in {0, -signal.SIGTERM}, (
            f"{agent.name} ended with {status}: {agent.process.log.read_text()[-2000:]}"
        )
        agent.process.start()

    def _agent_stop(self, agent: Agent) -> None:
        agent.process.send(signal.SIGSTOP)
        time.sleep(0.5 + self._rng.random())
        agent.process.send(signal.SIGCONT)

    def _collector_kill(self, agent: Agent) -> None:
        self._collector.process.kill()
        self._audit(Fault.COLLECTOR_KILL)
        time.sleep(0.5 * self._rng.random())
        self._collector.start()

    def _collector_stop(self, agent: Agent) -> None:
        self._collector.process.send(signal.SIGSTOP)
        time.sleep(0.5 + self._rng.random())
        self._collector.process.send(signal.SIGCONT)

    def _postgres_kill(self, agent: Agent) -> None:
        assert self._postgres is not None
        self._postgres.kill()
        time.sleep(0.5 * self._rng.random())
        self._postgres.start()
        self._audit(Fault.POSTGRES_KILL)

    def _restore(self, agent: Agent) -> None:
        """A copy is taken while the collector is down, and put back some seconds of work later."""
        database = Path(self._collector.database.database or "")
        backup = database.with_name("backup.sqlite")
        self._restores += 1
        self._collector.process.terminate()
        copy_database(database, backup)
        self._collector.start()
        time.sleep(1.5 + self._rng.random())
        self._collector.process.kill()
        self._audit(Fault.RESTORE)
        self.harm.restored = True
        self.harm.before_restore = self.acknowledged()
        copy_database(backup, database)
        self._collector.start()

    def acknowledged(self) -> set[str]:
        """Digests the collector has acknowledged so far."""
        return {digest for agent in self._agents for digest in tuple(agent.proxy.acknowledged)}

    def _audit(self, fault: Fault) -> None:
        """Whatever was acknowledged must be there after a crash, whoever may heal it later."""
        promised = self.acknowledged() - self.harm.before_restore
        if missing := promised - self._journal():
            self.harm.vanished.append((fault, missing))

    def _bit_flip(self, agent: Agent) -> None:
        self._harm_segment(agent, _flip)

    def _zero(self, agent: Agent) -> None:
        self._harm_segment(agent, _zero)

    def _truncate(self, agent: Agent) -> None:
        self._harm_segment(agent, _truncate)

    def _harm_segment(self, agent: Agent, harm: Callable[[bytearray, int], None]) -> None:
        """While the agent is down, near the end of its newest segment, where what is not delivered lies."""
        with self._blocked(agent):
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
            harm(data, self._rng.randint(_last_quarter(before), len(data) - 1))
            path.write_bytes(data)
            lost = _batches(agent.name, before) - _batches(agent.name, bytes(data))
            self.harm.damaged |= lost
            self.harm.blanked |= lost if harm is _zero else set()
            agent.process.start()
            time.sleep(0.3)

    def _spool_removed(self, agent: Agent) -> None:
        """The directory goes while the agent runs. Moved first, so that it is known what was in it.

        While it starts, or killed before its next commit, it could not tell: nobody would know but the collector, which
        lists the hole.
        """
        with self._blocked(agent):
            wait_until("the agent to know its spool", lambda: agent.knows_its_spool)
            gone = agent.state_dir / "spool.gone"
            agent.spool.rename(gone)
            wait_until("the agent to begin a new spool", lambda: any(agent.spool.glob("*.seg")))
            for path in gone.iterdir():
                if segment_number(path.name) is not None:
                    self.harm.damaged |= _batches(agent.name, path.read_bytes())
            shutil.rmtree(gone)

    def _disk_full(self, agent: Agent) -> None:
        """The small disk has no byte left while nothing can be delivered either."""
        assert self._disk is not None
        with self._blocked(agent):
            self._disk.fill()
            time.sleep(1.0)
            self._disk.empty()

    @contextmanager
    def _blocked(self, agent: Agent) -> Iterator[None]:
        """A backlog builds up meanwhile."""
        agent.proxy.lie = Lie.BLOCKED
        time.sleep(BACKLOG_S)
        try:
            yield
        finally:
            agent.proxy.lie = Lie.CALM


def _is_filled(path: Path) -> bool:
    return segment_number(path.name) is not None and path.stat().st_size > BLOCK_BYTES + 200


def _last_quarter(data: bytes) -> int:
    return BLOCK_BYTES + (len(data) - BLOCK_BYTES) * 3 // 4


def _flip(data: bytearray, at: int) -> None:
    data[at] ^= 0x10


def _zero(data: bytearray, at: int) -> None:
    end = min(at + 512, len(data))
    data[at:end] = bytes(end - at)


def _truncate(data: bytearray, at: int) -> None:
    del data[at:]


def _batches(agent: str, data: bytes) -> set[Name]:
    """The intact batches of a segment, unless only its tombstones are left."""
    opening = header_at(data, 0)
    if opening is not None and opening.kind == Kind.TOMBSTONES:
        return set()
    found = (item.header for item in scan(data) if isinstance(item, Found) and item.intact)
    return {Name(agent=agent, epoch=one.epoch, seq=one.seq) for one in found if one.kind == Kind.BATCH}
