"""Current state of pairs: equal to the state by the stored windows, with late windows and several collectors."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import pytest
from sqlalchemy import select, text, update

from leadline import evaluation
from leadline.evaluation import WindowCause, WindowState
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.model import Mesh
from leadline.mesh.parser import parse_mesh
from leadline.model import Window
from leadline.wire import codec
from leadline_collector.analysis.matrix import build_matrix
from leadline_collector.db.engine import Database
from leadline_collector.db.tables import pair_now, rule
from leadline_collector.db.transactions import Store
from leadline_collector.ingest.imports import ImportOrigin, store_import
from leadline_collector.live import pairs as live_pairs
from leadline_collector.live import store as live_store
from leadline_collector.live import worker as live_worker
from leadline_collector.live.agents import ReportCache
from leadline_collector.live.pairs import RECENT_MINUTES, REFRESH_LOCK, LastCheckedWindows, compute_due_minute
from leadline_collector.live.store import PairNowRow
from leadline_collector.mesh import registry
from leadline_collector.mesh import service as mesh_service
from leadline_collector.mesh.store import ActiveTargetCache
from leadline_collector.rollup import recount
from leadline_collector.rollup.worker import run_compaction
from leadline_collector.time_range import TimeRange
from leadline_collector.windows.row_evaluation import RowEvaluator
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, build_batch, build_steady_window, build_window
from tests.support.rollup_data import DAY_S, RollupFixture, make_random_window

NS_PER_S = 1_000_000_000
PROFILES = ("vcf9-stretched-cluster", "vsan-stretched")
BOTH = MESH.replace('["vcf9-stretched-cluster"]', '["vcf9-stretched-cluster", "vsan-stretched"]')

#: The mesh with the pair fra-par instead of fra-ams.
ELSEWHERE = (
    MESH.replace('sites = ["fra", "ams"]', 'sites = ["fra", "par"]').replace(
        "[[agent]]", '[[site]]\nname = "par"\nlatitude = 48.9\nlongitude = 2.4\n\n[[agent]]', 1
    )
    + '\n[[agent]]\nname = "par1"\nsite = "par"\naddress = "192.0.2.8"\n'
)


@pytest.fixture(name="site")
def _site(store: Store, clock: FakeClock) -> RollupFixture:
    site = RollupFixture(store, clock, BOTH)
    recount.sync_revisions(store)
    return site


def now_s(t: int) -> int:
    """Return a time at which minute ``t`` is the newest due minute."""
    return t + 60 + live_pairs.GRACE_S + 7


def row(store: Store, profile: str = PROFILES[0], source: str = "fra") -> PairNowRow:
    """Return the stored row of the pair from this site to the other."""
    with store.read() as reader:
        sites = registry.load_registry(reader.connection).site_ids
        number = reader.connection.execute(select(rule.c.id).where(rule.c.profile == profile)).scalar_one()
        destination = "ams" if source == "fra" else "fra"
        return live_store.load_pairs(reader.connection)[sites[source], number, sites[destination]]


def after(
    site: RollupFixture, t: int, profile: str = PROFILES[0], last_checked: LastCheckedWindows | None = None
) -> PairNowRow:
    """Refresh when ``t`` is due and return the stored row."""
    live_pairs.refresh_pairs(site.store, now_s(t), {} if last_checked is None else last_checked)
    return row(site.store, profile)


def states(
    site: RollupFixture, profile: str, end_s: int, minutes: int
) -> list[tuple[WindowState, int | None, WindowCause | None]]:
    """Return state, worst p95 and cause of the last minutes before ``end_s``, evaluated row by row."""
    evaluator = RowEvaluator(
        evaluation.plan_evaluation(load_catalogue().get_required_limits(load_catalogue().get_profile(profile)))
    )
    rows = [row for agent in ("fra1", "fra2") for row in site.read_rows(site.find_path(agent))]
    minute_states = []
    for t in range(end_s - 60 * minutes, end_s, 60):
        minute_rows = [row for row in rows if row["t"] == t]
        values = [tuple(row[name] for name in evaluator.columns) for row in minute_rows]
        p95s_us = [
            row["p95_us"]
            for row, row_values in zip(minute_rows, values, strict=True)
            if evaluator.evaluate_row(row_values).worst_case is not WindowState.UNKNOWN
        ]
        pair = evaluator.evaluate_paths(values)
        p95_us = None if None in p95s_us else max(p95s_us, default=None)
        minute_states.append((pair.worst_case, p95_us, pair.cause))
    return minute_states


def expected(site: RollupFixture, profile: str, t: int, day: int) -> dict[str, Any]:
    """Return the expected row by the windows of the last ``day`` minutes, if none of them was too late."""
    last = states(site, profile, t + 60, day)
    run = next((n for n, (state, _, _) in enumerate(reversed(last)) if state is not last[-1][0]), day)
    known_minutes = [
        (t - 60 * n, p95) for n, (state, p95, _) in enumerate(reversed(last)) if state is not WindowState.UNKNOWN
    ]
    known_at, p95_us = known_minutes[0] if known_minutes else (None, None)
    recent = [state for state, _, _ in last[-RECENT_MINUTES:]]
    causes = [cause for _, _, cause in last[-RECENT_MINUTES:]]
    return {
        "t": t, "state": last[-1][0].value, "since": t + 60 - 60 * run, "known_at": known_at, "p95_us": p95_us,
        "good_15": recent.count(WindowState.GOOD), "bad_15": recent.count(WindowState.BAD),
        "unavailable_15": recent.count(WindowState.UNAVAILABLE), "cause": causes[-1],
        "bad_loss_15": causes.count(WindowCause.LOSS), "bad_latency_15": causes.count(WindowCause.LATENCY),
        "bad_both_15": causes.count(WindowCause.BOTH),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_a_row_equals_the_state_of_its_windows(site: RollupFixture, seed: int) -> None:
    """Seventy minutes of two paths with late and missing windows, missed refreshes, and compaction in between."""
    rng, last_checked = random.Random(f"now {seed}"), dict[tuple[int, int], int]()
    waiting: list[tuple[int, str, Window]] = []
    level = {"fra1": True, "fra2": True}
    for n in range(70):
        t = NOW_S + 60 * n
        for agent in level:
            level[agent] ^= rng.random() < 0.1
            if rng.random() < (0.85 if level[agent] else 0.1):
                steady = build_steady_window(3_000 + 40 * (n % 3), t)
                window = make_random_window(rng, t) if rng.random() < 0.3 else steady
                waiting.append((t + 60 * rng.choice([0, 0, 0, 0, 1, 13]), agent, window))
        for _, agent, window in [item for item in waiting if item[0] <= t]:
            site.store_windows(window, agent=agent)
        waiting = [item for item in waiting if item[0] > t]
        if rng.random() < 0.15:
            continue
        live_pairs.refresh_pairs(site.store, now_s(t), last_checked)
        for profile in PROFILES:
            stored = row(site.store, profile)._asdict()
            expected_row = expected(site, profile, t, n + 1)
            if expected_row["since"] == NOW_S:  # no windows before NOW_S: an unknown run may begin earlier
                expected_row["since"] = stored["since"] if expected_row["state"] == WindowState.UNKNOWN else NOW_S
            assert {name: stored[name] for name in expected_row} == expected_row
        if n % 31 == 30:
            run_compaction(site.store, FakeClock(wall_ns=now_s(t) * NS_PER_S))


def test_a_row_equals_the_matrix(site: RollupFixture) -> None:
    """State and counts of the same fifteen minutes are equal."""
    rng = random.Random(8)
    for agent in ("fra1", "fra2"):
        site.store_windows(*(make_random_window(rng, t) for t in range(NOW_S, NOW_S + 1_200, 60)), agent=agent)
    t = NOW_S + 1_140

    for profile in PROFILES:
        stored = after(site, t, profile)
        period = TimeRange(start_s=t + 60 - 60 * RECENT_MINUTES, end_s=t + 60)
        cell = next(pair for pair in build_matrix(site.store, profile, period).pairs if pair.source == "fra")
        assert (stored.t, stored.state) == (cell.state_at, cell.state.value)
        counts = cell.pessimistic
        assert (stored.good_15, stored.bad_15, stored.unavailable_15) == (counts.good, counts.bad, counts.unavailable)


def test_every_pair_of_the_mesh_has_a_row_for_every_profile(site: RollupFixture) -> None:
    """A pair without windows is unknown since the start of the search."""
    site.store_windows(build_steady_window(3_000))

    assert live_pairs.refresh_pairs(site.store, now_s(NOW_S), {}) == 4
    stored = row(site.store, source="ams")
    assert (stored.state, stored.known_at, stored.p95_us) == ("unknown", None, None)
    assert stored.since == NOW_S + 60 - DAY_S
    assert stored[8:12] == (0, 0, 0, False)


def test_a_pair_that_falls_silent_becomes_unknown(site: RollupFixture) -> None:
    """The old state does not stay; the newest known minute stays until it is a day old."""
    site.store_windows(*(build_steady_window(3_000, NOW_S + 60 * n) for n in range(20)))
    last = NOW_S + 19 * 60
    assert after(site, last).state == "good"

    soon, late = after(site, last + 60), after(site, last + 3_600)
    assert (soon.state, soon.since, soon.known_at, soon.p95_us) == ("unknown", last + 60, last, 3_000)
    assert (soon.good_15, late.good_15) == (14, 0)
    assert (late.state, late.since, late.known_at, late.p95_us) == ("unknown", last + 60, last, 3_000)

    assert after(site, last + DAY_S - 60).known_at == last
    gone = after(site, last + DAY_S)
    assert (gone.known_at, gone.p95_us, gone.since) == (None, None, last + 60)


def test_a_run_may_begin_before_the_searched_day(site: RollupFixture) -> None:
    """After two days of good minutes the start is the first of them, though only a day is searched."""
    hours = 48
    for hour in range(hours):
        site.store_windows(*(build_steady_window(3_000, NOW_S + 3_600 * hour + 60 * n) for n in range(60)))
        stored = after(site, NOW_S + 3_600 * hour + 59 * 60)

    assert (stored.state, stored.since) == ("good", NOW_S)


def test_without_a_previous_row_a_run_begins_at_most_a_day_ago(site: RollupFixture) -> None:
    """A new collector searches one day, compacted or not; the run is at least that long."""
    for hour in range(26):
        site.store_windows(*(build_steady_window(3_000, NOW_S + 3_600 * hour + 60 * n) for n in range(60)))
    t = NOW_S + 26 * 3_600 - 60
    run_compaction(site.store, FakeClock(wall_ns=now_s(t) * NS_PER_S))

    assert after(site, t).since == t + 60 - DAY_S


def test_a_backlog_changes_only_the_newest_known_minute(site: RollupFixture) -> None:
    """Bad windows from an hour ago do not change the state."""
    site.store_windows(*(build_steady_window(3_000, NOW_S + 60 * n) for n in range(5)))
    t, last_checked = NOW_S + 90 * 60, dict[tuple[int, int], int]()
    before = after(site, t, last_checked=last_checked)

    site.store_windows(*(build_steady_window(12_000, NOW_S + 60 * n) for n in range(20, 30)))
    first = after(site, t + 60, last_checked=last_checked)
    site.store_windows(*(build_steady_window(12_100, NOW_S + 60 * n) for n in range(30, 40)))
    second = after(site, t + 120, last_checked=last_checked)

    assert (before.known_at, before.p95_us) == (NOW_S + 240, 3_000)
    assert (first.known_at, first.p95_us) == (NOW_S + 29 * 60, 12_000)
    assert (second.known_at, second.p95_us) == (NOW_S + 39 * 60, 12_100)
    for stored in (first, second):
        assert (stored.state, stored.since) == (before.state, before.since)
        assert stored[8:11] == (0, 0, 0)


def test_a_backlog_does_not_move_the_start_of_a_run(site: RollupFixture) -> None:
    """After an outage the agent sends its backlog; the run still begins with the end of the outage."""
    site.store_windows(*(build_steady_window(3_000, NOW_S + 60 * n) for n in range(10)))
    after(site, NOW_S + 9 * 60)
    after(site, NOW_S + 60 * 60)
    back = NOW_S + 61 * 60
    site.store_windows(*(build_steady_window(3_000, back + 60 * n) for n in range(15)))
    assert after(site, back + 14 * 60).since == back

    site.store_windows(*(build_steady_window(3_000, NOW_S + 60 * n) for n in range(10, 61)))

    assert after(site, back + 15 * 60 - 60).since == back


def test_late_windows_of_the_last_fifteen_minutes_move_the_start_of_a_run(site: RollupFixture) -> None:
    """A late window extends the run to an earlier start."""
    site.store_windows(*(build_steady_window(3_000, NOW_S + 60 * n) for n in range(2, 16)))
    assert after(site, NOW_S + 15 * 60).since == NOW_S + 120

    site.store_windows(build_steady_window(3_000, NOW_S + 60))

    assert after(site, NOW_S + 15 * 60).since == NOW_S + 60


def test_a_row_from_before_an_outage_of_the_collector_does_not_bridge_unknown_minutes(site: RollupFixture) -> None:
    """Good before and after with unknown minutes between: the run begins after them."""
    site.store_windows(*(build_steady_window(3_000, NOW_S + 60 * n) for n in range(20)))
    assert after(site, NOW_S + 19 * 60).since == NOW_S
    site.store_windows(*(build_steady_window(3_000, NOW_S + 60 * n) for n in range(60, 90)))

    assert after(site, NOW_S + 89 * 60).since == NOW_S + 3_600


def test_an_infinite_p95_has_no_number(site: RollupFixture) -> None:
    """A path that lost one of ten probes has no p95; the p95 of the other path does not replace it."""
    site.store_windows(build_window([None if slot % 10 == 0 else 3_000 for slot in range(60)]), agent="fra1")
    site.store_windows(build_steady_window(3_000), agent="fra2")

    stored = after(site, NOW_S)

    assert (stored.state, stored.known_at, stored.p95_us) == ("bad", NOW_S, None)


def test_inactive_profiles_and_pairs_have_no_rows(site: RollupFixture, clock: FakeClock) -> None:
    """Rows of profiles and sites that the active mesh does not have are deleted."""
    site.store_windows(build_steady_window(3_000))
    after(site, NOW_S)

    mesh_service.apply_mesh(site.store, clock, MESH.encode())
    assert live_pairs.refresh_pairs(site.store, now_s(NOW_S), {}) == 2
    with site.store.read() as reader:
        assert len(live_store.load_pairs(reader.connection)) == 2
    mesh_service.apply_mesh(site.store, clock, ELSEWHERE.encode())
    assert live_pairs.refresh_pairs(site.store, now_s(NOW_S), {}) == 2
    with site.store.read() as reader:
        sites = registry.load_registry(reader.connection).site_ids
        assert {frozenset(key[::2]) for key in live_store.load_pairs(reader.connection)} == {
            frozenset({sites["fra"], sites["par"]})
        }


def test_the_later_minute_of_two_collectors_wins(site: RollupFixture) -> None:
    """A collector with a late clock changes nothing; a row from the future is replaced."""
    site.store_windows(*(build_steady_window(3_000, NOW_S + 60 * n) for n in range(5)))
    ahead = after(site, NOW_S + 240)

    assert after(site, NOW_S + 180) == ahead

    with site.store.write() as writer:
        writer.connection.execute(
            update(pair_now).values(t=pair_now.c.t + 10 * DAY_S, updated_at=pair_now.c.updated_at + 10 * DAY_S)
        )
    assert after(site, NOW_S + 240).t == NOW_S + 240


def test_too_many_pairs_are_limited_and_logged(
    site: RollupFixture, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the first pairs have rows; the log has both counts."""
    monkeypatch.setattr(live_pairs, "ROWS_MAX", len(PROFILES))

    assert live_pairs.refresh_pairs(site.store, now_s(NOW_S), {}) == len(PROFILES)
    warnings = [record.__dict__ for record in caplog.records if record.levelname == "WARNING"]
    assert [(warning["pairs"], warning["of"]) for warning in warnings] == [(2, 1)]


