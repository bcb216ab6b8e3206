"""Compaction: the long-term data agrees with the windows at any time, also with late data."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy import Table, delete, select, update

from leadline import evaluation
from leadline.evaluation import WindowCause, WindowEvaluation, WindowState, combine_paths
from leadline.model import Window
from leadline.statistics import compute_window_stats
from leadline.wire import codec
from leadline_collector.db import tables
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.ingest.imports import ImportOrigin, store_import
from leadline_collector.mesh.store import ActiveTargetCache
from leadline_collector.rollup.compaction import SITE_LOCK
from leadline_collector.rollup.histogram import Histogram
from leadline_collector.rollup.profile_revisions import get_criteria
from leadline_collector.rollup.raw_codec import Chunk
from leadline_collector.rollup.worker import CompactionResult, run_compaction
from leadline_collector.windows import dirty_hours
from leadline_collector.windows import store as window_store
from leadline_collector.windows.rows import build_window_row
from leadline_verdict.series import MISSING
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, build_batch, build_steady_window, build_window
from tests.support.rollup_data import (
    DAY_S,
    MIDNIGHT_S,
    RollupFixture,
    is_same_series,
    make_random_window,
    make_random_windows,
    read_table,
)

HOUR_S = 3_600
NS_PER_S = 1_000_000_000
PROFILE = "vcf9-stretched-cluster"


@pytest.fixture(name="clock")
def _clock() -> FakeClock:
    """Two hours and five minutes after ``NOW_S``."""
    return FakeClock(wall_ns=(NOW_S + 2 * HOUR_S + 300) * NS_PER_S)


@pytest.fixture(name="site")
def _site(store: Store, clock: FakeClock) -> RollupFixture:
    return RollupFixture(store, clock)


def load_marks(store: Store) -> list[tuple[int, int]]:
    """Return the dirty hours with their watermarks."""
    with store.read() as reader:
        return [(mark.hour_s, mark.watermark_s) for mark in dirty_hours.load_dirty_hours(reader.connection, 0, 1 << 40)]


LONG_TERM_TABLES = (tables.chunk, tables.rollup_hour, tables.tally_hour, tables.tally_day)


@pytest.mark.parametrize("seed", range(3))
def test_a_series_is_the_same_before_and_after_and_with_late_data(
    site: RollupFixture, store: Store, clock: FakeClock, seed: int
) -> None:
    """Random windows of two paths, also partial ones, arrive before and after their hour is compacted."""
    rng = random.Random(seed)
    period = (NOW_S - HOUR_S, NOW_S + 3 * HOUR_S)
    for _ in range(4):
        for agent in ("fra1", "fra2"):
            windows = make_random_windows(rng, NOW_S - HOUR_S, NOW_S + 2 * HOUR_S + 240, 0.3)
            site.store_windows(*windows, agent=agent)
        start_s, end_s = sorted(rng.sample(range(*period, 60), 2))
        for path in (site.find_path(agent) for agent in ("fra1", "fra2")):
            assert is_same_series(
                site.load_series(path, start_s, end_s), site.load_series_from_windows(path, start_s, end_s)
            )
        run_compaction(store, clock)
        for path in (site.find_path(agent) for agent in ("fra1", "fra2")):
            assert is_same_series(site.load_series(path, *period), site.load_series_from_windows(path, *period))

    assert {hour_s for hour_s, _ in load_marks(store)} == {NOW_S + 2 * HOUR_S}


def test_a_chunk_contains_the_slots_of_the_statistics(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """The windows in a chunk have the statistics in ``window_stat``, also if a restart split a minute."""
    rng = random.Random(4)
    site.store_windows(*make_random_windows(rng, NOW_S, NOW_S + HOUR_S, 0.8))
    site.store_windows(*make_random_windows(rng, NOW_S, NOW_S + HOUR_S, 0.3))

    run_compaction(store, clock)

    ((_, _, hour_s, body),) = read_table(store, tables.chunk)
    windows = Chunk.decode(body).to_windows(hour_s)
    rows = site.read_rows(site.find_path())
    assert [window.start_s for window in windows] == [row["t"] for row in rows]
    for window, row in zip(windows, rows, strict=True):
        stats = compute_window_stats(window)
        expected = build_window_row(
            row["src_id"], row["dst_id"], window.start_s, window.interval_ms, stats, mesh_version=1, batch=None,
            duplicates=window.duplicates, error_bound=window.error_bound,
        )  # fmt: skip
        assert expected[:-3] == tuple(row.values())[:-3]


def test_windows_stored_before_the_latency_p95_get_it_from_their_probes(
    site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """Compaction computes the value of windows with few losses from the single RTTs."""
    rng = random.Random(6)
    site.store_windows(*make_random_windows(rng, NOW_S, NOW_S + HOUR_S, 0.8))
    site.store_windows(*make_random_windows(rng, NOW_S, NOW_S + HOUR_S, 0.3))
    before = site.load_series(site.find_path(), NOW_S, NOW_S + HOUR_S)
    with store.write() as writer:
        writer.connection.execute(update(tables.window_stat).values(latency_p95_us=None))
    old = site.load_series(site.find_path(), NOW_S, NOW_S + HOUR_S)

    run_compaction(store, clock)

    assert (before.latency_p95_us != MISSING).sum() > 5
    assert (old.latency_p95_us == MISSING).all()
    assert is_same_series(site.load_series(site.find_path(), NOW_S, NOW_S + HOUR_S), before)


def read_rows(store: Store, table: Table) -> list[dict[str, Any]]:
    """Return the rows of a table by column name."""
    return [dict(zip(table.columns.keys(), row, strict=True)) for row in read_table(store, table)]


def test_a_rollup_equals_the_sums_of_its_windows(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Sums, extremes and both histograms agree with the windows."""
    windows = make_random_windows(random.Random(5), NOW_S, NOW_S + HOUR_S, 0.8)
    site.store_windows(*windows)

    run_compaction(store, clock)

    (row,) = read_rows(store, tables.rollup_hour)
    stats = [compute_window_stats(window) for window in windows]
    rtts = [rtt for window in windows for rtt in window.rtt_us if rtt is not None]
    for name in ("expected", "sent", "received"):
        assert row[name] == sum(getattr(window_stats, name) for window_stats in stats)
    assert (row["min_us"], row["sum_us"], row["max_us"]) == (min(rtts), sum(rtts), max(rtts))
    assert (row["windows"], row["duplicates"]) == (len(windows), sum(window.duplicates for window in windows))
    for failure, name in tables.FAILURE_COLUMNS.items():
        assert row[name] == sum(window_stats.failures.get(failure, 0) for window_stats in stats)
    histogram = Histogram.decode(row["rtt_histogram"])
    assert (histogram.total, histogram.count_at_or_below(5_000)) == (len(rtts), sum(rtt <= 5_000 for rtt in rtts))
    p95s = [window_stats.p95_us for window_stats in stats if window_stats.p95_us is not None]
    assert Histogram.decode(row["p95_histogram"]).count_at_or_below(5_000) == sum(value <= 5_000 for value in p95s)
    assert row["p95_infinite"] == sum(window_stats.p95_us is None and window_stats.sent > 0 for window_stats in stats)
    assert row["simulated"] is False


