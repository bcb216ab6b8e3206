"""Processes of a chaos run (agents, collector, PostgreSQL): start, kill and restart by process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
from sqlalchemy.engine import URL

from leadline.wire import codec, control
from leadline_agent.delivery.collector_client import enrol_agent
from leadline_agent.identity.state_dir import Credential, StateDirectory
from tests.chaos.proxy import Proxy
from tests.chaos.variants import Variant
from tests.support import postgres

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 15.0
#: File that an agent writes after it has recovered its spool.
OPENED = "opened"
STOP_TIMEOUT_S = 20.0
#: A list of ten thousand gaps is slow on a host that also runs all other processes.
REQUEST_TIMEOUT_S = 60.0
#: One slot every 5 s: twelve per window, so that windows are cheap.
MESH_TAIL = '[[group]]\nname = "all"\nkind = "full-mesh"\nsites = [{sites}]\n[probe]\ninterval = "5s"\n'


def wait_until(description: str, condition: Any, seconds: float = START_TIMEOUT_S) -> None:
    """Return once ``condition()`` is true. Raise RuntimeError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{description} did not come within {seconds:g} s")
        time.sleep(0.02)


class ManagedProcess:
    """Process that can be killed and restarted."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command, self.log = list(command), log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it must not be running."""
        assert self._process is None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=log, stderr=log)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL, which also ends a stopped process, and wait."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self) -> int:
        """Send SIGTERM and return the exit status; kill the process if it hangs."""
        assert self._process is not None
        self._process.terminate()
        try:
            status = self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL
        self._process = None
        return status

    @property
    def pid(self) -> int | None:
        """Process id; None while it is down."""
        return None if self._process is None else self._process.pid

    @property
    def exit_status(self) -> int | None:
        """Exit status of a process that ended unexpectedly; None while it runs, or after ``kill`` or ``terminate``."""
        return None if self._process is None else self._process.poll()


@dataclass(slots=True, kw_only=True)
class ChaosAgent:
    """Agent process, its proxy and its files."""

    name: str
    process: ManagedProcess
    proxy: Proxy
    state_dir: Path
    oracle_path: Path
    #: True if the spool is on a separate small file system.
    is_small: bool

    @property
    def spool(self) -> Path:
        return self.state_dir / "spool"

    @property
    def has_recovered_spool(self) -> bool:
        """Whether the current process has recovered its spool."""
        opened = self.state_dir / OPENED
        return opened.exists() and opened.read_text() == str(self.process.pid)


class ChaosCollector:
    """Collector process on a fixed port."""

    def __init__(self, home: Path, database: URL | None, variant: Variant, origin_ns: int) -> None:
        self.port, self.data_dir = find_free_port(), home / "collector"
        self.data_dir.mkdir()
        self.database = database or URL.create("sqlite", database=str(self.data_dir / "leadline.sqlite"))
        url = [] if database is None else ["--database-url", postgres.build_conninfo(database)]
        self.process = ManagedProcess(
            [
                sys.executable, "-m", "tests.chaos.collector_process", "--data-dir", str(self.data_dir), *url,
                "--port", str(self.port), "--origin-ns", str(origin_ns), "--variant", variant,
            ],
            home / "collector.log",
        )  # fmt: skip

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the collector and wait until it responds."""
        self.process.start()
        wait_until("the collector", self._is_accepting)

    def _is_accepting(self) -> bool:
        if self.process.exit_status is not None:
            raise RuntimeError(f"the collector ended:\n{self.process.log.read_text()[-2000:]}")
        # The socket listens before the collector is ready.
        with suppress(urllib3.exceptions.HTTPError):
            return urllib3.request("GET", f"{self.url}/healthz", timeout=1.0, retries=False).status == 200
        return False

    def send_admin_request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send a request with the administrator's key; return the body of the response."""
        key = (self.data_dir / "admin.key").read_text().strip()
        kind = "application/json" if body.startswith(b"{") else "application/toml"
        headers = {"Authorization": f"Bearer {key}", "Content-Type": kind}
        response = urllib3.request(
            method, self.url + path, body=body or None, headers=headers, retries=False, timeout=REQUEST_TIMEOUT_S
        )
        assert response.status == 200, response.data
        return response.data


