"""The collector as a process: commands, start and stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
from sqlalchemy.engine import URL

from leadline_collector.db import schema
from tests.integration.conftest import Client


def environment(url: URL, data_dir: Path) -> dict[str, str]:
    """Return the environment of a process with the database ``url``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LEADLINE_")}
    database_url = url.render_as_string(hide_password=False)
    return inherited | {"LEADLINE_DATABASE_URL": database_url, "LEADLINE_DATA_DIR": str(data_dir)}


def run(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    """Run one command to completion."""
    return subprocess.run(
        [sys.executable, "-c", START, "collector", *args], env=env, capture_output=True, text=True, timeout=60
    )


#: Runs the CLI without an installed script.
START = "import sys; from leadline_cli.__main__ import main; sys.exit(main())"


@contextmanager
def serving(
    env: dict[str, str], prepare: Callable[[], None] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a collector on a free port and yield it with its URL; the new process calls ``prepare`` before exec."""
    command = [sys.executable, "-c", START, "collector", "serve", "--port", "0"]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=prepare
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line.startswith("listening on http://127.0.0.1:"), (line, process.poll())
            yield process, line.split()[-1]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_collector_prints_its_url_and_stops_on_a_signal(url: URL, tmp_path: Path, number: int) -> None:
    """One line on standard output once it accepts; a signal ends it with status 0, no traceback, no key in the log."""
    data_dir = tmp_path / "data"
    with serving(environment(url, data_dir)) as (process, address):
        client = Client(url=address, admin_key=(data_dir / "admin.key").read_text().strip())
        assert client.apply().status == 200
        assert client.get("/healthz")["status"] == "ok"
        client.pool.clear()

        process.send_signal(number)
        out, err = process.communicate(timeout=20)

    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
    assert "admin.key" in err
    assert client.admin_key not in err


def test_postgresql_is_migrated_by_command(empty_url: URL, tmp_path: Path) -> None:
    """An empty PostgreSQL is refused with the name of the command; SQLite starts; after migrate, both serve."""
    env = environment(empty_url, tmp_path / "data")
    if empty_url.get_backend_name() == "postgresql":
        serve = run(env, "serve", "--port", "0")
        assert (serve.returncode, "leadline collector migrate" in serve.stderr) == (2, True)
        assert len(serve.stderr.splitlines()) == 1

    migrate = run(env, "migrate")

    assert (migrate.returncode, migrate.stdout) == (0, f"schema none -> {schema.get_head_revision()}\n")
    assert run(env, "migrate").stdout == f"the schema is already at {schema.get_head_revision()}\n"
    with serving(env) as (_, address):
        assert urllib3.request("GET", f"{address}/healthz", timeout=10).status == 200


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_second_collector_on_a_file_is_refused(url: URL, tmp_path: Path) -> None:
    """It exits with status 2 and one line."""
    env = environment(url, tmp_path / "data")
    with serving(env):
        second = run(env, "serve", "--port", "0")

    assert second.returncode == 2
    assert "another collector uses" in second.stderr


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_port_in_use_is_reported(url: URL, tmp_path: Path) -> None:
    """The collector exits with status 2 and one line with the port."""
    with serving(environment(url, tmp_path / "data")) as (_, address):
        other = url.set(database=str(tmp_path / "other.sqlite"))
        second = run(environment(other, tmp_path / "other"), "serve", "--port", address.rpartition(":")[2])

    assert second.returncode == 2
    assert f"port {address.rpartition(':')[2]}" in second.stderr


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_a_public_address_without_tls_is_refused(url: URL, tmp_path: Path, host: str) -> None:
    """Every address except loopback needs TLS or a proxy; the error names the option."""
    process = run(environment(url, tmp_path / "data"), "serve", "--host", host)

    assert process.returncode == 2
    assert "--behind-proxy" in process.stderr


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_public_address_needs_a_viewer_key_or_open_reading(url: URL, tmp_path: Path) -> None:
    """The error is one line and names both options."""
    process = run(environment(url, tmp_path / "data"), "serve", "--host", "0.0.0.0", "--behind-proxy")

    assert (process.returncode, len(process.stderr.splitlines())) == (2, 1)
    assert "--viewer-key-file" in process.stderr
    assert "--open-reading" in process.stderr


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("option", ["--viewer-key-file", "--metrics-key-file"])
def test_a_missing_key_file_is_refused(url: URL, tmp_path: Path, option: str) -> None:
    """A collector never starts with less protection than configured."""
    process = run(environment(url, tmp_path / "data"), "serve", "--port", "0", option, str(tmp_path / "missing"))

    assert (process.returncode, option in process.stderr) == (2, True)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_missing_admin_key_file_is_refused(url: URL, tmp_path: Path) -> None:
    """The collector creates no other key instead."""
    env = environment(url, tmp_path / "data") | {"LEADLINE_ADMIN_KEY_FILE": str(tmp_path / "missing")}
    process = run(env, "serve", "--port", "0")

    assert (process.returncode, "LEADLINE_ADMIN_KEY_FILE" in process.stderr) == (2, True)
    assert not (tmp_path / "data" / "admin.key").exists()
