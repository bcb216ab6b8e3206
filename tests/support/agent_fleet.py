"""Many agents in one process: each with the product's spool, batch builder, uploader and HTTP client, in fast time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from leadline.clock import SystemClock, make_rng
from leadline.model import build_window
from leadline.wire import batch as wire
from leadline_agent.delivery.batch_builder import BatchBuilder
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.delivery.responses import BatchResponse
from leadline_agent.delivery.uploader import Uploader
from leadline_agent.identity.state_dir import Credential
from leadline_agent.probe.ipc import WindowsMessage
from leadline_agent.spool.quota import SpoolQuota
from leadline_agent.spool.spool import CommitSuccess, Spool
from leadline_agent.spool.usage import SpoolUsage
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


def derive_key(agent: str) -> str:
    """Return the key of an agent; a real key is random."""
    return f"ll_agent_{agent}_for_the_herd"


def format_agent_name(number: int) -> str:
    """Return the name of an agent."""
    return f"fra{number}"


def enrol_agents(database: Database, count: int) -> None:
    """Apply a mesh of ``count`` agents that probe one host, and add a used key for each agent."""
    agents = "".join(
        f'[[agent]]\nname = "{format_agent_name(n)}"\nsite = "fra"\naddress = "{format_agent_name(n)}.test"\n'
        for n in range(count)
    )
    store, clock = Store(database), SystemClock()
    mesh_service.apply_mesh(store, clock, (MESH + agents).encode())
    now_s = clock.wall_ns() // NS_PER_S
    with store.write() as writer:
        for agent, agent_id in mesh_store.load_agent_ids(
            writer.connection, [format_agent_name(n) for n in range(count)]
        ).items():
            sha256 = hashlib.sha256(derive_key(agent).encode()).digest()
            key_store.add_key(writer.connection, agent_id, sha256, now_s, None, None)
            key_store.confirm_first_use(writer.connection, sha256, now_s)


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


class RecordingClient(CollectorClient):
    """The product's client, with a record of its responses."""

    def __init__(self, url: str, key: str, refused: threading.Event) -> None:
        super().__init__(url, Credential(collector=url, agent="herd", site="fra", key=key))
        self.responses: list[BatchResponse] = []
        #: Set by the first response without an acknowledgement.
        self._refused = refused

    def send_batch(self, body: bytes) -> BatchResponse:
        """Send one encoded batch."""
        response = super().send_batch(body)
        self.responses.append(response)
        if response.ack is None:
            self._refused.set()
        return response


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryResult:
    """Result of the delivery of one agent's backlog."""

    responses: Sequence[BatchResponse]
    usage: SpoolUsage

    @property
    def count_stored(self) -> int:
        """Number of batches acknowledged as new."""
        return sum(response.ack is not None and not response.ack.duplicate for response in self.responses)


class FleetAgent:
    """An agent with a backlog in its spool."""

    def __init__(self, number: int, backlog: int, clock: FastClock, first_s: int) -> None:
        self._agent, self._clock = format_agent_name(number), clock
        self._spool = Spool(
            file_system=CrashingFiles(), clock=clock, make_epoch=lambda: f"{number:032x}", quota=SpoolQuota()
        )
        self._batch_builder = BatchBuilder(self._agent, self._spool, clock)
        for minute in range(backlog):
            window = build_window(first_s + MINUTE_S * minute, 1_000, dict.fromkeys(range(60), 5_000 + number), [])
            self._batch_builder.build(WindowsMessage(1, [wire.to_target_window(HOST, "192.0.2.2", window)]))
        assert isinstance(self._spool.commit(), CommitSuccess)

    def deliver_backlog(
        self, url: str, start: threading.Barrier, stop: threading.Event, refused: threading.Event
    ) -> DeliveryResult:
        """Send until the spool is empty or ``stop`` is set; set ``refused`` at a response without acknowledgement."""
        client = RecordingClient(url, derive_key(self._agent), refused)
        start.wait()
        uploader = Uploader(
            clients=[client],
            spool=self._spool,
            batch_builder=self._batch_builder,
            clock=self._clock,
            rng=make_rng(self._agent),
        )
        while not stop.is_set() and (due_ns := uploader.upload_next()) is not None:
            self._clock.sleep_until(due_ns)
        return DeliveryResult(responses=client.responses, usage=self._spool.get_usage())
