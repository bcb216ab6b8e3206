"""Backup of a running collector, restore, and what agents do to fill the hole."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from leadline.errors import ConfigError, UnavailableError
from leadline_collector.config import CollectorConfig
from leadline_collector.db.backup import create_backup, restore_backup
from leadline_collector.server.serve import open_store, serve_in_thread
from tests.integration.conftest import Client
from tests.integration.test_serve import environment, run, serving
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_batch, build_steady_window

only_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)

MINUTES = 40


def minute(number: int) -> int:
    """Start of the n-th minute."""
    return NOW_S - 86_400 + 60 * number


def stored(file: Path) -> tuple[int, int]:
    """Batches and windows in a database file."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return tuple(
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("batch", "window_stat")
        )


@only_sqlite
def test_a_backup_of_a_running_collector_is_one_moment(client: Client, fra1: str, url: URL, tmp_path: Path) -> None:
    """While batches come in, each is in the copy with its window or not at all; the collector never refuses."""
    statuses: list[int] = []

    def send() -> None:
        for number in range(MINUTES):
            document = build_batch(("ams1", build_steady_window(4_900, minute(number))), seq=number)
            statuses.append(client.post(document, fra1).status)

    sender = threading.Thread(target=send)
    sender.start()
    copies: list[Path] = []
    while sender.is_alive() or not copies:
        copies.append(tmp_path / f"copy{len(copies)}.sqlite")
        create_backup(url, copies[-1])
    sender.join()

    assert statuses == [200] * MINUTES
    counts = [stored(copy) for copy in copies]
    assert all(batches == windows for batches, windows in counts)
    assert counts == sorted(counts)
    assert not list(tmp_path.glob("copy*.part")) + list(tmp_path.glob("copy*-wal"))
    assert copies[0].stat().st_mode & 0o777 == 0o600


