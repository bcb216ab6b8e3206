"""Backup of a running collector, restore, and refill by agents."""

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
    """Return the start of the n-th minute."""
    return NOW_S - 86_400 + 60 * number


def stored(file: Path) -> tuple[int, int]:
    """Return the number of batches and windows in a database file."""
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return tuple(
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("batch", "window_stat")
        )


@only_sqlite
def test_a_backup_of_a_running_collector_is_one_snapshot(client: Client, fra1: str, url: URL, tmp_path: Path) -> None:
    """A copy contains each batch with its window or not at all; the collector accepts every batch."""
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
    """The restore has keys, mesh and batches; batches from before and after the backup, sent again, are stored once."""
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
    """The lock prevents it, and no file is moved."""
    copy = tmp_path / "copy.sqlite"
    create_backup(url, copy)
    before = sorted(path.name for path in Path(str(url.database)).parent.iterdir())

    with pytest.raises(UnavailableError, match="another collector uses"):
        restore_backup(url, copy, 7)

    assert sorted(path.name for path in Path(str(url.database)).parent.iterdir()) == before
    assert client.send("GET", "/readyz").status == 200


@only_sqlite
def test_the_log_of_a_crash_is_not_applied_to_the_restored_file(
    config: CollectorConfig, clock: FakeClock, tmp_path: Path
) -> None:
    """The write-ahead log of a killed collector is renamed with its database; both databases are complete."""
    file, copy, killed = Path(str(config.database.database)), tmp_path / "copy.sqlite", tmp_path / "killed"
    killed.mkdir()
    create_backup(config.database, copy)
    with open_store(config) as store, serve_in_thread(config, store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        client.apply()
        # Copy the files of the running collector, as a kill would leave them.
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
def test_a_backup_after_a_crash_contains_the_log(client: Client, url: URL, tmp_path: Path) -> None:
    """The last commits are only in the log of the killed collector; the copy contains them."""
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
def test_a_file_that_is_not_a_backup_is_not_restored(url: URL, tmp_path: Path, content: bytes) -> None:
    """The database stays, and there are no partial files."""
    file = tmp_path / "wrong.sqlite"
    file.write_bytes(content)

    with pytest.raises(UnavailableError, match="not a database of a collector"):
        restore_backup(url, file, 7)

    assert stored(Path(str(url.database))) == (0, 0)
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob("*.restoring"))


@only_sqlite
def test_a_backup_of_a_newer_collector_is_not_restored(url: URL, tmp_path: Path) -> None:
    """It would fail only at the next start."""
    copy = tmp_path / "copy.sqlite"
    create_backup(url, copy)
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(UnavailableError, match="newer"):
        restore_backup(url, copy, 7)


@only_sqlite
def test_a_backup_overwrites_nothing(url: URL, tmp_path: Path) -> None:
    """The existing file may be the only good backup."""
    file = tmp_path / "existing"
    file.write_text("content")

    with pytest.raises(ConfigError, match="already exists"):
        create_backup(url, file)

    assert file.read_text() == "content"


@only_sqlite
def test_a_backup_of_a_damaged_database_fails(url: URL, tmp_path: Path) -> None:
    """A page is overwritten: the copy fails its check and is removed."""
    file = Path(str(url.database))
    data = bytearray(file.read_bytes())
    data[4_096 * 2 : 4_096 * 3] = b"\xa5" * 4_096
    file.write_bytes(data)

    with pytest.raises(UnavailableError):
        create_backup(url, tmp_path / "copy.sqlite")

    assert not list(tmp_path.glob("copy*"))


def test_the_commands_work_beside_a_running_collector(url: URL, tmp_path: Path) -> None:
    """SQLite is copied, and restored after the collector has stopped; for PostgreSQL the errors name its commands."""
    env, copy = environment(url, tmp_path / "data"), tmp_path / "copy.sqlite"
    with serving(env):
        backup = run(env, "backup", str(copy))
    restore = run(env, "restore", str(copy))

    if url.get_backend_name() == "postgresql":
        assert (backup.returncode, restore.returncode) == (2, 2)
        assert f"pg_dump --format=custom --file={copy}" in backup.stderr
        assert "pg_restore --clean --if-exists --dbname=" in restore.stderr
        return
    assert (backup.returncode, backup.stdout) == (0, f"{copy}: {copy.stat().st_size:,} bytes\n")
    assert (restore.returncode, "replaced database: " in restore.stdout) == (0, True)


def test_the_commands_contain_no_password(tmp_path: Path) -> None:
    """The URL is printed without it."""
    with pytest.raises(UnavailableError) as error:
        create_backup(URL.create("postgresql+psycopg", "u", "secret", "h", 5_432, "n"), tmp_path / "f")

    assert "secret" not in str(error.value)
    assert "postgresql://u@h:5432/n" in str(error.value)