def test_a_mesh_is_parsed_once_for_concurrent_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty requests that each parse a mesh of 500 sites would take minutes."""
    parsed: list[str] = []

    def slow(text: str) -> Mesh:
        parsed.append(text)
        time.sleep(0.05)
        return parse_mesh(text)

    monkeypatch.setattr(mesh_service, "_parse_cached", lru_cache(slow))
    with ThreadPoolExecutor(8) as pool:
        meshes = list(pool.map(mesh_service._parse, [BOTH] * 8))

    assert parsed == [BOTH]
    assert all(mesh is meshes[0] for mesh in meshes)


def test_one_collector_at_a_time(site: RollupFixture) -> None:
    """A second collector does nothing and returns None."""
    with site.store.try_lock(REFRESH_LOCK, 0) as has_lock:
        assert has_lock
        assert live_pairs.refresh_pairs(site.store, now_s(NOW_S), {}) is None


def test_simulated_pairs_are_marked(store: Store, clock: FakeClock) -> None:
    """The mark of the mesh applies also without recent windows."""
    simulated = BOTH.replace("longitude", "simulated = true\nlongitude")
    site = RollupFixture(store, clock, simulated)
    recount.sync_revisions(store)

    assert after(site, NOW_S).simulated


def test_a_failed_task_does_not_stop_the_other(
    site: RollupFixture, database: Database, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Without its table the refresh of pairs fails and is logged; the agents are refreshed."""
    with database.write() as connection:
        connection.execute(text("ALTER TABLE pair_now RENAME TO pair_then"))

    live_worker.refresh(site.store, clock, ReportCache(), {})

    with site.store.read() as reader:
        assert len(live_store.load_agents(reader.connection)) == 3
    assert [record.__dict__["what"] for record in caplog.records if record.levelname == "ERROR"] == ["pairs"]


