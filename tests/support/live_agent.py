"""An agent in a thread of the test: real spool, real HTTP, an hour in 15 seconds.

The chaos checker's oracle records every accepted batch, so that tests can check that each of them is in the journal or
in the spool.
"""

from __future__ import annotations

import secrets
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import select

from leadline.clock import make_rng
from leadline.wire import batch as wire
from leadline_agent.agent import AgentLoop
from leadline_agent.delivery.batch_builder import BatchBuilder, unpack_batch
from leadline_agent.delivery.collector_client import CollectorClient
from leadline_agent.delivery.uploader import Uploader
from leadline_agent.identity.state_dir import Credential, StateDirectory
from leadline_agent.probe.dns import Resolver, resolve_name
from leadline_agent.spool.filesystem import DirectoryFileSystem
from leadline_agent.spool.index import BatchId
from leadline_agent.spool.quota import SpoolQuota
from leadline_collector.db import tables
from leadline_collector.db.transactions import Store
from tests.chaos.fast_clock import FastClock
from tests.chaos.oracle import OracleFile, WitnessedSpool, read_oracle_files
from tests.chaos.spool_oracle import iter_unacked

WAIT_TIMEOUT_S = 30.0


class LiveAgent:
    """Agent fra1; runs from ``start`` to ``stop``."""

    def __init__(
        self,
        directory: Path,
        url: str,
        key: str,
        clock: FastClock,
        *,
        look_up: Callable[[str], str | None] = resolve_name,
        command: Sequence[str] = (),
        files: DirectoryFileSystem | None = None,
        make_epoch: Callable[[], str] = lambda: secrets.token_hex(16),
        client: type[CollectorClient] = CollectorClient,
    ) -> None:
        self.directory, self.clock = directory, clock
        self.state = StateDirectory(directory)
        if not (directory / "credential.json").exists():
            self.state.save_credential(Credential(collector=url, agent="fra1", site="fra", key=key))
        self.spool = WitnessedSpool(
            oracle=OracleFile(directory / "oracle"),
            file_system=files or DirectoryFileSystem(directory / "spool"),
            clock=clock,
            make_epoch=make_epoch,
            quota=SpoolQuota(bytes_max=8 << 20, segment_bytes=64 << 10, memory_bytes_max=1 << 20, free_bytes_min=0),
        )
        rng = make_rng(1)
        batch_builder = BatchBuilder("fra1", self.spool, clock)
        self.uploader = Uploader(
            clients=[client(url, self.state.load_credential())],
            spool=self.spool,
            batch_builder=batch_builder,
            clock=clock,
            rng=rng,
        )
        start_s = clock.wall_ns() // 10**9
        self.loop = AgentLoop(
            agent="fra1",
            site="fra",
            uploader=self.uploader,
            batch_builder=batch_builder,
            spool=self.spool,
            state_dir=self.state,
            clock=clock,
            rng=rng,
            prober_command=command or [sys.executable, "-m", "tests.support.in_memory_prober", str(start_s)],
            resolver=Resolver(look_up),
        )
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="agent")

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:  # noqa: BLE001 - raised again by stop()
            self.error = error

    def start(self) -> LiveAgent:
        """Start the thread."""
        self._thread.start()
        return self

    @property
    def is_running(self) -> bool:
        """True until the thread ends."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop the agent and wait for its end; raise AssertionError if it failed."""
        self.loop.stop()
        self.wait()
        assert self.error is None, self.error

    def wait(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join(WAIT_TIMEOUT_S)
        assert not self.is_running, "the loop did not end"

    def read_accepted(self) -> set[BatchId]:
        """Return the batches that the spool accepted so far."""
        accepted = read_oracle_files({"fra1": self.directory / "oracle"}).accepted
        return {BatchId(batch.epoch, batch.seq) for batch in accepted}

    def find_lost(self, store: Store) -> set[BatchId]:
        """Return accepted batches that are neither in the journal nor in the spool; call it after ``stop``."""
        spool = self.reopen_spool()
        unacked = {batch.id for batch in iter_unacked(spool)}
        spool.close()
        return self.read_accepted() - set(read_journal(store)) - unacked

    def reopen_spool(self) -> WitnessedSpool:
        """Open the spool of a stopped agent."""
        return WitnessedSpool(
            oracle=OracleFile(self.directory / "oracle"),
            file_system=DirectoryFileSystem(self.directory / "spool"),
            clock=self.clock,
            make_epoch=lambda: secrets.token_hex(16),
            quota=SpoolQuota(),
        )


def read_journal(store: Store) -> dict[BatchId, wire.Batch]:
    """Return every batch in the collector's journal."""
    with store.read() as reader:
        bodies = list(reader.connection.execute(select(tables.batch.c.body)))
    batches = [unpack_batch(bytes(body)) for (body,) in bodies]
    return {BatchId(batch.epoch, batch.seq): batch for batch in batches}


def wait_until(condition: Callable[[], object], what: str = "it") -> None:
    """Wait until ``condition()`` is true; raise AssertionError after ``WAIT_TIMEOUT_S``."""
    deadline = time.monotonic() + WAIT_TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {WAIT_TIMEOUT_S:g} s"
        time.sleep(0.02)
