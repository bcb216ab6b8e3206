"""Retention: what goes, what stays, and what must not go before it is compacted."""

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
#: So old that a whole partition of PostgreSQL is past its time.
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
    """How many rows each table has, and how many batches a body."""
    counted = {
        which.name: len(read_table(store, which))
        for which in (*tables.PARTITIONED_TABLES, tables.tally_day, tables.batch)
    }
    with store.read() as reader:
        query = select(func.count()).select_from(tables.batch).where(tables.HAS_BODY_CONDITION)
        return counted | {"body": reader.connection.execute(query).scalar_one()}


def now_s(clock: FakeClock) -> int:
    return clock.wall_ns() // NS_PER_S


@pytest.mark.parametrize(
    ("tier", "gone"),
    [
        ("journal_s", {"body": 2}),
        ("windows_s", {"window_stat": None}),
        ("raw_s", {"chunk": 2}),
    ],
)
def test_each_tier_goes_by_itself(
    site: RollupFixture, store: Store, clock: FakeClock, tier: str, gone: dict[str, int | None]
) -> None:
    """What is old of that tier and nothing else; the series of the path is what it was."""
    before, series = rows(store), site.load_series(site.find_path(), OLD_S, NOW_S + HOUR_S)

    apply_retention(store, replace(NOTHING, **{tier: SHORT_S}), now_s(clock))

    after = rows(store)
    changed = {name: before[name] - after[name] for name in before if before[name] != after[name]}
    assert changed == {name: count or changed[name] for name, count in gone.items()}
    assert all(after.values())
    assert is_same_series(site.load_series(site.find_path(), OLD_S, NOW_S + HOUR_S), series)


def test_everything_old_can_go(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Rollups, tallies and the rows of the journal go last; what is young stays."""
    all_of_it = Retention(journal_s=SHORT_S, windows_s=SHORT_S, raw_s=SHORT_S, rollups_s=SHORT_S)

    apply_retention(store, all_of_it, now_s(clock))

    after = rows(store)
    assert (after["chunk"], after["rollup_hour"], after["tally_day"], after["batch"], after["body"]) == (1, 1, 0, 1, 1)
    assert site.load_series(site.find_path(), OLD_S, OLD_S + 2 * HOUR_S).expected.sum() == 0
    assert {one.rows for one in apply_retention(store, all_of_it, now_s(clock))} == {0}


def test_a_dry_run_removes_nothing(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """It says what would go."""
    before = rows(store)

    found = apply_retention(store, replace(NOTHING, journal_s=SHORT_S), now_s(clock), dry_run=True)

    assert [(one.table, one.rows) for one in found] == [("batch.body", 2)]
    assert rows(store) == before


def test_what_is_marked_stays(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """A late batch has its hour compacted anew: until then nothing from that day on goes."""
    site.store_windows(build_window([5_000] * 60, OLD_S))
    before = rows(store)

    apply_retention(
        store, Retention(journal_s=SHORT_S, windows_s=SHORT_S, raw_s=SHORT_S, rollups_s=SHORT_S), now_s(clock)
    )

    assert rows(store) == before


def test_the_other_half_of_a_minute_finds_the_first_in_its_chunk(
    site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """The first half's body is gone when the second comes: both are in the row, the chunk and the rollup."""
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


def test_a_batch_without_body_is_still_known(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """The digest stays: a retry is a duplicate and stores nothing."""
    apply_retention(store, replace(NOTHING, journal_s=SHORT_S), now_s(clock))

    assert (rows(store)["batch"], rows(store)["body"]) == (3, 1)


def test_the_check_of_the_journal_says_what_it_could_not_check(
    url: URL, site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """A body that retention took is no fault, and is counted."""
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
def test_what_makes_no_sense_is_refused(options: dict[str, int | None], key: str) -> None:
    """Shorter than agents can send again, or rollups that go before what they are needed for."""
    with pytest.raises(ConfigError, match=key):
        Retention(**options)


def test_the_commands_do_it_by_hand(
    url: URL, database: Database, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``compact --all`` and ``retain --dry-run``, with figures as JSON."""
    site = RollupFixture(store, FakeClock(wall_ns=NOW_S * NS_PER_S))
    site.store_windows(*make_random_windows(random.Random(2), NOW_S - 900 * DAY_S, NOW_S - 900 * DAY_S + HOUR_S))
    database.close()
    monkeypatch.setenv("LEADLINE_DATABASE_URL", url.render_as_string(hide_password=False))

    assert main(["collector", "compact", "--all", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (
        main(["collector", "retain", "--keep-journal", "forever", "--keep-rollups", "forever", "--dry-run", "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)

    assert (done["hours"], done["days"], done["failed"]) == (1, 1, 0)
    assert [one["table"] for one in found] == ["window_stat", "chunk"]
    assert main(["collector", "retain", "--keep-raw", "yesterday"]) == 2
    assert "--keep-raw" in capsys.readouterr().err
