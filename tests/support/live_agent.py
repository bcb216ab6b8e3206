"""An agent as its command puts it together, in a thread of the test: real spool, real HTTP, an hour in 15 seconds.

Its promises are written down by the chaos checker's oracle, so that every test can ask the one question: is each batch
that was accepted in the journal, or still in the spool?
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import select

from leadline.clock import seeded
from leadline.wire import batch as wire
from leadline_agent.agent import AgentLoop
from leadline_agent.delivery.batch_builder import Sealer, unpack
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.delivery.uploader import Sender
from leadline_agent.identity.state_dir import AgentState, Credential
from leadline_agent.probe.dns import Resolver, resolve
from leadline_agent.spool.filesystem import DirectoryFiles
from leadline_agent.spool.index import BatchId
from leadline_agent.spool.quota import SpoolLimits
from leadline_collector.db import tables
from leadline_collector.db.transactions import Store
from tests.chaos.fast_clock import FastClock
from tests.chaos.oracle import OracleFile, WitnessedSpool, read
from tests.chaos.spool_oracle import waiting

PATIENCE_S = 30.0


class LiveAgent:
    """Agent fra1, from ``start`` to ``stop``."""

    def __init__(
        self,
        directory: Path,
        url: str,
        key: str,
        clock: FastClock,
        *,
        look_up: Callable[[str], str | None] = resolve,
        command: Sequence[str] = (),
        files: DirectoryFiles | None = None,
        make_epoch: Callable[[], str] = lambda: secrets.token_hex(16),
        client: type[CollectorClient] = CollectorClient,
    ) -> None:
        self.directory, self.clock = directory, clock
        self.state = AgentState(directory)
        if not (directory / "credential.json").exists():
            self.state.save_credential(Credential(collector=url, agent="fra1", site="fra", key=key))
        self.spool = WitnessedSpool(
            oracle=OracleFile(directory / "oracle"),
            files=files or DirectoryFiles(directory / "spool"),
            clock=clock,
            make_epoch=make_epoch,
            limits=SpoolLimits(bytes_max=8 << 20, segment_bytes=64 << 10, memory_bytes_max=1 << 20, free_bytes_min=0),
        )
        rng = seeded(1)
        sealer = Sealer("fra1", self.spool, clock)
        self.sender = Sender(
            clients=[client(url, self.state.load_credential())], spool=self.spool, sealer=sealer, clock=clock, rng=rng
        )
        start_s = clock.wall_ns() // 10**9
        self.loop = AgentLoop(
            agent="fra1",
            site="fra",
            sender=self.sender,
            sealer=sealer,
            spool=self.spool,
            state=self.state,
            clock=clock,
            rng=rng,
            probe_command=command or [sys.executable, "-m", "tests.support.in_memory_prober", str(start_s)],
            resolver=Resolver(look_up),
        )
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="agent")

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error

    def start(self) -> LiveAgent:
        """Run the loop."""
        self._thread.start()
        return self

    @property
    def runs(self) -> bool:
        """Whether the loop has not ended."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Tell it to end, and see that it does."""
        self.loop.stop()
        self.wait()
        assert self.error is None, self.error

    def wait(self) -> None:
        """Return when it has ended."""
        self._thread.join(PATIENCE_S)
        assert not self.runs, "the loop does not end"

    def accepted(self) -> set[BatchId]:
        """What it promised so far."""
        return {BatchId(one.epoch, one.seq) for one in read({"fra1": self.directory / "oracle"}).accepted}

    def lost(self, store: Store) -> set[BatchId]:
        """What it promised and what is neither in the journal nor, now that it has ended, in its spool."""
        spool = self.reopened()
        left = {one.id for one in waiting(spool)}
        spool.close()
        return self.accepted() - set(journal(store)) - left

    def reopened(self) -> WitnessedSpool:
        """The spool of an agent that has ended."""
        return WitnessedSpool(
            oracle=OracleFile(self.directory / "oracle"),
            files=DirectoryFiles(self.directory / "spool"),
            clock=self.clock,
            make_epoch=lambda: secrets.token_hex(16),
            limits=SpoolLimits(),
        )


def journal(store: Store) -> dict[BatchId, wire.Batch]:
    """Every batch the collector has."""
    with store.read() as reader:
        bodies = list(reader.connection.execute(select(tables.batch.c.body)))
    batches = [unpack(bytes(body)) for (body,) in bodies]
    return {BatchId(batch.epoch, batch.seq): batch for batch in batches}


def until(true: Callable[[], object], what: str = "it") -> None:
    """Return when ``true()`` is."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come within {PATIENCE_S:g} s"
        time.sleep(0.02)
