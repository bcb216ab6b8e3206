"""The agent's loop against a real collector: every measured window arrives, also after faults."""

from __future__ import annotations

import errno
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.engine import URL

from leadline.clock import SystemClock, make_rng
from leadline.errors import UnavailableError
from leadline.model import Failure
from leadline.wire import batch as wire
from leadline.wire import control
from leadline_agent.agent import RESOLVE_INTERVAL_S
from leadline_agent.delivery.batch_builder import unpack_batch
from leadline_agent.delivery.collector_client import CollectorClient, RequestFailed
from leadline_agent.spool.filesystem import DirectoryFileSystem
from leadline_agent.status import read_status
from leadline_collector.db.transactions import Store
from tests.chaos.fast_clock import FastClock
from tests.chaos.oracle import read_oracle_files
from tests.chaos.proxy import Proxy, ProxyFault
from tests.chaos.spool_oracle import iter_unacked
from tests.integration.conftest import Client
from tests.integration.test_ingest import rows
from tests.support.documents import MESH
from tests.support.in_memory_prober import RTT_US
from tests.support.live_agent import LiveAgent, read_journal, wait_until

ROOT = Path(__file__).parents[2]
MINUTES = 3
PLAN = control.Plan(
    mesh_version=1,
    agent="fra1",
    site="fra",
    targets=[
        control.PlanTarget(
            name="ams1",
            site="ams",
            address="192.0.2.3",
            interval_ms=1_000,
            timeout_ms=2_000,
            payload_bytes=56,
            dscp=0,
            dont_fragment=False,
        )
    ],
)


@pytest.fixture(name="clock")
def _clock() -> FastClock:
    """Clock of agent and collector."""
    return FastClock(SystemClock().wall_ns())


@pytest.fixture(name="url")
def _url(sqlite_template: Path, tmp_path: Path) -> URL:
    """SQLite only: the database makes no difference to an agent."""
    path = tmp_path / "leadline.sqlite"
    shutil.copy(sqlite_template, path)
    return URL.create("sqlite", database=str(path))


@contextmanager
def proxy_of(client: Client) -> Iterator[Proxy]:
    """Run a proxy in front of the collector."""
    proxy = Proxy(int(client.url.rpartition(":")[2]), make_rng(1))
    try:
        yield proxy
    finally:
        proxy.fault = ProxyFault.BLOCKED
        proxy.close()


def prober(start_s: int, rtt_us: int = RTT_US) -> list[str]:
    """Return the command of an in-memory prober that starts at ``start_s``."""
    return [sys.executable, "-m", "tests.support.in_memory_prober", str(start_s), str(rtt_us)]


Agents = Callable[..., LiveAgent]


@pytest.fixture(name="agents")
def _agents(client: Client, fra1: str, clock: FastClock, tmp_path: Path) -> Iterator[Agents]:
    """Yield a factory of agents with one identity; stop them at the end."""
    created: list[LiveAgent] = []

    def make(name: str = "agent", url: str = client.url, **parts: object) -> LiveAgent:
        (tmp_path / name).mkdir(exist_ok=True)
        created.append(LiveAgent(tmp_path / name, url, fra1, clock, **parts))  # type: ignore[arg-type]
        return created[-1]

    yield make
    for agent in created:
        agent.loop.stop()
        if agent.is_running:
            agent.wait()


def whole_minutes(store: Store, target: str = "ams1") -> int:
    """Return the number of stored windows of a target with a reply to every probe."""
    return sum(row["received"] == 60 for row in rows(store, target=target))


def test_measured_windows_are_stored(agents: Agents, store: Store) -> None:
    """The plan reaches the prober, batches are built, committed and delivered, and the stop loses nothing."""
    agent = agents().start()
    wait_until(lambda: whole_minutes(store) >= MINUTES, "three minutes")
    agent.stop()

    batches = read_journal(store)
    assert agent.read_accepted()
    assert agent.find_lost(store) == set()
    windows = [window for batch in batches.values() for window in batch.series]
    assert {window.target for window in windows} == {"ams1"}
    assert {rtt for window in windows for rtt in window.rtt_us} - {None} == {RTT_US}
    starts = sorted(window.start_s for window in windows)
    assert starts == list(range(starts[0], starts[-1] + 60, 60))
    status = read_status(agent.directory)
    assert (status.agent, status.plan_version, status.targets) == ("fra1", 1, 1)


