"""Compaction: what is kept for months says what the windows say, at every moment, whatever comes late."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest
from sqlalchemy import delete

from leadline import evaluation
from leadline.evaluation import WindowEvaluation, combine_paths
from leadline.model import Window
from leadline.statistics import compute_window_stats
from leadline_collector.db import tables
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.rollup.compaction import SITE_LOCK
from leadline_collector.rollup.histogram import Histogram
from leadline_collector.rollup.profile_revisions import get_criteria
from leadline_collector.rollup.raw_codec import Chunk
from leadline_collector.rollup.worker import CompactionResult, run_compaction
from leadline_collector.windows import dirty_hours
from leadline_collector.windows import store as window_store
from leadline_collector.windows.rows import build_window_row
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, build_steady_window, build_window
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


def waiting(store: Store) -> list[tuple[int, int]]:
    """Hours that are marked, and from where on."""
    with store.read() as reader:
        return [(mark.hour_s, mark.watermark_s) for mark in dirty_hours.load_dirty_hours(reader.connection, 0, 1 << 40)]


KEPT = (tables.chunk, tables.rollup_hour, tables.tally_hour, tables.tally_day)


@pytest.mark.parametrize("seed", range(3))
def test_a_series_is_the_same_before_and_after_and_with_late_data(
    site: RollupFixture, store: Store, clock: FakeClock, seed: int
) -> None:
    """Random windows of two paths, halves of minutes among them, some before and some after their hour is compacted."""
    rng = random.Random(seed)
    period = (NOW_S - HOUR_S, NOW_S + 3 * HOUR_S)
    sent: set[tuple[str, int]] = set()
    for _ in range(4):
        for agent in ("fra1", "fra2"):
            windows = make_random_windows(rng, NOW_S - HOUR_S, NOW_S + 2 * HOUR_S + 240, 0.3)
            site.store_windows(*windows, agent=agent)
            sent |= {(agent, one.start_s) for one in windows}
        start_s, end_s = sorted(rng.sample(range(*period, 60), 2))
        for paths in (site.find_path(agent) for agent in ("fra1", "fra2")):
            assert is_same_series(
                site.load_series(paths, start_s, end_s), site.load_series_from_windows(paths, start_s, end_s)
            )
        run_compaction(store, clock)
        for paths in (site.find_path(agent) for agent in ("fra1", "fra2")):
            assert is_same_series(site.load_series(paths, *period), site.load_series_from_windows(paths, *period))

    assert {hour for hour, _ in waiting(store)} == {NOW_S + 2 * HOUR_S}


def test_a_chunk_holds_the_slots_that_the_statistics_were_made_of(
    site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """Also where a restart cut a minute in two: the windows in a chunk have the statistics in ``window_stat``."""
    rng = random.Random(4)
    site.store_windows(*make_random_windows(rng, NOW_S, NOW_S + HOUR_S, 0.8))
    site.store_windows(*make_random_windows(rng, NOW_S, NOW_S + HOUR_S, 0.3))

    run_compaction(store, clock)

    ((_, _, hour_s, body),) = read_table(store, tables.chunk)
    windows = Chunk.decode(body).to_windows(hour_s)
    rows = site.read_rows(site.find_path())
    assert [one.start_s for one in windows] == [row["t"] for row in rows]
    for one, row in zip(windows, rows, strict=True):
        stats = compute_window_stats(one)
        expected = build_window_row(
            row["src_id"], row["dst_id"], one.start_s, one.interval_ms, stats, mesh_version=1, batch=None,
            duplicates=one.duplicates, error_bound=one.error_bound,
        )  # fmt: skip
        assert expected[:-3] == tuple(row.values())[:-3]


def test_a_rollup_counts_what_the_windows_count(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Sums, extremes, and both histograms."""
    windows = make_random_windows(random.Random(5), NOW_S, NOW_S + HOUR_S, 0.8)
    site.store_windows(*windows)

    run_compaction(store, clock)

    (row,) = [
        dict(zip(tables.rollup_hour.columns.keys(), one, strict=True)) for one in read_table(store, tables.rollup_hour)
    ]
    stats = [compute_window_stats(one) for one in windows]
    rtts = [rtt for one in windows for rtt in one.rtt_us if rtt is not None]
    for name in ("expected", "sent", "received"):
        assert row[name] == sum(getattr(one, name) for one in stats)
    assert (row["min_us"], row["sum_us"], row["max_us"]) == (min(rtts), sum(rtts), max(rtts))
    assert (row["windows"], row["duplicates"]) == (len(windows), sum(one.duplicates for one in windows))
    for failure, name in tables.FAILURE_COLUMNS.items():
        assert row[name] == sum(one.failures.get(failure, 0) for one in stats)
    histogram = Histogram.decode(row["rtt_histogram"])
    assert (histogram.total, histogram.count_at_or_below(5_000)) == (len(rtts), sum(rtt <= 5_000 for rtt in rtts))
    p95s = [one.p95_us for one in stats if one.p95_us is not None]
    assert Histogram.decode(row["p95_histogram"]).count_at_or_below(5_000) == sum(value <= 5_000 for value in p95s)
    assert row["p95_infinite"] == sum(one.p95_us is None and one.sent > 0 for one in stats)
    assert row["simulated"] is False


