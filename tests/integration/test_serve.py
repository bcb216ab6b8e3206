"""The collector as a process: its commands, its start, its end."""

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
    """The variables of a process whose database is ``url``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LEADLINE_")}
    address = url.render_as_string(hide_password=False)
    return kept | {"LEADLINE_DATABASE_URL": address, "LEADLINE_DATA_DIR": str(data_dir)}


def run(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(
        [sys.executable, "-c", START, "collector", *args], env=env, capture_output=True, text=True, timeout=60
    )


#: The command line without an installed script.
START = "import sys; from leadline_cli.__main__ import main; sys.exit(main())"


@contextmanager
def serving(
    env: dict[str, str], prepare: Callable[[], None] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A collector on a free port, and its address; ``prepare`` is what the process does before it becomes one."""
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
def test_a_collector_says_where_it_listens_and_stops_when_told(url: URL, tmp_path: Path, number: int) -> None:
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
    """A fresh PostgreSQL is refused with the command's name; SQLite just starts; after migrate, both serve."""
    env = environment(empty_url, tmp_path / "data")
    if empty_url.get_backend_name() == "postgresql":
        refused = run(env, "serve", "--port", "0")
        assert (refused.returncode, "leadline collector migrate" in refused.stderr) == (2, True)
        assert len(refused.stderr.splitlines()) == 1

    migrated = run(env, "migrate")

    assert (migrated.returncode, migrated.stdout) == (0, f"schema none -> {schema.get_head_revision()}\n")
    assert run(env, "migrate").stdout == f"the schema is at {schema.get_head_revision()} already\n"
    with serving(env) as (_, address):
        assert urllib3.request("GET", f"{address}/healthz", timeout=10).status == 200


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_second_collector_on_a_file_is_refused(url: URL, tmp_path: Path) -> None:
    """One line, status 2."""
    env = environment(url, tmp_path / "data")
    with serving(env):
        second = run(env, "serve", "--port", "0")

    assert second.returncode == 2
    assert "another collector uses" in second.stderr


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_taken_port_is_named(url: URL, tmp_path: Path) -> None:
    """One line with the port, status 2."""
    with serving(environment(url, tmp_path / "data")) as (_, address):
        other = url.set(database=str(tmp_path / "other.sqlite"))
        second = run(environment(other, tmp_path / "other"), "serve", "--port", address.rpartition(":")[2])

    assert second.returncode == 2
    assert f"port {address.rpartition(':')[2]}" in second.stderr


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_an_open_address_without_tls_is_refused(url: URL, tmp_path: Path, host: str) -> None:
    """Binding anything but loopback needs TLS or a proxy in front; the line says so."""
    refused = run(environment(url, tmp_path / "data"), "serve", "--host", host)

    assert refused.returncode == 2
    assert "--behind-proxy" in refused.stderr


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_open_address_does_not_let_everybody_read_by_accident(url: URL, tmp_path: Path) -> None:
    """Without a viewer key and without --open-reading it is refused, in one line that names both ways."""
    refused = run(environment(url, tmp_path / "data"), "serve", "--host", "0.0.0.0", "--behind-proxy")

    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "--viewer-key-file" in refused.stderr
    assert "--open-reading" in refused.stderr


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("option", ["--viewer-key-file", "--metrics-key-file"])
def test_a_key_file_that_is_not_there_is_refused(url: URL, tmp_path: Path, option: str) -> None:
    """A collector never starts more open than it was told to be."""
    refused = run(environment(url, tmp_path / "data"), "serve", "--port", "0", option, str(tmp_path / "missing"))

    assert (refused.returncode, option in refused.stderr) == (2, True)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_admin_key_file_that_is_not_there_is_refused(url: URL, tmp_path: Path) -> None:
    """A given key is used or nothing: none is made in its stead."""
    env = environment(url, tmp_path / "data") | {"LEADLINE_ADMIN_KEY_FILE": str(tmp_path / "missing")}
    refused = run(env, "serve", "--port", "0")

    assert (refused.returncode, "LEADLINE_ADMIN_KEY_FILE" in refused.stderr) == (2, True)
    assert not (tmp_path / "data" / "admin.key").exists()