def test_an_agent_continues_with_its_stored_plan_without_a_collector(
    agents: Agents, client: Client, store: Store
) -> None:
    """It delivers its spool, including batches from before its restart, when the collector is reachable again."""
    first = agents().start()
    wait_until(lambda: whole_minutes(store) >= 1, "a minute")
    first.stop()
    with proxy_of(client) as proxy:
        proxy.fault = ProxyFault.BLOCKED
        # A directory has one credential: the second agent has the first one's, with another URL of the collector.
        second = agents(url=f"http://127.0.0.1:{proxy.port}").start()
        before = len(first.read_accepted())
        wait_until(lambda: len(second.read_accepted()) >= before + MINUTES, "three minutes without a collector")
        assert second.read_accepted() - set(read_journal(store))
        proxy.fault = ProxyFault.NONE
        wait_until(lambda: not second.read_accepted() - set(read_journal(store)), "the backlog")
        second.stop()

    assert second.find_lost(store) == set()


class PlanChangingClient(CollectorClient):
    """A client that changes the collector's plans."""

    change: Callable[[control.Plan], control.Plan] = staticmethod(lambda plan: plan)

    def fetch_plan(self, known_version: int | None) -> control.Plan | RequestFailed | None:
        # Version 0, so that the collector always sends its plan.
        result = super().fetch_plan(0)
        return type(self).change(result) if isinstance(result, control.Plan) else result