def evaluate_minutes(paths: Iterable[Iterable[Window]]) -> dict[int, WindowEvaluation]:
    """Evaluate each minute of a pair on its own, as reference."""
    by_minute: dict[int, list[WindowEvaluation]] = {}
    for windows in paths:
        for window in windows:
            result = evaluation.evaluate_profile(
                compute_window_stats(window), get_criteria(PROFILE), window.error_bound
            )
            by_minute.setdefault(window.start_s, []).append(result)
    return {t: combine_paths(results) for t, results in by_minute.items()}


def test_state_counts_agree_with_the_evaluation(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Worst case, best case and causes of a pair with two paths."""
    rng = random.Random(6)
    paths = [make_random_windows(rng, NOW_S, NOW_S + 45 * 60, 0.8) for _ in range(2)]
    slots: list[list[int | None]] = [
        [2_000] * 40 + [None] * 20,
        [2_000] * 55 + [None] * 5,
        [2_000] * 54 + [19_000] * 4 + [None] * 2,
        [2_000] * 55 + [19_000] * 3 + [None] * 2,
    ]
    paths[0] = [*paths[0], *(build_window(rtts, NOW_S + (45 + n) * 60) for n, rtts in enumerate(slots))]
    for agent, windows in zip(("fra1", "fra2"), paths, strict=True):
        site.store_windows(*windows, agent=agent)

    run_compaction(store, clock)

    (row,) = read_table(store, tables.tally_hour)
    by_minute = evaluate_minutes(paths)
    results = by_minute.values()
    expected = [
        Counter(getattr(result, scenario).value for result in results)[state]
        for scenario in ("worst_case", "best_case")
        for state in ("good", "bad", "unavailable")
    ]
    causes = Counter(result.cause for result in results)
    expected += [causes[cause] for cause in (WindowCause.LOSS, WindowCause.LATENCY, WindowCause.BOTH)]
    assert list(row[4:13]) == expected
    assert all(causes[cause] for cause in WindowCause)
    assert row[5] == sum(row[10:13])
    assert (row[15], row[16]) == (False, 60)
    letters = {
        None: "g",
        WindowCause.OUTAGE: "x",
        WindowCause.LOSS: "l",
        WindowCause.LATENCY: "t",
        WindowCause.BOTH: "b",
    }
    assert row[17] == "".join(
        "u" if result is None or result.worst_case is WindowState.UNKNOWN else letters[result.cause]
        for result in (by_minute.get(t) for t in range(NOW_S, NOW_S + HOUR_S, 60))
    )
    assert row[13] == min(rtt for windows in paths for window in windows for rtt in window.rtt_us if rtt is not None)


def test_compaction_is_repeatable(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """After a second compaction of all hours every table has the same bytes."""
    rng = random.Random(7)
    site.store_windows(*make_random_windows(rng, MIDNIGHT_S - 4 * HOUR_S, MIDNIGHT_S - HOUR_S))
    site.store_windows(*make_random_windows(rng, MIDNIGHT_S - 3 * HOUR_S, MIDNIGHT_S - 2 * HOUR_S))
    run_compaction(store, clock)
    before = [read_table(store, table) for table in LONG_TERM_TABLES]
    assert all(before)
    assert run_compaction(store, clock) == CompactionResult()

    with store.write() as writer:
        dirty_hours.mark_all_dirty(writer.connection)
    result = run_compaction(store, clock)

    assert (result.hours, result.days, result.failed, result.left) == (1, 1, 0, 0)
    assert [read_table(store, table) for table in LONG_TERM_TABLES] == before
    assert load_marks(store) == []


def test_a_batch_during_compaction_is_not_lost(
    database: Database, site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """A batch between reading and writing: nothing is written, the mark stays, and the next round includes it."""

    class InterruptedStore(Store):
        """Stores one more batch right before compaction writes."""

        def ensure_partitions(self, times: Iterable[int]) -> None:
            site.store_windows(build_steady_window(9_000, NOW_S + 60), received_s=NOW_S + HOUR_S)
            super().ensure_partitions(times)

    site.store_windows(build_steady_window(2_000, NOW_S))

    result = run_compaction(InterruptedStore(database), clock)
    assert (result.hours, result.left, load_marks(store)) == (0, 1, [(NOW_S, NOW_S)])
    assert read_table(store, tables.rollup_hour) == []

    run_compaction(store, clock)
    assert is_same_series(
        site.load_series(site.find_path(), NOW_S, NOW_S + 180),
        site.load_series_from_windows(site.find_path(), NOW_S, NOW_S + 180),
    )
    assert load_marks(store) == []


def test_one_process_at_a_time_works_on_a_site(
    database: Database, site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """The site is skipped while another process or thread has its lock."""
    site.store_windows(build_steady_window(2_000, NOW_S))
    other = store if database.is_sqlite else Store(database)

    with other.try_lock(SITE_LOCK, site_id(store)) as is_ours:
        assert is_ours
        assert (run_compaction(store, clock).left, len(load_marks(store))) == (1, 1)
    assert run_compaction(store, clock).hours == 1


def test_one_round_does_every_day_and_site(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Five days of two sites: the days of a site do not block each other."""
    days = [MIDNIGHT_S - number * DAY_S for number in range(1, 6)]
    for day_s in days:
        site.store_windows(build_steady_window(2_000, day_s))
        site.store_windows(build_steady_window(2_000, day_s), agent="ams1", target="fra1")

    result = run_compaction(store, clock)

    assert (result.hours, result.days, result.left, load_marks(store)) == (10, 10, 0, [])


def site_id(store: Store, name: str = "fra") -> int:
    """Return the id of a site."""
    with store.read() as reader:
        return next(int(row[0]) for row in reader.connection.execute(tables.site.select()) if row[1] == name)


def test_an_open_hour_is_compacted_and_stays_marked(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """After five minutes it is compacted without a chunk; later windows are read from ``window_stat``."""
    hour_s = NOW_S + 2 * HOUR_S
    site.store_windows(build_steady_window(2_000, hour_s))
    clock.step(-10 * NS_PER_S)
    assert run_compaction(store, clock).hours == 0

    clock.step(10 * NS_PER_S)
    assert run_compaction(store, clock).hours == 1

    assert load_marks(store) == [(hour_s, hour_s + HOUR_S)]
    assert (len(read_table(store, tables.rollup_hour)), read_table(store, tables.chunk)) == (1, [])
    assert run_compaction(store, clock) == CompactionResult()
    site.store_windows(build_steady_window(3_000, hour_s + 60))
    assert load_marks(store) == [(hour_s, hour_s + 60)]
    assert is_same_series(
        site.load_series(site.find_path(), hour_s, hour_s + 180),
        site.load_series_from_windows(site.find_path(), hour_s, hour_s + 180),
    )

    clock.advance(HOUR_S * NS_PER_S)
    run_compaction(store, clock)
    assert (load_marks(store), len(read_table(store, tables.chunk))) == ([], 1)


def test_simulated_windows_have_rollups_and_no_chunk(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Their single RTTs are unknown, so the rollup has no sum and no histogram."""
    path = site.find_path()
    store.ensure_partitions([NOW_S])
    with store.write() as writer:
        stats = compute_window_stats(build_window([2_000] * 58 + [None] * 2))
        window_store.add_windows(
            writer.connection,
            path.src_id,
            [build_window_row(path.src_id, path.dst_id, NOW_S, 1_000, stats, mesh_version=1, batch=None)],
        )

    run_compaction(store, clock)

    (row,) = read_rows(store, tables.rollup_hour)
    assert (row["sum_us"], row["rtt_histogram"], row["received"], row["timeout_count"]) == (None, None, 58, 2)
    assert (row["simulated"], read_table(store, tables.chunk)) == (True, [])
    assert is_same_series(
        site.load_series(path, NOW_S, NOW_S + 60), site.load_series_from_windows(path, NOW_S, NOW_S + 60)
    )


def test_expired_windows_stay_in_the_series_together_with_late_ones(
    site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """The rollup keeps expired windows, also after a late batch caused another compaction."""
    rng = random.Random(8)
    early = [make_random_window(rng, NOW_S + 60 * n) for n in range(0, 40, 2)]
    late = [make_random_window(rng, NOW_S + 60 * n) for n in range(1, 9, 2)]
    site.store_windows(*early)
    run_compaction(store, clock)
    with store.write() as writer:
        writer.connection.execute(delete(tables.window_stat))
    before = site.load_series(site.find_path(), NOW_S, NOW_S + HOUR_S)
    assert before.expected.sum() == 60 * len(early)

    site.store_windows(*late)
    dirty = site.load_series(site.find_path(), NOW_S, NOW_S + HOUR_S)
    run_compaction(store, clock)
    compacted = site.load_series(site.find_path(), NOW_S, NOW_S + HOUR_S)

    assert is_same_series(dirty, compacted)
    assert compacted.received.sum() == sum(compute_window_stats(window).received for window in (*early, *late))
    (row,) = read_rows(store, tables.rollup_hour)
    assert row["duplicates"] == sum(window.duplicates for window in (*early, *late))
    ((*_, body),) = read_table(store, tables.chunk)
    assert Chunk.decode(body).to_windows(NOW_S) == sorted((*early, *late), key=lambda window: window.start_s)


def test_a_day_adds_up_its_hours(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """A complete day is counted from its windows, and again after late data."""
    rng = random.Random(9)
    day_s = MIDNIGHT_S - DAY_S
    windows = list(make_random_windows(rng, day_s + 3 * HOUR_S, day_s + 5 * HOUR_S, 0.9))
    site.store_windows(*windows)
    run_compaction(store, clock)

    for late in ([], [make_random_window(rng, day_s + 9 * HOUR_S)]):
        if late:
            site.store_windows(*late)
            windows += late
            run_compaction(store, clock)
        (day_row,) = read_rows(store, tables.tally_day)
        results = evaluate_minutes([windows])
        assert day_row["good"] == sum(result.worst_case.value == "good" for result in results.values())
        rtts = [rtt for window in windows for rtt in window.rtt_us if rtt is not None]
        assert (day_row["t"], day_row["min_us"]) == (day_s, min(rtts))


def test_a_new_profile_of_the_mesh_counts_earlier_hours(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Hours compacted before are counted by the new profile; the counts of a removed profile are deleted."""
    day_s = MIDNIGHT_S - DAY_S
    site.store_windows(*make_random_windows(random.Random(10), day_s, day_s + 2 * HOUR_S))
    run_compaction(store, clock)
    before = [len(read_table(store, table)) for table in (tables.tally_hour, tables.tally_day)]

    RollupFixture(store, clock, MESH.replace(PROFILE, "vsan-stretched"))
    run_compaction(store, clock)

    assert [(row[1], row[3]) for row in read_table(store, tables.rule)] == [("vsan-stretched", True)]
    assert [len(read_table(store, table)) for table in (tables.tally_hour, tables.tally_day)] == before
    recounted = read_table(store, tables.tally_hour)
    with store.write() as writer:
        dirty_hours.mark_all_dirty(writer.connection)
    run_compaction(store, clock)
    assert read_table(store, tables.tally_hour) == recounted


def test_counts_mark_imported_windows_and_the_fewest_probes(
    site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """The hour with an imported path has the mark, the next one does not; the day has both."""
    site.store_windows(build_steady_window(4_000), build_steady_window(4_000, NOW_S + HOUR_S))
    few = Window(start_s=NOW_S, interval_ms=2_000, rtt_us=(5_000,) * 30, misses=())
    origin = ImportOrigin(source="import:fra2", file="a.log", sha256="0" * 64, format="csv")
    body = codec.encode(build_batch(("ams1", few), agent="import:fra2", mesh_version=0))
    store_import(store, ActiveTargetCache(), (NOW_S + HOUR_S) * 1_000_000, body, "", origin, check=False)
    clock.advance(24 * HOUR_S * 1_000_000_000)

    run_compaction(store, clock)

    column = tables.tally_hour.c
    with store.read() as reader:
        hours = reader.connection.execute(select(column.imported, column.expected_min).order_by(column.t)).all()
        column = tables.tally_day.c
        days = reader.connection.execute(select(column.imported, column.expected_min)).all()
    assert [tuple(row) for row in hours] == [(True, 30), (False, 60)]
    assert [tuple(row) for row in days] == [(True, 30)]
