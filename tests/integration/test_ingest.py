"""Ingest of batches over HTTP."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from leadline.model import Failure, Window
from leadline_collector.db import tables
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.journal import store as journal_store
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import PathIds
from leadline_collector.windows import store as window_store
from leadline_collector.windows.rows import WINDOW_COLUMNS
from tests.integration.conftest import Client
from tests.support.documents import (
    EPOCH,
    MESH,
    NOW_S,
    OTHER_EPOCH,
    build_batch,
    build_steady_window,
    build_window,
    encode_body,
)


def rows(store: Store, agent: str = "fra1", target: str = "ams1") -> list[dict[str, Any]]:
    """Return every stored window of a path."""
    with store.read() as reader:
        path = PathIds(
            src_id=mesh_store.load_agent_ids(reader.connection, [agent])[agent],
            dst_id=mesh_store.load_target_ids(reader.connection, [target])[target],
        )
        values = window_store.load_path_windows(reader.connection, path, WINDOW_COLUMNS, 0, 1 << 40)
    return [dict(zip(WINDOW_COLUMNS, row, strict=True)) for row in values]


def batches(store: Store) -> int:
    """Return the number of batches in the journal."""
    with store.read() as reader:
        return reader.connection.execute(select(func.count()).select_from(tables.batch)).scalar_one()


def test_a_batch_is_acknowledged_with_the_digest_of_its_bytes(client: Client, fra1: str) -> None:
    """The acknowledgement has the SHA-256 of the body, the active mesh version, the count and the time of receipt."""
    sent = encode_body(build_batch(("ams1", build_steady_window(4_900))))

    answer = client.post_bytes(sent, fra1)

    assert answer.status == 200
    assert answer.json() == {
        "digest": hashlib.sha256(sent).hexdigest(),
        "duplicate": False,
        "mesh_version": 1,
        "batches": 1,
        "received_at_us": (NOW_S + 3_600) * 1_000_000,
        "key_expires_at_s": None,
    }


def test_a_window_is_stored_with_its_statistics(client: Client, store: Store, fra1: str) -> None:
    """The row has the statistics of the window, its mesh version and its batch."""
    client.post(build_batch(("ams1", build_window([4_900] * 57 + [5_100, None, None])), seq=7), fra1)

    (row,) = rows(store)
    assert (row["expected"], row["sent"], row["received"]) == (60, 60, 58)
    assert (row["min_us"], row["p50_us"], row["p95_us"], row["p99_us"], row["max_us"]) == (
        4_900, 4_900, 4_900, None, 5_100,
    )  # fmt: skip
    assert (row["timeout_count"], row["not_sent_count"]) == (2, 0)
    assert (row["t"], row["mesh_version"]) == (NOW_S, 1)
    assert (row["epoch"], row["seq"]) == (bytes.fromhex(EPOCH), 7)


def test_the_journal_keeps_the_bytes_as_they_came(client: Client, store: Store, fra1: str) -> None:
    """The stored body equals the received body, byte for byte."""
    sent = encode_body(build_batch(("ams1", build_steady_window(4_900))))

    client.post_bytes(sent, fra1)

    with store.read() as reader:
        ((_, _, stored),) = journal_store.read_bodies(
            reader.connection, mesh_store.load_agent_ids(reader.connection, ["fra1"])["fra1"], NOW_S
        )
    assert stored == sent


def test_the_same_bytes_again_are_a_duplicate(client: Client, store: Store, fra1: str) -> None:
    """A retry is acknowledged as a duplicate and stores nothing."""
    sent = encode_body(build_batch(("ams1", build_steady_window(4_900))))
    first = client.post_bytes(sent, fra1)

    again = client.post_bytes(sent, fra1)

    assert again.status == 200
    assert again.json() == first.json() | {"duplicate": True}
    assert (len(rows(store)), batches(store)) == (1, 1)


def test_other_bytes_under_the_same_name_are_refused(client: Client, store: Store, fra1: str) -> None:
    """409: the agent's identity was cloned; the stored batch does not change."""
    client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)

    answer = client.post(build_batch(("ams1", build_steady_window(9_900))), fra1)

    assert answer.status == 409
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [row["p95_us"] for row in rows(store)] == [4_900]


def test_the_same_name_of_two_agents_is_two_batches(client: Client, store: Store, fra1: str) -> None:
    """Epoch and sequence number identify a batch within an agent."""
    fra2 = client.key("fra2", "fra")

    client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)
    answer = client.post(build_batch(("ams1", build_steady_window(5_900)), agent="fra2"), fra2)

    assert answer.json()["duplicate"] is False
    assert [row["p95_us"] for row in rows(store, "fra2")] == [5_900]


def test_many_posts_at_once_store_each_batch_once(client: Client, store: Store, fra1: str) -> None:
    """Eight threads send forty batches three times each: forty rows, forty acknowledgements that are no duplicates."""
    sent = [
        encode_body(build_batch(("ams1", build_steady_window(4_900, NOW_S + 60 * n)), seq=n)) for n in range(40)
    ] * 3

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda data: client.post_bytes(data, fra1), sent))

    assert {answer.status for answer in answers} == {200}
    assert sum(not answer.json()["duplicate"] for answer in answers) == 40
    assert (len(rows(store)), batches(store)) == (40, 40)


