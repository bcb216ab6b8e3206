"""The services of docker-compose.yml as processes, in its order: the same commands, variables and files, no Docker.

Differences from containers: addresses (loopback), paths, and the amount of simulated history. Isolation and images are
tested in tests/contract/test_compose.py and test_images.py; test_containers.py runs the file with an engine.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
import urllib3
from sqlalchemy.engine import URL

from leadline.errors import LeadlineError
from leadline_agent.probe.icmp import SocketKind, open_socket
from leadline_agent.probe.transport import SocketKey
from tests.support import postgres
from tests.support.compose import ROOT, Document, get_container_command, load_compose

pytestmark = [pytest.mark.source_tree, pytest.mark.slow, pytest.mark.timeout(400)]

PLACE = "/srv/leadline"
#: The minute in which the agents start, the minute that they measure, sealing and sending.
MEASURED_S = 240


def may_send_echoes() -> bool:
    """Return True if this host permits ICMP echoes."""
    try:
        open_socket(SocketKey(ip_version=4), b"leadline", (SocketKind.DATAGRAM, SocketKind.RAW)).close()
    except LeadlineError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Directories, database and port of the services on this host."""

    directory: Path
    server: URL
    port: int
    document: Document

    def here(self, text: str) -> str:
        """Replace paths and addresses of the file by those of this machine."""
        socket_directory = self.server.query["host"]
        for original, local in (
            ("./deploy/compose/mesh.toml", f"{self.directory}/mesh.toml"),
            (f"{PLACE}/mesh.toml", f"{self.directory}/mesh.toml"),
            (PLACE, str(self.directory)),
            ("@database/leadline", f"@/leadline?host={socket_directory}"),
            ("http://collector:8427", f"http://127.0.0.1:{self.port}"),
        ):
            text = text.replace(original, local)
        replacements = {"0.0.0.0": "127.0.0.1", "8427": str(self.port), "28": "2", "3d": "1h"}
        return replacements.get(text, text)

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment variables of a service."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LEADLINE_")}
        variables = self.document["services"][name].get("environment", {})
        path = {"PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}"}
        return inherited | {variable: self.here(value) for variable, value in variables.items()} | path

    def command(self, name: str) -> list[str]:
        """Return the command of a service."""
        return [self.here(word) for word in get_container_command(self.document["services"][name])]

    def run(self, name: str) -> str:
        """Run a one-shot service to its end; return its output."""
        process = subprocess.run(
            self.command(name), env=self.environment(name), capture_output=True, text=True, timeout=200, cwd="/"
        )
        assert process.returncode == 0, (name, process.stdout, process.stderr)
        return process.stdout

    @contextmanager
    def running(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a long-running service for the duration of the block."""
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(name), env=self.environment(name), stdout=log, stderr=log, cwd="/", start_new_session=True
            )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def is_healthy(self, name: str) -> bool:
        """Return True if the health check of a service passes."""
        test = self.document["services"][name]["healthcheck"]["test"]
        environment = self.environment(name) | {"LEADLINE_COLLECTOR_URL": f"http://127.0.0.1:{self.port}"}
        return subprocess.run(test[1:], env=environment, capture_output=True, timeout=30).returncode == 0

    def wait_for(self, name: str, seconds: float) -> None:
        """Wait until a service is healthy."""
        deadline = time.monotonic() + seconds
        while not self.is_healthy(name):
            assert time.monotonic() < deadline, (self.directory / f"{name}.log").read_text()
            time.sleep(0.5)

    def connect(self, user: str, password: str) -> psycopg.Connection[Any]:
        """Connect to the database as this user."""
        return psycopg.connect(host=str(self.server.query["host"]), dbname="leadline", user=user, password=password)


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Iterator[Machine]:
    """Prepare the services with a temporary PostgreSQL server."""
    if os.environ.get(postgres.SERVER_ENV_VAR):
        pytest.skip(f"{postgres.SERVER_ENV_VAR} is set; this test changes the authentication of its server")
    if not may_send_echoes():
        pytest.skip("no permission to send ICMP echoes")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with postgres.run_server() as server:
        machine = Machine(directory=tmp_path, server=server, port=port, document=load_compose())
        prepare(machine)
        yield machine


def prepare(machine: Machine) -> None:
    """Create the directories of the image, the mounted mesh file, and ``leadline`` on the path."""
    for name in ("database", "reader", "grafana", "administration", "left", "right", "bin"):
        (machine.directory / name).mkdir(mode=0o750)
    mesh = (ROOT / "deploy/compose/mesh.toml").read_text(encoding="utf-8")
    addresses = mesh.replace('"agent-left"', '"127.0.1.1"').replace('"agent-right"', '"127.0.2.1"')
    (machine.directory / "mesh.toml").write_text(addresses, encoding="utf-8")
    program = machine.directory / "bin" / "leadline"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m leadline_cli "$@"\n')
    program.chmod(0o755)


def set_up_database(machine: Machine) -> None:
    """Set up user, database and password like the PostgreSQL image does with its POSTGRES_ variables."""
    settings = machine.environment("database")
    password = Path(settings["POSTGRES_PASSWORD_FILE"]).read_text().strip()
    with psycopg.connect(postgres.build_conninfo(machine.server), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {settings['POSTGRES_USER']} SUPERUSER LOGIN PASSWORD '{password}'")
        connection.execute(f"CREATE DATABASE {settings['POSTGRES_DB']} OWNER {settings['POSTGRES_USER']}")
        (file,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        text = Path(file).read_text()
        Path(file).write_text(f"local all postgres trust\nlocal all all scram-sha-256\n{text}")
        connection.execute("SELECT pg_reload_conf()")


def get(machine: Machine, path: str) -> Any:
    """Get a JSON document from the collector."""
    with urllib3.PoolManager(retries=False, timeout=30) as pool:
        answer = pool.request("GET", f"http://127.0.0.1:{machine.port}{path}")
    assert answer.status == 200, answer.data
    return msgspec.json.decode(answer.data)


def test_the_services_work_and_can_be_started_again(machine: Machine) -> None:
    """Secrets, database, schema, login, history, collector, enrolment, agents; a second start changes nothing."""
    machine.run("secrets")
    files = {path: path.read_text() for path in machine.directory.glob("*/*") if path.parent.name != "bin"}
    assert [(len(text), path.stat().st_mode & 0o777) for path, text in files.items()] == [(44, 0o640)] * 4
    set_up_database(machine)
    with pytest.raises(psycopg.OperationalError):
        machine.connect("leadline", "wrong")
    assert "none ->" in machine.run("migrate")
    assert "grafana has this role" in machine.run("reader")
    assert "simulated" in machine.run("simulate")

    with machine.running("collector"):
        machine.wait_for("collector", 60)
        output = machine.run("enrol")
        assert ("site left" in output, "site right" in output) == (True, True)
        with machine.running("agent-left"), machine.running("agent-right"):
            machine.wait_for("agent-left", 90)
            machine.wait_for("agent-right", 90)
            matrix = get(machine, "/api/v1/matrix?profile=vsan-stretched&group=europe-simulated&from=-1d")
            assert len(matrix["pairs"]) == 12
            assert all(pair["pessimistic"]["coverage_ratio"] > 0.5 for pair in matrix["pairs"])
            assert_reader_is_read_only(machine)
            assert_restart_changes_nothing(machine, files)
            wait_until_measured(machine)
            wait_for_current_states(machine)


def assert_reader_is_read_only(machine: Machine) -> None:
    """Grafana's login can read the views and nothing else."""
    password = (machine.directory / "reader/leadline_grafana_database").read_text()
    with machine.connect("grafana", password) as connection:
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
        assert connection.execute("SELECT count(*) > 0 FROM grafana_pair_hour").fetchone() == (True,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM agent_key")


def assert_restart_changes_nothing(machine: Machine, files: dict[Path, str]) -> None:
    """A second run of the one-shot services creates no new password, schema, history or agent."""
    machine.run("secrets")
    assert {path: path.read_text() for path in files} == files
    assert "already" in machine.run("migrate")
    machine.run("reader")
    machine.run("simulate")
    assert machine.run("enrol") == ""


def wait_until_measured(machine: Machine) -> None:
    """Wait until both agents have delivered good windows that are not simulated."""
    deadline = time.monotonic() + MEASURED_S
    while True:
        matrix = get(machine, "/api/v1/matrix?profile=vsan-stretched&group=this-machine&from=-1h")
        good = [pair["pessimistic"]["good"] for pair in matrix["pairs"] if not pair["simulated"]]
        if len(good) == 2 and min(good) > 0:
            return
        assert time.monotonic() < deadline, matrix
        time.sleep(2)


def wait_for_current_states(machine: Machine) -> None:
    """Wait until Grafana's view has a current state for every pair, simulated or not."""
    password = (machine.directory / "reader/leadline_grafana_database").read_text()
    deadline = time.monotonic() + MEASURED_S
    with machine.connect("grafana", password) as connection:
        connection.autocommit = True
        while True:
            query = "SELECT count(DISTINCT (source, destination)) FROM grafana_pair_now WHERE is_current"
            if connection.execute(query).fetchone() == (18,):
                return
            assert time.monotonic() < deadline, connection.execute("SELECT * FROM grafana_pair_now").fetchall()
            time.sleep(2)
