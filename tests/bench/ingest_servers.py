"""Servers of the ingest benchmark: a collector on either database, and VictoriaMetrics, each in its own process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from sqlalchemy import create_engine, func, select
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from leadline.clock import SystemClock
from leadline_collector.auth import key_store
from leadline_collector.auth.secrets import SecretKind, generate_secret, hash_secret
from leadline_collector.db import schema, tables
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh import store as mesh_store
from tests.support import postgres

START_S_MAX = 60
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True, kw_only=True)
class IngestServer:
    """A running server that accepts POSTs."""

    name: str
    port: int
    path: str
    #: Root processes; their CPU time, with that of their children, is the cost of the samples.
    pids: Sequence[int]
    #: Data directory, for the bytes on disk.
    data: Path
    #: Key by agent; empty if the server needs none.
    keys: Mapping[str, str]
    #: Returns the number of stored samples.
    count_stored: Callable[[], int]

    def read_cpu_s(self) -> float:
        """Return user and system time of all processes so far."""
        return sum(_read_process_cpu_s(pid) for root in self.pids for pid in _list_process_tree(root))

    def disk_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.data.rglob("*") if path.is_file())


def _read_process_cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(int(value) for value in fields[11:15]) / TICKS


def _list_process_tree(root: int) -> list[int]:
    try:
        children = Path(f"/proc/{root}/task/{root}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [root, *(pid for child in children for pid in _list_process_tree(int(child)))]


@contextmanager
def run_collector(kind: str, agents: Sequence[str]) -> Iterator[IngestServer]:
    """Start a collector on a new durable database, with a mesh of these agents, one per site, all enrolled."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"leadline-bench-{kind}-")))
        if kind == "sqlite":
            url, pids, data = URL.create("sqlite", database=str(home / "leadline.sqlite")), [], home
        else:
            server = stack.enter_context(postgres.run_server(durable=True))
            url = postgres.create_database(server, "bench")
            socket_dir = Path(str(server.query["host"]))
            pids, data = [int((socket_dir / "data" / "postmaster.pid").read_text().split()[0])], socket_dir / "data"
        keys = _prepare_database(url, agents)
        process = stack.enter_context(_start_collector(home, url))
        assert process.stdout is not None
        port = _parse_announced_port(process.stdout.readline())
        yield IngestServer(
            name=f"leadline, {kind}",
            port=port,
            path="/api/v1/batches",
            pids=[process.pid, *pids],
            data=data,
            keys=keys,
            count_stored=partial(_count_received, url),
        )


def _count_received(url: URL) -> int:
    # Not with ``Database``: the collector's process has its lock.
    target = url.set(database=f"file:{url.database}?mode=ro", query={"uri": "true"}) if "sqlite" in str(url) else url
    engine = create_engine(target, poolclass=NullPool)
    with engine.connect() as connection:
        return int(connection.execute(select(func.sum(tables.window_stat.c.received))).scalar_one())


def _count_rows(port: int) -> int:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=START_S_MAX) as response:
        lines = response.read().decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith("vm_rows_inserted_total{"))


def _prepare_database(url: URL, agents: Sequence[str]) -> dict[str, str]:
    """Create schema, mesh and a key for every agent without the API: enrolment is not part of the benchmark."""
    database, keys = Database(url), {agent: generate_secret(SecretKind.AGENT_KEY) for agent in agents}
    try:
        schema.upgrade(database)
        store = Store(database)
        mesh_service.apply_mesh(store, SystemClock(), build_mesh(agents).encode())
        with store.write() as writer:
            for agent, number in mesh_store.load_agent_ids(writer.connection, agents).items():
                key_store.add_key(writer.connection, number, hash_secret(keys[agent]), 1, None, None)
                # The first use of a key is a separate transaction, once per key: not part of the benchmark either.
                key_store.confirm_first_use(writer.connection, hash_secret(keys[agent]), 1)
    finally:
        database.close()
    return keys


def build_mesh(agents: Sequence[str]) -> str:
    sites = [
        f'[[site]]\nname = "{name}"\nlatitude = {40 + n % 20}\nlongitude = {n % 180}\n' for n, name in enumerate(agents)
    ]
    hosts = [
        f'[[agent]]\nname = "{name}"\nsite = "{name}"\naddress = "10.0.{n // 250}.{n % 250 + 1}"\n'
        for n, name in enumerate(agents)
    ]
    group = f'[[group]]\nname = "all"\nkind = "full-mesh"\nsites = [{", ".join(f"{name!r}" for name in agents)}]\n'
    return 'profiles = ["vcf9-stretched-cluster"]\n' + "\n".join([*sites, *hosts, group])


@contextmanager
def _start_collector(home: Path, url: URL) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "leadline_cli", "collector", "serve", "--port", "0", "--data-dir", str(home)]
    environment = os.environ | {"LEADLINE_DATABASE_URL": url.render_as_string(hide_password=False)}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment, text=True)
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _parse_announced_port(line: str) -> int:
    urls = [word for word in line.split() if "://" in word]
    if not urls:
        raise RuntimeError(f"the collector did not start: {line!r}")
    return int(urls[0].rstrip("/").rpartition(":")[2])


@contextmanager
def run_victoria() -> Iterator[IngestServer]:
    """Start the packaged VictoriaMetrics with its defaults on a new data directory."""
    with tempfile.TemporaryDirectory(prefix="leadline-bench-victoria-") as directory:
        port = _find_free_port()
        command = ["victoria-metrics", f"-storageDataPath={directory}/data", f"-httpListenAddr=127.0.0.1:{port}"]
        # The default retention is one month; the samples of the benchmark have fixed dates.
        command.append("-retentionPeriod=100y")
        with Path(directory, "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, text=True)
        try:
            _wait_until_accepting(port)
            yield IngestServer(
                name="VictoriaMetrics",
                port=port,
                path="/api/v1/import",
                pids=[process.pid],
                data=Path(directory, "data"),
                keys={},
                count_stored=partial(_count_rows, port),
            )
        finally:
            _stop(process)


def has_victoria() -> bool:
    return shutil.which("victoria-metrics") is not None


def _find_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until_accepting(port: int) -> None:
    deadline = time.monotonic() + START_S_MAX
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