@only_sqlite
def test_a_restored_collector_is_refilled_without_doubles(
    config: CollectorConfig, clock: FakeClock, tmp_path: Path
) -> None:
    """Keys, mesh and what was stored are back; batches of before and after the backup, sent again, are stored once."""
    file, copy = Path(str(config.database.database)), tmp_path / "copy.sqlite"
    documents = [build_batch(("ams1", build_steady_window(4_900, minute(number))), seq=number) for number in range(6)]
    with open_store(config) as store, serve_in_thread(config, store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        client.apply()
        key = client.key("fra1", "fra")
        for number, document in enumerate(documents):
            if number == 3:
                create_backup(config.database, copy)
            assert client.post(document, key).status == 200
        client.pool.clear()

    replaced = restore_backup(config.database, copy, 7)

    assert (stored(file), stored(replaced or file)) == ((3, 3), (6, 6))
    with open_store(config) as store, serve_in_thread(config, store, clock) as url:
        client = Client(url=url, admin_key=client.admin_key)
        answers = [client.post(document, key).json()["duplicate"] for document in documents * 2]
        assert client.apply().json() == {"version": 1, "changed": False, "sites": 2, "agents": 3, "pairs": 2}
        client.pool.clear()
    assert answers == [True] * 3 + [False] * 3 + [True] * 6
    assert stored(file) == (6, 6)


@only_sqlite
def test_a_restore_does_not_touch_the_database_of_a_running_collector(client: Client, url: URL, tmp_path: Path) -> None:
    """The lock is in the way, and nothing was moved."""
    copy = tmp_path / "copy.sqlite"
    create_backup(url, copy)
    before = sorted(path.name for path in Path(str(url.database)).parent.iterdir())

    with pytest.raises(UnavailableError, match="another collector uses"):
        restore_backup(url, copy, 7)

    assert sorted(path.name for path in Path(str(url.database)).parent.iterdir()) == before
    assert client.send("GET", "/readyz").status == 200


@only_sqlite
def test_a_log_that_a_crash_left_does_not_meet_the_restored_file(
    config: CollectorConfig, clock: FakeClock, tmp_path: Path
) -> None:
    """A collector killed with commits in its log: the log goes aside with its database; both are whole."""
    file, copy, killed = Path(str(config.database.database)), tmp_path / "copy.sqlite", tmp_path / "killed"
    killed.mkdir()
    create_backup(config.database, copy)
    with open_store(config) as store, serve_in_thread(config, store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        client.apply()
        # What a kill leaves: the files as they are in the middle of it.
        for path in file.parent.glob("leadline.sqlite*"):
            shutil.copy(path, killed / path.name)
        client.pool.clear()
    crashed = config.database.set(database=str(killed / file.name))
    assert (killed / f"{file.name}-wal").stat().st_size > 0

    replaced = restore_backup(crashed, copy, 7)

    assert replaced is not None
    assert sorted(path.name for path in killed.glob("*-wal")) == [f"{replaced.name}-wal"]
    with closing(sqlite3.connect(killed / file.name)) as connection:
        assert connection.execute("SELECT count(*) FROM mesh_version").fetchone() == (0,)
    with closing(sqlite3.connect(replaced)) as connection:
        assert connection.execute("SELECT count(*) FROM mesh_version").fetchone() == (1,)


@only_sqlite
def test_a_backup_after_a_crash_holds_what_the_log_holds(client: Client, url: URL, tmp_path: Path) -> None:
    """No collector runs, its last commits are only in the log: they are in the copy."""
    client.apply()
    file, killed = Path(str(url.database)), tmp_path / "killed"
    killed.mkdir()
    for ending in ("", "-wal"):
        shutil.copy(f"{file}{ending}", killed / f"{file.name}{ending}")

    create_backup(url.set(database=str(killed / file.name)), tmp_path / "copy.sqlite")

    with closing(sqlite3.connect(tmp_path / "copy.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM mesh_version").fetchone() == (1,)


@only_sqlite
@pytest.mark.parametrize("content", [b"", b"no database at all" * 1_000])
def test_what_is_no_backup_is_not_restored(url: URL, tmp_path: Path, content: bytes) -> None:
    """The database stays, and nothing half lies about."""
    file = tmp_path / "wrong.sqlite"
    file.write_bytes(content)

    with pytest.raises(UnavailableError, match="no database of a collector"):
        restore_backup(url, file, 7)

    assert stored(Path(str(url.database))) == (0, 0)
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob("*.restoring"))


@only_sqlite
def test_a_backup_of_a_newer_collector_is_not_restored(url: URL, tmp_path: Path) -> None:
    """It would only fail later, at the start."""
    copy = tmp_path / "copy.sqlite"
    create_backup(url, copy)
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(UnavailableError, match="newer"):
        restore_backup(url, copy, 7)


@only_sqlite
def test_a_backup_overwrites_nothing(url: URL, tmp_path: Path) -> None:
    """The file that is there may be the only good one."""
    file = tmp_path / "there"
    file.write_text("precious")

    with pytest.raises(ConfigError, match="already there"):
        create_backup(url, file)

    assert file.read_text() == "precious"


@only_sqlite
def test_a_damaged_database_is_not_backed_up_in_silence(url: URL, tmp_path: Path) -> None:
    """A page of nonsense in the middle: the copy fails its check and gets no name."""
    file = Path(str(url.database))
    data = bytearray(file.read_bytes())
    data[4_096 * 2 : 4_096 * 3] = b"\xa5" * 4_096
    file.write_bytes(data)

    with pytest.raises(UnavailableError):
        create_backup(url, tmp_path / "copy.sqlite")

    assert not list(tmp_path.glob("copy*"))


def test_the_commands_work_beside_a_running_collector(url: URL, tmp_path: Path) -> None:
    """SQLite is copied and, once the collector has stopped, put back; PostgreSQL's own commands are named."""
    env, copy = environment(url, tmp_path / "data"), tmp_path / "copy.sqlite"
    with serving(env):
        done = run(env, "backup", str(copy))
    back = run(env, "restore", str(copy))

    if url.get_backend_name() == "postgresql":
        assert (done.returncode, back.returncode) == (2, 2)
        assert f"pg_dump --format=custom --file={copy}" in done.stderr
        assert "pg_restore --clean --if-exists --dbname=" in back.stderr
        return
    assert (done.returncode, done.stdout) == (0, f"{copy}: {copy.stat().st_size:,} bytes\n")
    assert (back.returncode, "before it: " in back.stdout) == (0, True)


def test_no_password_is_in_the_commands(tmp_path: Path) -> None:
    """The address is printed without it."""
    with pytest.raises(UnavailableError) as refused:
        create_backup(URL.create("postgresql+psycopg", "u", "secret", "h", 5_432, "n"), tmp_path / "f")

    assert "secret" not in str(refused.value)
    assert "postgresql://u@h:5432/n" in str(refused.value)
