"""Retention: deleted data, kept data, and data that must be compacted first."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import URL

from leadline.errors import ConfigError
from leadline_cli.__main__ import main
from leadline_collector.config import Retention
from leadline_collector.db import tables
from leadline_collector.db.engine import Database, open_read_only
from leadline_collector.db.transactions import Store
from leadline_collector.ingest.verification import verify_journal
from leadline_collector.journal import store as journal_store
from leadline_collector.rollup.raw_codec import Chunk
from leadline_collector.rollup.retention import apply_retention
from leadline_collector.rollup.worker import run_compaction
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_window
from tests.support.rollup_data import DAY_S, RollupFixture, is_same_series, make_random_windows, read_table

NS_PER_S = 1_000_000_000
HOUR_S = 3_600
#: So old that a whole partition of PostgreSQL has expired.
OLD_S = NOW_S - 70 * DAY_S
NOTHING = Retention(journal_s=None, windows_s=None, raw_s=None, rollups_s=None)
SHORT_S = 3 * DAY_S


@pytest.fixture(name="clock")
def _clock() -> FakeClock:
    return FakeClock(wall_ns=(NOW_S + 2 * HOUR_S) * NS_PER_S)


@pytest.fixture(name="site")
def _site(store: Store, clock: FakeClock) -> RollupFixture:
    """Two hours of windows long ago and one just now, all compacted."""
    site = RollupFixture(store, clock)
    rng = random.Random(1)
    for start_s in (OLD_S, OLD_S + HOUR_S, NOW_S):
        site.store_windows(*make_random_windows(rng, start_s, start_s + HOUR_S))
    run_compaction(store, clock)
    return site


def rows(store: Store) -> dict[str, int]:
    """Return the number of rows of each table, and of batches with a body."""
    counts = {
        table.name: len(read_table(store, table))
        for table in (*tables.PARTITIONED_TABLES, tables.tally_day, tables.batch)
    }
    with store.read() as reader:
        query = select(func.count()).select_from(tables.batch).where(tables.HAS_BODY_CONDITION)
        return counts | {"body": reader.connection.execute(query).scalar_one()}


def now_s(clock: FakeClock) -> int:
    return clock.wall_ns() // NS_PER_S


@pytest.mark.parametrize(
    ("tier", "deleted"),
    [
        ("journal_s", {"body": 2}),
        ("windows_s", {"window_stat": None}),
        ("raw_s", {"chunk": 2}),
    ],
)
def test_each_tier_expires_on_its_own(
    site: RollupFixture, store: Store, clock: FakeClock, tier: str, deleted: dict[str, int | None]
) -> None:
    """Only old data of the tier is deleted; the series of the path is unchanged."""
    before, series = rows(store), site.load_series(site.find_path(), OLD_S, NOW_S + HOUR_S)

    apply_retention(store, replace(NOTHING, **{tier: SHORT_S}), now_s(clock))

    after = rows(store)
    changed = {name: before[name] - after[name] for name in before if before[name] != after[name]}
    assert changed == {name: count or changed[name] for name, count in deleted.items()}
    assert all(after.values())
    assert is_same_series(site.load_series(site.find_path(), OLD_S, NOW_S + HOUR_S), series)


def test_all_old_data_can_be_deleted(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Rollups, state counts and the rows of the journal are deleted too; recent data stays."""
    retention = Retention(journal_s=SHORT_S, windows_s=SHORT_S, raw_s=SHORT_S, rollups_s=SHORT_S)

    apply_retention(store, retention, now_s(clock))

    after = rows(store)
    assert (after["chunk"], after["rollup_hour"], after["tally_day"], after["batch"], after["body"]) == (1, 1, 0, 1, 1)
    assert site.load_series(site.find_path(), OLD_S, OLD_S + 2 * HOUR_S).expected.sum() == 0
    assert {result.rows for result in apply_retention(store, retention, now_s(clock))} == {0}


