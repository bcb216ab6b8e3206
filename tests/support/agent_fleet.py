"""Many agents of one process: each with the product's spool, sealer, sending and HTTP client, in fast time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from leadline.clock import SystemClock, seeded
from leadline.model import window_of
from leadline.wire import batch as wire
from leadline_agent.delivery.batch_builder import Sealer
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.delivery.responses import Answer
from leadline_agent.delivery.uploader import Sender
from leadline_agent.identity.state_dir import Credential
from leadline_agent.probe.ipc import Sealed
from leadline_agent.spool.quota import SpoolLimits
from leadline_agent.spool.spool import Committed, Spool
from leadline_agent.spool.usage import Usage
from leadline_collector.auth import key_store
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from tests.chaos.crashing_files import CrashingFiles
from tests.chaos.fast_clock import FastClock

MINUTE_S = 60
NS_PER_S = 1_000_000_000
HOST = "ams-h1"


def key_of(agent: str) -> str:
    """The key of an agent; a real one is random."""
    return f"ll_agent_{agent}_for_the_herd"


def name(number: int) -> str:
    """The name of an agent."""
    return f"fra{number}"


def enrol_all(database: Database, count: int) -> None:
    """A mesh of ``count`` agents that probe one host, and a key in use for each of them."""
    agents = "".join(f'[[agent]]\nname = "{name(n)}"\nsite = "fra"\naddress = "{name(n)}.test"\n' for n in range(count))
    store, clock = Store(database), SystemClock()
    mesh_service.apply(store, clock, (MESH + agents).encode())
    now_s = clock.wall_ns() // NS_PER_S
    with store.write() as writer:
        for agent, number in mesh_store.load_agent_ids(writer.connection, [name(n) for n in range(count)]).items():
            sha256 = hashlib.sha256(key_of(agent).encode()).digest()
            key_store.add_key(writer.connection, number, sha256, now_s, None, None)
            key_store.use_key(writer.connection, sha256, now_s)


MESH = """
[[site]]
name = "fra"
latitude = 50.1
longitude = 8.7
[[site]]
name = "ams"
latitude = 52.3
longitude = 4.9
[[host]]
name = "ams-h1"
site = "ams"
address = "192.0.2.2"
[[group]]
name = "all"
kind = "pairs"
pairs = [["fra", "ams"]]
profiles = ["vcf9-stretched-cluster"]
"""


class WatchedClient(CollectorClient):
    """The product's client; what came back is remembered."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, Credential(collector=url, agent="herd", site="fra", key=key))
        self.answers: list[Answer] = []

    def push(self, body: bytes) -> Answer:
        """Send one packed batch."""
        answer = super().push(body)
        self.answers.append(answer)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of one agent's backlog."""

    answers: Sequence[Answer]
    usage: Usage

    @property
    def stored(self) -> int:
        """Batches the collector said that it stored now, those it had already left out."""
        return sum(answer.ack is not None and not answer.ack.duplicate for answer in self.answers)


class HerdAgent:
    """One agent with a backlog."""

    def __init__(self, number: int, backlog: int, clock: FastClock, first_s: int) -> None:
        self._agent, self._clock = name(number), clock
        self._spool = Spool(
            files=CrashingFiles(), clock=clock, make_epoch=lambda: f"{number:032x}", limits=SpoolLimits()
        )
        self._sealer = Sealer(self._agent, self._spool, clock)
        for minute in range(backlog):
            window = window_of(first_s + MINUTE_S * minute, 1_000, dict.fromkeys(range(60), 5_000 + number), [])
            self._sealer.seal(Sealed(1, [wire.series(HOST, "192.0.2.2", window)]))
        assert isinstance(self._spool.commit(), Committed)

    def deliver(self, url: str, start: threading.Barrier, stop: threading.Event) -> Delivered:
        """Send until nothing waits, or until it is told to stop."""
        client = WatchedClient(url, key_of(self._agent))
        start.wait()
        sender = Sender(
            clients=[client], spool=self._spool, sealer=self._sealer, clock=self._clock, rng=seeded(self._agent)
        )
        while not stop.is_set() and (due_ns := sender.step()) is not None:
            self._clock.sleep_until(due_ns)
        return Delivered(answers=client.answers, usage=self._spool.usage())