def test_a_minute_is_due_a_while_after_its_end() -> None:
    """A minute is due 90 s after its end, when its windows have had time to arrive."""
    end_s = NOW_S + 60

    assert compute_due_minute(end_s + 89) == NOW_S - 60
    assert compute_due_minute(end_s + 90) == NOW_S
    assert live_worker.compute_delay_s(FakeClock(wall_ns=(end_s + 90) * NS_PER_S)) == 60
    assert live_worker.compute_delay_s(FakeClock(wall_ns=(end_s + 89) * NS_PER_S)) == pytest.approx(1)


def test_a_reply_faster_than_light_makes_a_pair_invalid_at_once(site: RollupFixture) -> None:
    """The mark stays for the 15 minutes of the current state, in this direction, by every profile."""
    site.store_windows(build_steady_window(4_000), build_window([4_000] * 59 + [900], NOW_S + 60))

    assert not after(site, NOW_S).invalid
    assert [after(site, NOW_S + 60, profile).invalid for profile in PROFILES] == [True, True]
    assert row(site.store).state == "good"
    assert not row(site.store, source="ams").invalid
    assert after(site, NOW_S + 60 * RECENT_MINUTES).invalid
    assert not after(site, NOW_S + 60 * (RECENT_MINUTES + 1)).invalid


def test_recent_imported_windows_are_marked(site: RollupFixture) -> None:
    """An import of the last minutes is in the current state, with its mark."""
    site.store_windows(build_steady_window(4_000))
    assert not after(site, NOW_S).imported

    origin = ImportOrigin(source="import:fra2", file="a.log", sha256="0" * 64, format="csv")
    body = codec.encode(build_batch(("ams1", build_steady_window(5_000)), agent="import:fra2", mesh_version=0))
    store_import(site.store, ActiveTargetCache(), (NOW_S + 120) * 1_000_000, body, "", origin, check=False)

    assert after(site, NOW_S + 60).imported
    assert not row(site.store, source="ams").imported