class Postgres:
    """Durable PostgreSQL server; ``kill`` ends all its processes at once."""

    def __init__(self, home: Path) -> None:
        self._identity = postgres._choose_identity(home)
        self._home, self._data = home, home / "data"
        self._binaries = postgres._find_binaries(home, self._identity)
        initdb: list[str | Path] = [
            self._binaries / "initdb",
            "-D",
            self._data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
        ]
        subprocess.run(
            [*initdb, "--locale=C", "--no-sync"], check=True, cwd=home, stdout=subprocess.DEVNULL, **self._identity
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.server = URL.create(
            "postgresql+psycopg", username="postgres", database="postgres", query={"host": str(home)}
        )

    def start(self) -> None:
        """Start the server and wait until it responds."""
        settings = [*postgres.DURABLE_SETTINGS, "wal_writer_delay=10s"]
        options = [word for setting in settings for word in ("-c", setting)]
        command: list[str | Path] = [self._binaries / "postgres", "-D", self._data, "-k", self._home, *options]
        with (self._home / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=self._home, stdout=log, stderr=log, **self._identity)
        self._process = process
        postgres._wait_until_ready(self.server, process, self._home / "log")

    def kill(self) -> None:
        """Send SIGKILL to the server and all its processes, so that none of them writes pending data."""
        assert self._process is not None
        children = _list_children(self._process.pid)
        self._process.send_signal(signal.SIGSTOP)
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process = None
        wait_until(
            "the end of PostgreSQL's processes", lambda: not any(Path(f"/proc/{pid}").exists() for pid in children)
        )

    def checkpoint(self) -> None:
        """Make all data durable, including commits of a broken variant."""
        postgres._execute(self.server, "CHECKPOINT")

    def stop(self) -> None:
        """Stop the server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None


def _list_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def find_free_port() -> int:
    """Return a port that is currently free."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def build_mesh(agents: Sequence[str]) -> str:
    """Return a full mesh of sites with one agent each, as TOML."""
    sites = [
        f'[[site]]\nname = "{name}"\nlatitude = {40 + n}\nlongitude = 8\n'
        f'[[agent]]\nname = "{name}-a1"\nsite = "{name}"\naddress = "192.0.2.{n + 1}"\n'
        for n, name in enumerate(agents)
    ]
    tail = MESH_TAIL.format(sites=", ".join(f'"{name}"' for name in agents))
    return 'profiles = ["vcf9-stretched-cluster"]\n' + "".join(sites) + tail


def enrol_chaos_agent(collector: ChaosCollector, site: str, proxy: Proxy, state_dir: Path) -> None:
    """Enrol the agent of a site; its credential contains the URL of the proxy."""
    response = collector.send_admin_request("POST", "/api/v1/tokens", codec.encode(control.TokenRequest(site=site)))
    token = codec.decode(response, control.TokenResponse).token
    enrolment = enrol_agent(collector.url, token, None)
    state_dir.mkdir()
    credential = Credential(
        collector=f"http://127.0.0.1:{proxy.port}", agent=enrolment.agent, site=enrolment.site, key=enrolment.key
    )
    StateDirectory(state_dir).save_credential(credential)


@dataclass(slots=True)
class SmallDisk:
    """tmpfs of a few hundred kilobytes on a directory; needs root."""

    path: Path
    kib: int
    is_mounted: bool = field(default=False)

    def mount(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.kib}k", "leadline-chaos", self.path], check=True)
        self.is_mounted = True

    def unmount(self) -> None:
        if self.is_mounted:
            subprocess.run(["umount", "-l", self.path], check=True)
            self.is_mounted = False

    def fill(self) -> None:
        """Use up all free space."""
        with suppress(OSError), (self.path / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4_096))

    def free(self) -> None:
        """Release the space used by ``fill``."""
        (self.path / "ballast").unlink(missing_ok=True)


def copy_database(source: Path, target: Path) -> None:
    """Copy the files of a SQLite database, which must not be open for writing."""
    for suffix in ("", "-wal", "-shm"):
        target_file, source_file = (path.with_name(path.name + suffix) for path in (target, source))
        target_file.unlink(missing_ok=True)
        if source_file.exists():
            shutil.copyfile(source_file, target_file)
