"""The matrix from state counts equals an evaluation of every window, with any state of compaction and late data."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete

from leadline.evaluation import WindowEvaluation, WindowState
from leadline.model import Failure, Window
from leadline_collector.analysis.documents import MatrixPairResponse, StateCountsResponse
from leadline_collector.analysis.matrix import RECENT_WINDOWS, build_matrix
from leadline_collector.db import tables
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.mesh import registry
from leadline_collector.rollup import compaction, profile_revisions
from leadline_collector.rollup.worker import run_compaction
from leadline_collector.time_range import TimeRange
from leadline_collector.windows import store as window_store
from leadline_collector.windows.row_evaluation import RowEvaluator, RowValues
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, build_steady_window, build_window
from tests.support.rollup_data import DAY_S, MIDNIGHT_S, RollupFixture, make_random_windows

NS_PER_S = 1_000_000_000
HOUR_S = 3_600
PROFILE = "vcf9-stretched-cluster"
#: No pair of the mesh uses it, so it has no counts, and the response comes from windows only.
UNUSED_PROFILE = "vsan-stretched"


@pytest.fixture(name="clock")
def _clock() -> FakeClock:
    return FakeClock(wall_ns=(NOW_S + 30 * 60) * NS_PER_S)


def evaluate_windows(reader: ReadTransaction, site: RollupFixture, profile: str, period: TimeRange) -> dict[str, Any]:
    """Evaluate every window of the pair fra → ams, as reference."""
    evaluator = RowEvaluator(profile_revisions.get_evaluation_plan(profile))
    columns = ("t", "epoch", "min_us", "p50_us", "p95_us", *evaluator.columns)
    minutes: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    paths = 0
    for agent in ("fra1", "fra2"):
        rows = window_store.load_path_windows(
            reader.connection, site.find_path(agent), columns, period.start_s, period.end_s
        )
        paths += bool(rows)
        for row in rows:
            minutes[row[0]].append(row)
    if not minutes:
        return {
            "paths": 0,
            "at": None,
            "state": WindowState.UNKNOWN,
            "cause": None,
            "rtt": (None, None, None),
        } | _counts([], period)
    last_rows = minutes[max(minutes)]
    results = [evaluator.evaluate_paths([_row_values(row) for row in rows]) for rows in minutes.values()]
    all_rows = [row for rows in minutes.values() for row in rows]
    last = evaluator.evaluate_paths([_row_values(row) for row in last_rows])
    is_recent = max(minutes) >= period.end_s - RECENT_WINDOWS * 60
    return {
        "paths": paths,
        "at": max(minutes),
        "state": last.worst_case if is_recent else WindowState.UNKNOWN,
        "cause": last.cause if is_recent else None,
        "rtt": (
            min((row[2] for row in all_rows if row[2] is not None), default=None),
            max((row[3] for row in last_rows if row[3] is not None), default=None),
            max((row[4] for row in last_rows if row[4] is not None), default=None),
        ),
    } | _counts(results, period)


def _row_values(row: tuple[Any, ...]) -> RowValues:
    return row[5:]


def _counts(results: list[WindowEvaluation], period: TimeRange) -> dict[str, Any]:
    return {
        name: Counter(
            [getattr(result, scenario).value for result in results] + ["unknown"] * (period.window_count - len(results))
        )
        for name, scenario in (("pessimistic", "worst_case"), ("optimistic", "best_case"))
    } | {"causes": Counter(result.cause.value for result in results if result.cause is not None)}


def to_comparable(pair: MatrixPairResponse) -> dict[str, Any]:
    """Return the values of a response in the form of ``evaluate_windows``."""

    def counts(state_counts: StateCountsResponse) -> Counter[str]:
        return +Counter({state.value: getattr(state_counts, state.value) for state in WindowState})

    return {
        "paths": pair.paths,
        "at": pair.state_at,
        "state": pair.state,
        "cause": pair.cause,
        "rtt": (pair.rtt_us.min, pair.rtt_us.p50, pair.rtt_us.p95),
        "pessimistic": counts(pair.pessimistic),
        "optimistic": counts(pair.optimistic),
        "causes": +Counter(msgspec.structs.asdict(pair.causes)),
    }


@pytest.mark.parametrize("profile", [PROFILE, UNUSED_PROFILE])
@pytest.mark.parametrize("seed", range(3))
def test_state_counts_agree_with_the_windows(store: Store, clock: FakeClock, profile: str, seed: int) -> None:
    """Random periods of random windows of three days, before and after compaction, with late windows in between."""
    rng = random.Random(f"{profile}{seed}")
    site = RollupFixture(store, clock)
    first_s = MIDNIGHT_S - 2 * DAY_S - 5 * HOUR_S
    for _ in range(3):
        for agent in rng.sample(["fra1", "fra2"], rng.randint(1, 2)):
            for start_s in rng.sample(range(first_s, NOW_S, HOUR_S), 8):
                site.store_windows(*make_random_windows(rng, start_s, start_s + HOUR_S, 0.2), agent=agent)
            site.store_windows(
                *make_random_windows(rng, NOW_S, NOW_S + 1_200, 0.5),
                *make_random_windows(rng, NOW_S + 1_200, NOW_S + 1_260, 1),
                agent=agent,
            )
        for _ in range(2):
            for _ in range(4):
                start_s, end_s = sorted(rng.sample(range(first_s, NOW_S + 1_500, 60), 2))
                _compare(store, site, profile, TimeRange(start_s=start_s, end_s=end_s))
            _compare(store, site, profile, TimeRange(start_s=MIDNIGHT_S - 2 * DAY_S, end_s=MIDNIGHT_S))
            _compare(store, site, profile, TimeRange(start_s=first_s, end_s=NOW_S + 1_260))
            run_compaction(store, clock)


def _compare(store: Store, site: RollupFixture, profile: str, period: TimeRange) -> None:
    pair = next(pair for pair in build_matrix(store, profile, period).pairs if pair.source == "fra")
    with store.read() as reader:
        assert to_comparable(pair) == evaluate_windows(reader, site, profile, period)


@pytest.mark.parametrize("profile", [PROFILE, UNUSED_PROFILE])
def test_the_matrix_is_the_same_after_the_windows_expired(store: Store, clock: FakeClock, profile: str) -> None:
    """The rollups contain everything that the matrix needs."""
    rng = random.Random(11)
    site = RollupFixture(store, clock)
    for start_s in range(MIDNIGHT_S - DAY_S - HOUR_S, MIDNIGHT_S + HOUR_S, 5 * HOUR_S):
        site.store_windows(*make_random_windows(rng, start_s, start_s + HOUR_S))
    run_compaction(store, clock)
    periods = [
        TimeRange(start_s=MIDNIGHT_S - DAY_S, end_s=MIDNIGHT_S),
        TimeRange(start_s=MIDNIGHT_S - DAY_S - HOUR_S + 600, end_s=MIDNIGHT_S + 1_800),
    ]
    before = [build_matrix(store, profile, period) for period in periods]
    assert [answer.pairs[0].paths for answer in before] == [1, 1]

    with store.write() as writer:
        writer.connection.execute(delete(tables.window_stat))

    assert [build_matrix(store, profile, period) for period in periods] == before


def test_counts_of_another_revision_are_not_used(store: Store, clock: FakeClock) -> None:
    """After a change of the criteria, counts are used only when all hours were counted again."""
    site = RollupFixture(store, clock)
    site.store_windows(*make_random_windows(random.Random(12), NOW_S - 2 * HOUR_S, NOW_S - HOUR_S))
    run_compaction(store, clock)
    period = TimeRange(start_s=NOW_S - 2 * HOUR_S, end_s=NOW_S - HOUR_S)
    before = build_matrix(store, PROFILE, period)
    with store.write() as writer:
        writer.connection.execute(tables.tally_hour.update().values(good=0, bad=60))
        assert profile_revisions.find_complete_revision(writer.connection, PROFILE) is not None
    assert build_matrix(store, PROFILE, period) != before

    with store.write() as writer:
        writer.connection.execute(tables.rule.update().values(sha256=bytes(32)))
    assert build_matrix(store, PROFILE, period) == before
    run_compaction(store, clock)

    assert build_matrix(store, PROFILE, period) == before
    with store.read() as reader:
        assert profile_revisions.find_complete_revision(reader.connection, PROFILE) is not None


def test_an_unmeasured_pair_is_in_the_matrix(store: Store, clock: FakeClock) -> None:
    """All its windows are unknown."""
    RollupFixture(store, clock, MESH)

    answer = build_matrix(store, PROFILE, TimeRange(start_s=MIDNIGHT_S - DAY_S, end_s=MIDNIGHT_S))

    assert [(pair.paths, pair.pessimistic.unknown, pair.state_at) for pair in answer.pairs] == [(0, 1_440, None)] * 2


def test_a_day_that_is_older_than_its_hours_is_not_used(store: Store, clock: FakeClock) -> None:
    """After a kill between the late hour and its day, the day is dirty, and its hours are used."""
    site = RollupFixture(store, clock)
    day_s = MIDNIGHT_S - DAY_S
    site.store_windows(build_steady_window(2_000, day_s))
    run_compaction(store, clock)
    site.store_windows(build_steady_window(90_000, day_s + HOUR_S))
    with store.read() as reader:
        source_id = registry.load_registry(reader.connection).site_ids["fra"]

    assert compaction.compact_hours(store, source_id, [day_s + HOUR_S], NOW_S)

    _compare(store, site, PROFILE, TimeRange(start_s=day_s, end_s=MIDNIGHT_S))


def test_a_completed_latest_window_replaces_its_first_part(store: Store, clock: FakeClock) -> None:
    """The second part of a minute arrives after its hour was compacted and lowers the median."""
    site = RollupFixture(store, clock)
    hour_s = NOW_S - 2 * HOUR_S
    site.store_windows(build_window([9_000] * 30 + [None] * 30, hour_s, Failure.NOT_SENT))
    run_compaction(store, clock)

    site.store_windows(build_window([None] * 30 + [2_000] * 30, hour_s, Failure.NOT_SENT))

    _compare(store, site, PROFILE, TimeRange(start_s=hour_s, end_s=hour_s + HOUR_S))


def test_the_first_window_is_known_after_its_row_has_expired(store: Store, clock: FakeClock) -> None:
    """Packed hours have the minute of the first window, and the counts have the smallest number of probes."""
    site = RollupFixture(store, clock)
    few = Window(start_s=NOW_S + 17 * 60, interval_ms=2_000, rtt_us=(4_000,) * 30, misses=())
    site.store_windows(few, build_steady_window(4_000, NOW_S + 18 * 60))
    clock.advance(3 * HOUR_S * NS_PER_S)
    run_compaction(store, clock)
    with store.write() as writer:
        writer.connection.execute(delete(tables.window_stat))

    period = TimeRange(start_s=NOW_S - DAY_S, end_s=NOW_S + HOUR_S)
    matrices = [build_matrix(store, profile, period) for profile in (PROFILE, UNUSED_PROFILE)]

    for matrix in matrices:
        (pair,) = [pair for pair in matrix.pairs if pair.source == "fra"]
        assert (pair.measured_since, pair.probes_per_window, pair.unknown_minutes) == (NOW_S + 17 * 60, 30, 41)
        assert pair.data == ["measured"]