def test_a_dry_run_deletes_nothing(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """It returns the number of rows to delete."""
    before = rows(store)

    results = apply_retention(store, replace(NOTHING, journal_s=SHORT_S), now_s(clock), dry_run=True)

    assert [(result.table, result.rows) for result in results] == [("batch.body", 2)]
    assert rows(store) == before


def test_dirty_hours_are_not_deleted(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """After a late batch nothing from its day on is deleted until the hour is compacted again."""
    site.store_windows(build_window([5_000] * 60, OLD_S))
    before = rows(store)

    apply_retention(
        store, Retention(journal_s=SHORT_S, windows_s=SHORT_S, raw_s=SHORT_S, rollups_s=SHORT_S), now_s(clock)
    )

    assert rows(store) == before


def test_a_partial_window_is_merged_with_its_chunk(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """The body of the first part has expired when the second arrives: row, chunk and rollup contain both."""
    minute_s = OLD_S + 3 * HOUR_S
    first, second = (
        build_window([4_000] * 30 + [None] * 30, minute_s),
        build_window([None] * 30 + [6_000] * 30, minute_s),
    )
    site.store_windows(first)
    run_compaction(store, clock)
    apply_retention(store, replace(NOTHING, journal_s=SHORT_S), now_s(clock))
    with store.read() as reader:
        assert list(journal_store.read_bodies(reader.connection, site.find_path().src_id, minute_s)) == []

    site.store_windows(second)
    run_compaction(store, clock)

    (row,) = [row for row in site.read_rows(site.find_path()) if row["t"] == minute_s]
    assert (row["received"], row["min_us"], row["max_us"]) == (60, 4_000, 6_000)
    (body,) = [body for _, _, hour_s, body in read_table(store, tables.chunk) if hour_s == minute_s]
    assert Chunk.decode(body).to_windows(minute_s)[0].rtt_us == (4_000,) * 30 + (6_000,) * 30


def test_a_batch_keeps_its_row_without_its_body(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """The digest stays, so a retry is a duplicate."""
    apply_retention(store, replace(NOTHING, journal_s=SHORT_S), now_s(clock))

    assert (rows(store)["batch"], rows(store)["body"]) == (3, 1)


def test_the_check_of_the_journal_counts_expired_bodies(
    url: URL, site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """An expired body is counted and is not a fault."""
    apply_retention(store, replace(NOTHING, journal_s=SHORT_S), now_s(clock))

    with open_read_only(url) as read:
        tally, findings = verify_journal(read, None, {}, lambda tally: None)

    assert (tally.batches, tally.without_body, tally.faulty_batches, findings) == (3, 2, 0, [])


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"journal_s": DAY_S}, "--keep-journal"),
        ({"raw_s": None}, "--keep-rollups"),
        ({"windows_s": 100 * DAY_S, "rollups_s": 99 * DAY_S}, "--keep-rollups"),
    ],
)
def test_an_inconsistent_retention_is_refused(options: dict[str, int | None], key: str) -> None:
    """A tier is shorter than agents keep batches, or rollups expire before another tier."""
    with pytest.raises(ConfigError, match=key):
        Retention(**options)


def test_the_commands_compact_and_retain(
    url: URL, database: Database, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``compact --all`` and ``retain --dry-run`` print their results as JSON."""
    site = RollupFixture(store, FakeClock(wall_ns=NOW_S * NS_PER_S))
    site.store_windows(*make_random_windows(random.Random(2), NOW_S - 900 * DAY_S, NOW_S - 900 * DAY_S + HOUR_S))
    database.close()
    monkeypatch.setenv("LEADLINE_DATABASE_URL", url.render_as_string(hide_password=False))

    assert main(["collector", "compact", "--all", "--json"]) == 0
    compacted = json.loads(capsys.readouterr().out)
    assert (
        main(["collector", "retain", "--keep-journal", "forever", "--keep-rollups", "forever", "--dry-run", "--json"])
        == 0
    )
    expired = json.loads(capsys.readouterr().out)

    assert (compacted["hours"], compacted["days"], compacted["failed"]) == (1, 1, 0)
    assert [result["table"] for result in expired] == ["window_stat", "chunk"]
    assert main(["collector", "retain", "--keep-raw", "yesterday"]) == 2
    assert "--keep-raw" in capsys.readouterr().err