def test_an_invalid_plan_is_refused_and_the_old_one_continues(
    agents: Agents, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """An interval that does not divide a minute is logged, and probing does not stop."""

    class Changing(PlanChangingClient):
        pass

    agent = agents(client=Changing).start()
    wait_until(lambda: whole_minutes(store) >= 1, "a minute")
    wrong = [msgspec.structs.replace(PLAN.targets[0], interval_ms=7)]
    Changing.change = staticmethod(lambda plan: msgspec.structs.replace(plan, mesh_version=9, targets=wrong))
    wait_until(lambda: "invalid plan rejected" in caplog.text, "the refusal")
    before = whole_minutes(store)
    wait_until(lambda: whole_minutes(store) >= before + 2, "two minutes more")
    agent.stop()

    assert {batch.mesh_version for batch in read_journal(store).values()} == {1}


def test_a_new_mesh_is_measured_within_minutes(agents: Agents, client: Client, store: Store) -> None:
    """The acknowledgement has the new version, the agent fetches the plan and passes it to the prober."""
    agent = agents().start()
    wait_until(lambda: whole_minutes(store) >= 1, "a minute")
    more = MESH.replace("[[group]]", '[[agent]]\nname = "ams2"\nsite = "ams"\naddress = "192.0.2.4"\n\n[[group]]')
    assert client.apply(more).status == 200
    wait_until(lambda: whole_minutes(store, "ams2") >= 1, "a minute of the new target")
    agent.stop()

    assert agent.find_lost(store) == set()


@pytest.mark.parametrize(("program", "status"), [("import sys; sys.exit(3)", 3), ("import os; os.close(1)", 0)])
def test_an_agent_ends_with_an_error_if_its_prober_ends(agents: Agents, program: str, status: int) -> None:
    """The spool is unlocked, so that a service manager can start the agent again."""
    agent = agents(command=[sys.executable, "-c", program]).start()
    agent.wait()

    assert isinstance(agent.error, UnavailableError)
    assert f"ended with status {status}" in str(agent.error)
    agent.reopen_spool().close()


def test_a_prober_that_cannot_be_started_is_started_again(
    agents: Agents, store: Store, tmp_path: Path, clock: FastClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The cause may be temporary, for example no free descriptor or process."""
    program = tmp_path / "prober"
    agent = agents(command=[str(program)]).start()
    wait_until(lambda: "cannot start the prober process" in caplog.text, "the complaint")
    start_s = clock.wall_ns() // 10**9
    ready = tmp_path / "ready"
    ready.write_text(f"#!/bin/sh\nexec {sys.executable} -m tests.support.in_memory_prober {start_s}\n")
    ready.chmod(0o755)
    ready.rename(program)
    wait_until(lambda: whole_minutes(store) >= 1, "a minute")
    agent.stop()


NAMED = MESH.replace('address = "192.0.2.3"', 'address = "ams1.test"').replace(
    "[[group]]", '[[agent]]\nname = "ams2"\nsite = "ams"\naddress = "192.0.2.4"\n\n[[group]]'
)


@pytest.mark.parametrize("hangs", [False, True])
def test_an_unresolved_name_is_not_probed(
    agents: Agents, client: Client, store: Store, clock: FastClock, hangs: bool
) -> None:
    """Its slots have the reason and are no loss, other targets are probed, and it is resolved again, also after a
    lookup that hangs.
    """
    assert client.apply(NAMED).status == 200
    is_resolvable, release = threading.Event(), threading.Event()
    lookups_ns: list[int] = []

    def look_up(name: str) -> str | None:
        lookups_ns.append(clock.monotonic_ns())
        if hangs and not is_resolvable.is_set():
            release.wait(30)
        return "192.0.2.3" if is_resolvable.is_set() else None

    agent = agents(look_up=look_up).start()
    wait_until(lambda: len(rows(store)) >= 2 and whole_minutes(store, "ams2") >= 2, "two minutes of both")
    wait_until(lambda: hangs or len(lookups_ns) >= 4, "a fourth lookup")
    unresolved = rows(store)
    is_resolvable.set()
    release.set()
    wait_until(lambda: whole_minutes(store) >= 2, "two minutes of the name")
    agent.stop()

    assert {(row["sent"], row["received"]) for row in unresolved} == {(0, 0)}
    windows = [window for batch in read_journal(store).values() for window in batch.series if window.target == "ams1"]
    reasons = {miss.failure for window in windows if window.address == "unresolved" for miss in window.misses}
    # Sooner than the periodic lookup of every name.
    assert hangs or min(after - before for before, after in pairwise(lookups_ns)) < RESOLVE_INTERVAL_S * 10**9 / 2
    assert Failure.RESOLVE_ERROR in reasons
    assert not any(failure.is_loss for failure in reasons)
    assert agent.find_lost(store) == set()


class SickDisk(DirectoryFileSystem):
    """A disk on which every write fails with ``errno`` while it is set."""

    errno: int | None = None

    def _check(self) -> None:
        if self.errno is not None:
            raise OSError(self.errno, os.strerror(self.errno))

    def create(self, name: str) -> int:
        self._check()
        return super().create(name)

    def write(self, handle: int, data: bytes) -> None:
        self._check()
        super().write(handle, data)

    def fdatasync(self, handle: int) -> None:
        self._check()
        super().fdatasync(handle)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EROFS])
def test_the_loop_continues_with_a_failing_disk_and_recovers(
    agents: Agents, store: Store, tmp_path: Path, number: int
) -> None:
    """Spool, plan and status cannot be written: batches are sent from memory, and the agent keeps running."""
    (tmp_path / "agent").mkdir()
    files = SickDisk(tmp_path / "agent" / "spool")
    # Directories with the names of their temporary files make plan and status unwritable.
    obstacles = [tmp_path / "agent" / name for name in ("plan.new", "status.new")]
    for path in obstacles:
        path.mkdir()
    agent = agents(files=files)
    files.errno = number
    agent.start()
    wait_until(lambda: whole_minutes(store) >= 2, "two minutes, from memory")
    assert agent.read_accepted() == set()
    assert agent.spool.get_usage().degraded == os.strerror(number)

    files.errno = None
    for path in obstacles:
        path.rmdir()
    wait_until(agent.read_accepted, "the disk")
    wait_until((tmp_path / "agent" / "status.json").exists, "the status")
    agent.stop()
    assert agent.find_lost(store) == set()
    assert agent.spool.get_usage().degraded is None


def newest(agent: LiveAgent) -> wire.Batch:
    """Return the newest batch in the spool."""
    batch = agent.spool.find_newest()
    assert batch is not None
    body = agent.spool.read_body(batch.id)
    assert body is not None
    return unpack_batch(body)


def is_cut_short(batch: wire.Batch) -> bool:
    """Return True if the last slot of its minute was not probed."""
    return any(miss.slot == 59 for window in batch.series for miss in window.misses)


def test_the_last_windows_are_on_disk_before_a_hanging_post_ends(agents: Agents, clock: FastClock) -> None:
    """After a stop during a POST without a response, the last windows are in the spool long before the POST ends."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        agent = agents(url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        agent.state.save_plan(PLAN)
        agent.start()
        caller, _ = silent.accept()
        with caller:
            wait_until(agent.read_accepted, "a minute")
            assert not is_cut_short(newest(agent))
            agent.loop.stop()
            wait_until(lambda: is_cut_short(newest(agent)), "the last minute")
            wait_until(lambda: agent.spool.get_usage().pending == 0, "its promise")
            assert agent.is_running
        # The last attempt also gets no response; its timeout is shorter than that of others.
        agent.wait()


class AgentProcess:
    """The agent as a process, with the chaos checker's prober: twenty minutes a second."""

    def __init__(self, directory: Path, url: str, key: str, origin_ns: int) -> None:
        self.agent = LiveAgent(directory, url, key, FastClock(origin_ns))
        self.agent.spool.close()
        self.log = directory / "log"
        command = [
            sys.executable, "-m", "tests.chaos.agent_process", "--state-dir", str(directory),
            "--oracle", str(directory / "oracle"), "--origin-ns", str(origin_ns), "--quiet-file", str(directory / "no"),
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def __enter__(self) -> AgentProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def has_logged(self, text: str) -> bool:
        return text in self.log.read_text()

    def limit_descriptors(self, limit: int) -> None:
        """Refuse new descriptors from number ``limit`` on; open ones stay open."""
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (limit, hard))


#: From SIGTERM to the end: five seconds for the windows, five for sending, and time for a busy machine.
STOP_S = 15


@pytest.mark.parametrize("fault", [ProxyFault.NONE, ProxyFault.BUSY, ProxyFault.SLOW, ProxyFault.HALF_OPEN])
def test_sigterm_under_load_loses_nothing(
    client: Client, fra1: str, store: Store, tmp_path: Path, fault: ProxyFault
) -> None:
    """Twenty batches a second and a faulty network: it ends with status 0, and no accepted batch is lost."""
    with proxy_of(client) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        with AgentProcess(tmp_path, url, fra1, SystemClock().wall_ns()) as running:
            wait_until(lambda: len(running.agent.read_accepted()) >= 20, "twenty batches")
            proxy.fault = fault
            before = len(running.agent.read_accepted())
            wait_until(lambda: len(running.agent.read_accepted()) >= before + 20, "twenty more")
            running.process.send_signal(signal.SIGTERM)
            status = running.process.wait(STOP_S)

    assert status == 0, running.log.read_text()[-2_000:]
    assert running.agent.find_lost(store) == set()


def test_an_agent_without_descriptors_loses_nothing_and_recovers(
    client: Client, fra1: str, store: Store, tmp_path: Path
) -> None:
    """Posts fail, the spool keeps batches in memory, the agent keeps running; with descriptors it recovers."""
    with (
        proxy_of(client) as proxy,
        AgentProcess(tmp_path, f"http://127.0.0.1:{proxy.port}", fra1, SystemClock().wall_ns()) as running,
    ):
        wait_until(lambda: len(running.agent.read_accepted()) >= 20, "twenty batches")
        running.limit_descriptors(0)
        # Open connections still work: cut them, so that a new one needs a descriptor.
        proxy.fault = ProxyFault.BLOCKED
        wait_until(lambda: running.has_logged("[Errno 24] Too many open files"), "a post that fails")
        proxy.fault = ProxyFault.NONE
        wait_until(lambda: running.has_logged("the spool does not work"), "a segment that cannot be made")
        accepted = len(running.agent.read_accepted())
        assert running.process.poll() is None

        running.limit_descriptors(1_024)
        wait_until(lambda: running.has_logged("the spool works again"), "the spool")
        wait_until(lambda: len(running.agent.read_accepted()) > accepted, "newly accepted batches")
        running.process.terminate()
        assert running.process.wait(STOP_S) == 0

    assert running.agent.find_lost(store) == set()


def test_two_agents_cannot_share_a_spool(agents: Agents, store: Store) -> None:
    """The error of the second has the process and the remedy; the first is not affected."""
    first = agents().start()
    with pytest.raises(
        UnavailableError, match=r"is in use by process .*two agents cannot share a spool: stop the other"
    ):
        agents()
    wait_until(lambda: whole_minutes(store) >= 1, "a minute")
    first.stop()


def find_accepted_minutes(agent: LiveAgent) -> set[int]:
    """Return the minutes of the batches that the spool accepted, under any batch id."""
    oracle = read_oracle_files({"fra1": agent.directory / "oracle"})
    return {window.start_s for batch in oracle.accepted for window in oracle.windows[batch]}


def find_stored_minutes(agent: LiveAgent, store: Store, rtt_us: int) -> set[int]:
    """Return the minutes with an RTT in the journal or in the spool of the stopped agent."""
    spool = agent.reopen_spool()
    unacked = [unpack_batch(body) for entry in iter_unacked(spool) if (body := spool.read_body(entry.id)) is not None]
    spool.close()
    return {
        window.start_s
        for batch in [*read_journal(store).values(), *unacked]
        for window in batch.series
        if rtt_us in window.rtt_us
    }


def test_a_cloned_identity_loses_nothing_and_is_reported(
    agents: Agents, client: Client, store: Store, clock: FastClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine was copied with a running agent: the same key, spool and epoch. Both continue, one with a new epoch."""
    common, *own = (secrets.token_hex(16) for _ in range(3))
    first_s = clock.wall_ns() // 10**9
    with proxy_of(client) as proxy:
        proxy.fault = ProxyFault.BLOCKED
        before = agents("original", url=f"http://127.0.0.1:{proxy.port}", command=prober(first_s, 4_000))
        before.state.save_plan(PLAN)
        before.start()
        wait_until(lambda: len(before.read_accepted()) >= 2, "two batches in the spool")
        before.stop()
    shutil.copytree(tmp_path / "original", tmp_path / "copy")

    original, copy = (
        agents(name, make_epoch=iter([common, mine]).__next__, command=prober(first_s + 7_200, rtt_us))
        for name, mine, rtt_us in (("original", own[0], 4_000), ("copy", own[1], 6_000))
    )
    original.start()
    copy.start()
    wait_until(lambda: original.uploader.cloned_at_s or copy.uploader.cloned_at_s, "the conflict")
    wait_until(lambda: {batch.epoch for batch in read_journal(store).values()} & set(own), "a batch of the new epoch")
    reporter = original if original.uploader.cloned_at_s else copy
    wait_until(lambda: read_status(reporter.directory).cloned_at_s, "the status")
    original.stop()
    copy.stop()

    assert find_accepted_minutes(original) <= find_stored_minutes(original, store, 4_000)
    copied = find_accepted_minutes(before)
    assert find_accepted_minutes(copy) - copied <= find_stored_minutes(copy, store, 6_000)
    assert "another agent uses this identity" in caplog.text
    audit = client.send("GET", "/api/v1/audit", key=client.admin_key).json()["entries"]
    assert {"batch conflict"} <= {entry["what"] for entry in audit if entry["subject"] == "fra1"}