def test_a_restart_within_the_minute_merges_the_two_halves(client: Client, store: Store, fra1: str) -> None:
    """The agent measured slots 0 to 19 and, after a restart, 30 to 59: one row of 50 probes, 10 not sent."""
    before = build_window([4_000] * 20 + [None] * 40, missing=Failure.NOT_SENT)
    after = build_window([None] * 30 + [6_000] * 30, missing=Failure.NOT_SENT)

    client.post(build_batch(("ams1", before)), fra1)
    answer = client.post(build_batch(("ams1", after), epoch=OTHER_EPOCH, sealed_at_s=NOW_S + 75), fra1)

    assert answer.status == 200
    (row,) = rows(store)
    assert (row["sent"], row["received"], row["not_sent_count"]) == (50, 50, 10)
    assert (row["min_us"], row["p95_us"]) == (4_000, 6_000)
    assert row["epoch"] == bytes.fromhex(OTHER_EPOCH)


def thirds() -> list[Window]:
    """Return the three parts of a minute with two restarts of the agent."""
    slots = range(60)
    return [
        build_window([1_000 * part + 1_000 if slot // 20 == part else None for slot in slots], missing=Failure.NOT_SENT)
        for part in range(3)
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_three_parts_of_a_minute_merge_in_any_order(
    client: Client, store: Store, fra1: str, order: tuple[int, ...]
) -> None:
    """Two restarts in one minute, delivered in any order, give the same row."""
    parts = thirds()

    for part in order:
        epoch = EPOCH if part else OTHER_EPOCH
        client.post(build_batch(("ams1", parts[part]), seq=9 - part, epoch=epoch, sealed_at_s=NOW_S + 70 + part), fra1)

    (row,) = rows(store)
    assert (row["sent"], row["received"], row["min_us"], row["max_us"]) == (60, 60, 1_000, 3_000)
    assert row["seq"] == 7


def test_the_batch_that_was_sealed_first_has_the_slot(client: Client, store: Store, fra1: str) -> None:
    """The time of sealing decides, not the epoch, the number or the order of arrival."""
    names = [((EPOCH, 1), (OTHER_EPOCH, 2)), ((OTHER_EPOCH, 1), (EPOCH, 2)), ((EPOCH, 2), (EPOCH, 1))]
    last = []
    for minute, (pair, is_in_order) in enumerate(product(names, (True, False))):
        start_s = NOW_S + 60 * minute
        sealed = [
            build_batch(
                ("ams1", build_steady_window(rtt_us, start_s)),
                epoch=epoch,
                seq=10 * minute + seq,
                sealed_at_s=start_s + 70 + number,
            )
            for number, (rtt_us, (epoch, seq)) in enumerate(zip((4_000, 6_000), pair, strict=True))
        ]
        for document in sealed if is_in_order else reversed(sealed):
            assert client.post(document, fra1).status == 200
        last.append((bytes.fromhex(sealed[1].epoch), sealed[1].seq))

    stored = rows(store)
    assert [(row["min_us"], row["max_us"]) for row in stored] == [(4_000, 4_000)] * 6
    assert [(row["epoch"], row["seq"]) for row in stored] == last


def test_concurrent_parts_of_a_minute_are_all_merged(client: Client, store: Store, fra1: str) -> None:
    """Eight threads send six batches of ten slots for each of six minutes: every minute has 60 replies."""
    sent = [
        encode_body(build_batch(("ams1", tenth(NOW_S + 60 * minute, part)), seq=10 * minute + part))
        for minute in range(6)
        for part in range(6)
    ]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda data: client.post_bytes(data, fra1), sent))

    assert {answer.status for answer in answers} == {200}
    assert [row["received"] for row in rows(store)] == [60] * 6


def tenth(start_s: int, part: int) -> Window:
    """Build a window with ten measured slots."""
    return build_window([5_000 if slot // 10 == part else None for slot in range(60)], start_s, Failure.NOT_SENT)


def test_windows_beside_a_merged_one_are_stored_too(client: Client, store: Store, fra1: str) -> None:
    """Merging one window of a batch does not affect the others."""
    client.post(build_batch(("ams1", build_window([4_000] * 30 + [None] * 30, missing=Failure.NOT_SENT))), fra1)
    second = build_batch(
        ("ams1", build_window([None] * 30 + [6_000] * 30, missing=Failure.NOT_SENT)),
        ("ams1", build_steady_window(7_000, NOW_S + 60)),
        seq=2,
    )

    client.post(second, fra1)

    assert [(row["t"], row["received"]) for row in rows(store)] == [(NOW_S, 60), (NOW_S + 60, 60)]


def test_a_batch_for_another_agent_is_forbidden(client: Client, store: Store, fra1: str) -> None:
    """A key can only write data of its own agent."""
    answer = client.post(build_batch(("ams1", build_steady_window(4_900)), agent="fra2"), fra1)

    assert answer.status == 403
    assert rows(store, "fra2") == []


def test_an_unknown_target_is_named_and_nothing_is_stored(client: Client, store: Store, fra1: str) -> None:
    """422 with the path of the series; the journal row is rolled back too."""
    answer = client.post(build_batch(("ams1", build_steady_window(4_900)), ("lon1", build_steady_window(4_900))), fra1)

    assert (answer.status, answer.json()["path"]) == (422, "series[1].target")
    assert (rows(store), batches(store)) == ([], 0)


def test_a_target_of_a_mesh_missing_after_a_restore_is_retried_later(client: Client, fra1: str) -> None:
    """The batch has a later mesh version than the active one: 503, so that the agent keeps it."""
    document = msgspec.structs.replace(build_batch(("nowhere1", build_steady_window(5_000))), mesh_version=2)

    answer = client.post(document, fra1)

    assert (answer.status, answer.headers["Retry-After"]) == (503, "60")
    assert "mesh version 2" in answer.json()["detail"]


def test_a_target_of_an_older_mesh_is_accepted(client: Client, store: Store, fra1: str) -> None:
    """A batch under the previous version is stored after the change."""
    without = MESH.replace('name = "ams1"', 'name = "ams9"')
    assert client.apply(without).status == 200

    answer = client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)

    assert (answer.status, answer.json()["mesh_version"]) == (200, 2)
    assert len(rows(store)) == 1


@pytest.mark.parametrize("start_s", [1_577_836_800, NOW_S + 3_600 + 86_400])
def test_times_at_the_limits_are_stored(client: Client, store: Store, fra1: str, start_s: int) -> None:
    """The first minute of 2020 and the last minute of the next 24 hours are accepted."""
    answer = client.post(build_batch(("ams1", build_steady_window(4_900, start_s))), fra1)

    assert answer.status == 200
    assert [row["t"] for row in rows(store)] == [start_s]


def test_windows_of_many_months_are_stored(client: Client, store: Store, fra1: str) -> None:
    """Partitions are created for every month on PostgreSQL, also for old months."""
    months = [NOW_S - 30 * 86_400 * n for n in range(12)]

    for n, start_s in enumerate(months):
        assert client.post(build_batch(("ams1", build_steady_window(4_900, start_s)), seq=n), fra1).status == 200

    assert [row["t"] for row in rows(store)] == sorted(months)


def test_a_batch_without_windows_is_stored(client: Client, fra1: str) -> None:
    """An agent without windows may send an empty batch."""
    answer = client.post(build_batch(), fra1)

    assert answer.status == 200


def sql(database: Database, *statements: str) -> None:
    """Run statements like an operator."""
    with database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_failure_leaves_nothing_behind(client: Client, store: Store, database: Database, fra1: str) -> None:
    """If the windows cannot be written, the journal row is rolled back, and a retry is not a duplicate."""
    sent = encode_body(build_batch(("ams1", build_steady_window(4_900))))
    sql(database, "ALTER TABLE window_stat RENAME TO elsewhere")
    refused = client.post_bytes(sent, fra1)
    sql(database, "ALTER TABLE elsewhere RENAME TO window_stat")

    again = client.post_bytes(sent, fra1)

    assert refused.status in {500, 503}
    assert (again.status, again.json()["duplicate"]) == (200, False)
    assert (len(rows(store)), batches(store)) == (1, 1)


#: The server drops the connection at the end of the transaction, after all writes.
DIE_IN_COMMIT = (
    "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$",
    "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON batch DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION die()",
)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_commit_that_fails_is_no_acknowledgement(client: Client, store: Store, database: Database, fra1: str) -> None:
    """PostgreSQL drops the connection in COMMIT: 503 with Retry-After; the retry stores the batch once."""
    sql(database, *DIE_IN_COMMIT)
    sent = encode_body(build_batch(("ams1", build_steady_window(4_900))))
    refused = client.post_bytes(sent, fra1)
    sql(database, "DROP TRIGGER die ON batch")

    again = client.post_bytes(sent, fra1)

    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert (again.status, again.json()["duplicate"]) == (200, False)
    assert (len(rows(store)), batches(store)) == (1, 1)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_full_database_is_no_acknowledgement(client: Client, store: Store, database: Database, fra1: str) -> None:
    """SQLite cannot grow: 503 with Retry-After; with space again, the retry stores the batch once."""
    sql(database, "PRAGMA max_page_count = 1")
    sent = encode_body(build_batch(*((("ams1", noisy(NOW_S + 60 * n))) for n in range(200))))
    refused = client.post_bytes(sent, fra1)
    sql(database, "PRAGMA max_page_count = 1000000")

    again = client.post_bytes(sent, fra1)

    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    assert (again.status, again.json()["duplicate"]) == (200, False)
    assert (len(rows(store)), batches(store)) == (200, 1)


def noisy(start_s: int) -> Window:
    """Build a window that compresses badly."""
    return build_window([5_000 + (start_s * 7_919 + slot * 104_729) % 997 for slot in range(60)], start_s)