def reference(paths: Iterable[Iterable[Window]]) -> dict[int, WindowEvaluation]:
    """Each minute of a pair judged one by one."""
    by_minute: dict[int, list[WindowEvaluation]] = {}
    for windows in paths:
        for one in windows:
            found = evaluation.evaluate_profile(compute_window_stats(one), get_criteria(PROFILE), one.error_bound)
            by_minute.setdefault(one.start_s, []).append(found)
    return {t: combine_paths(found) for t, found in by_minute.items()}


def test_a_tally_counts_what_the_judge_says(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Both readings of a pair of two paths."""
    rng = random.Random(6)
    sent = [make_random_windows(rng, NOW_S, NOW_S + HOUR_S, 0.8) for _ in range(2)]
    for agent, windows in zip(("fra1", "fra2"), sent, strict=True):
        site.store_windows(*windows, agent=agent)

    run_compaction(store, clock)

    (row,) = read_table(store, tables.tally_hour)
    judged = reference(sent).values()
    expected = [
        Counter(getattr(one, reading).value for one in judged)[state]
        for reading in ("worst_case", "best_case")
        for state in ("good", "bad", "unavailable")
    ]
    assert list(row[4:10]) == expected
    assert row[10] == min(rtt for windows in sent for one in windows for rtt in one.rtt_us if rtt is not None)


def test_doing_it_again_changes_nothing(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Everything marked and compacted a second time: the same bytes in every table."""
    rng = random.Random(7)
    site.store_windows(*make_random_windows(rng, MIDNIGHT_S - 4 * HOUR_S, MIDNIGHT_S - HOUR_S))
    site.store_windows(*make_random_windows(rng, MIDNIGHT_S - 3 * HOUR_S, MIDNIGHT_S - 2 * HOUR_S))
    run_compaction(store, clock)
    before = [read_table(store, kept) for kept in KEPT]
    assert all(before)
    assert run_compaction(store, clock) == CompactionResult()

    with store.write() as writer:
        dirty_hours.mark_all_dirty(writer.connection)
    done = run_compaction(store, clock)

    assert (done.hours, done.days, done.failed, done.left) == (1, 1, 0, 0)
    assert [read_table(store, kept) for kept in KEPT] == before
    assert waiting(store) == []


def test_what_comes_while_an_hour_is_computed_is_not_lost(
    database: Database, site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """A batch between reading and writing: nothing is written, the mark stays, and the next round has it all."""

    class Meddling(Store):
        """Stores one more batch right before compaction writes."""

        def make_partitions(self, times: Iterable[int]) -> None:
            site.store_windows(build_steady_window(9_000, NOW_S + 60), received_s=NOW_S + HOUR_S)
            super().ensure_partitions(times)

    site.store_windows(build_steady_window(2_000, NOW_S))

    done = run_compaction(Meddling(database), clock)
    assert (done.hours, done.left, waiting(store)) == (0, 1, [(NOW_S, NOW_S)])
    assert read_table(store, tables.rollup_hour) == []

    run_compaction(store, clock)
    assert is_same_series(
        site.load_series(site.find_path(), NOW_S, NOW_S + 180),
        site.load_series_from_windows(site.find_path(), NOW_S, NOW_S + 180),
    )
    assert waiting(store) == []


def test_one_at_a_time_works_on_a_site(database: Database, site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Another process, or thread, has the site: it is left to it."""
    site.store_windows(build_steady_window(2_000, NOW_S))
    other = store if database.is_sqlite else Store(database)

    with other.try_lock(SITE_LOCK, site_id(store)) as is_ours:
        assert is_ours
        assert (run_compaction(store, clock).left, len(waiting(store))) == (1, 1)
    assert run_compaction(store, clock).hours == 1


def test_one_round_does_every_day_and_site(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Five days of two sites: nothing is left because two days of a site, or two sites, came at the same time."""
    days = [MIDNIGHT_S - number * DAY_S for number in range(1, 6)]
    for day_s in days:
        site.store_windows(build_steady_window(2_000, day_s))
        site.store_windows(build_steady_window(2_000, day_s), agent="ams1", target="fra1")

    done = run_compaction(store, clock)

    assert (done.hours, done.days, done.left, waiting(store)) == (10, 10, 0, [])


def site_id(store: Store, name: str = "fra") -> int:
    """The number of a site."""
    with store.read() as reader:
        return next(int(row[0]) for row in reader.connection.execute(tables.site.select()) if row[1] == name)


def test_an_hour_that_is_not_over_is_brought_up_to_date_and_stays_marked(
    site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """After five minutes; without a chunk, and what comes next is read from the windows."""
    hour_s = NOW_S + 2 * HOUR_S
    site.store_windows(build_steady_window(2_000, hour_s))
    clock.step(-10 * NS_PER_S)
    assert run_compaction(store, clock).hours == 0

    clock.step(10 * NS_PER_S)
    assert run_compaction(store, clock).hours == 1

    assert waiting(store) == [(hour_s, hour_s + HOUR_S)]
    assert (len(read_table(store, tables.rollup_hour)), read_table(store, tables.chunk)) == (1, [])
    assert run_compaction(store, clock) == CompactionResult()
    site.store_windows(build_steady_window(3_000, hour_s + 60))
    assert waiting(store) == [(hour_s, hour_s + 60)]
    assert is_same_series(
        site.load_series(site.find_path(), hour_s, hour_s + 180),
        site.load_series_from_windows(site.find_path(), hour_s, hour_s + 180),
    )

    clock.advance(HOUR_S * NS_PER_S)
    run_compaction(store, clock)
    assert (waiting(store), len(read_table(store, tables.chunk))) == ([], 1)


def test_simulated_windows_have_rollups_and_no_chunk(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Their round trips are not known one by one: no sum and no histogram of them, but the windows are there."""
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

    (row,) = [
        dict(zip(tables.rollup_hour.columns.keys(), one, strict=True)) for one in read_table(store, tables.rollup_hour)
    ]
    assert (row["sum_us"], row["rtt_histogram"], row["received"], row["timeout_count"]) == (None, None, 58, 2)
    assert (row["simulated"], read_table(store, tables.chunk)) == (True, [])
    assert is_same_series(
        site.load_series(path, NOW_S, NOW_S + 60), site.load_series_from_windows(path, NOW_S, NOW_S + 60)
    )


def test_windows_that_are_gone_stay_in_the_series_and_late_ones_join_them(
    site: RollupFixture, store: Store, clock: FakeClock
) -> None:
    """Retention took the rows; an hour's rollup still has them, also after a late batch had it compacted anew."""
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
    marked = site.load_series(site.find_path(), NOW_S, NOW_S + HOUR_S)
    run_compaction(store, clock)
    compacted = site.load_series(site.find_path(), NOW_S, NOW_S + HOUR_S)

    assert is_same_series(marked, compacted)
    assert compacted.received.sum() == sum(compute_window_stats(one).received for one in (*early, *late))
    (row,) = [
        dict(zip(tables.rollup_hour.columns.keys(), one, strict=True)) for one in read_table(store, tables.rollup_hour)
    ]
    assert row["duplicates"] == sum(one.duplicates for one in (*early, *late))
    ((*_, body),) = read_table(store, tables.chunk)
    assert Chunk.decode(body).to_windows(NOW_S) == sorted((*early, *late), key=lambda one: one.start_s)


def test_a_day_adds_up_its_hours(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """The tally of a day that is over, counted from its windows; late data has it done again."""
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
        (tally,) = [
            dict(zip(tables.tally_day.columns.keys(), one, strict=True)) for one in read_table(store, tables.tally_day)
        ]
        states = reference([windows])
        assert tally["good"] == sum(one.worst_case.value == "good" for one in states.values())
        rtts = [rtt for one in windows for rtt in one.rtt_us if rtt is not None]
        assert (tally["t"], tally["min_us"]) == (day_s, min(rtts))


def test_a_new_profile_of_the_mesh_counts_what_is_there(site: RollupFixture, store: Store, clock: FakeClock) -> None:
    """Months that were compacted before the mesh named it are counted by it; what it names no more is forgotten."""
    day_s = MIDNIGHT_S - DAY_S
    site.store_windows(*make_random_windows(random.Random(10), day_s, day_s + 2 * HOUR_S))
    run_compaction(store, clock)
    before = [len(read_table(store, one)) for one in (tables.tally_hour, tables.tally_day)]

    RollupFixture(store, clock, MESH.replace(PROFILE, "vsan-stretched"))
    run_compaction(store, clock)

    assert [(row[1], row[3]) for row in read_table(store, tables.rule)] == [("vsan-stretched", True)]
    assert [len(read_table(store, one)) for one in (tables.tally_hour, tables.tally_day)] == before
    fresh = read_table(store, tables.tally_hour)
    with store.write() as writer:
        dirty_hours.mark_all_dirty(writer.connection)
    run_compaction(store, clock)
    assert read_table(store, tables.tally_hour) == fresh
