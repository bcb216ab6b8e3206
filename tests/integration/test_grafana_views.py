"""Database views for Grafana: access rights, and agreement with the verdict code."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import groupby, product
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import and_, select
from sqlalchemy.engine import URL

from leadline import propagation
from leadline.errors import ConfigError, UnavailableError
from leadline.evaluation import WindowCause, WindowState
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.parser import parse_mesh
from leadline.model import Pair
from leadline_cli.commands.demo import build_mesh_toml
from leadline_collector.analysis.matrix import build_matrix
from leadline_collector.analysis.profiles import list_weak_limits
from leadline_collector.analysis.verdicts import VerdictRequest, compute_verdicts
from leadline_collector.db import schema, tables
from leadline_collector.db.engine import Database
from leadline_collector.db.grafana_role import grant_access
from leadline_collector.mesh import registry
from leadline_collector.rollup import hour_reader, profile_revisions, state_counts
from leadline_collector.time_range import TimeRange
from leadline_migrations.versions.v0008_grafana import VIEWS
from leadline_verdict.decision import VerdictRule
from leadline_verdict.episodes import MERGE_GAP_WINDOWS
from leadline_verdict.requirements import NO_OVERRIDES
from leadline_verdict.states import (
    BOTH,
    CAUSES_BY_CODE,
    GOOD,
    LATENCY,
    LOSS,
    NO_CAUSE,
    OUTAGE,
    STATES_BY_CODE,
    UNKNOWN,
)
from tests.support import postgres
from tests.support.grafana_data import DAY_S, HOUR_S, Demo, demo, reader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PAIRS = tuple(parse_mesh(build_mesh_toml()).pairs)
CITIES = ("frankfurt", "zurich", "amsterdam", "london", "new-york", "singapore")
CITY_PAIRS = [pair for pair in PAIRS if pair.source in CITIES]
PROFILES = sorted({name for settings in parse_mesh(build_mesh_toml()).pairs.values() for name in settings.profiles})


@pytest.fixture(scope="module", name="filled")
def _filled(postgres_server: URL) -> Iterator[Demo]:
    with demo(postgres_server) as filled:
        yield filled


@pytest.fixture(name="connection")
def _connection(filled: Demo) -> Iterator[psycopg.Connection]:
    with reader(filled.url) as connection:
        yield connection


@pytest.mark.parametrize("view", VIEWS)
def test_the_role_reads_every_view(connection: psycopg.Connection, view: str) -> None:
    """Each view has rows on the demo's data."""
    (rows,) = connection.execute(f"SELECT count(*) FROM {view}").fetchone() or (0,)

    assert rows > 0


@pytest.mark.parametrize("table", tables.metadata.tables)
def test_the_role_reads_no_table(connection: psycopg.Connection, table: str) -> None:
    """It cannot read keys, bodies or the audit log."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"SELECT 1 FROM {table}")


@pytest.mark.source_tree
@pytest.mark.parametrize("view", VIEWS)
def test_every_column_is_documented(connection: psycopg.Connection, view: str) -> None:
    """The documentation is docs/grafana.md."""
    page = (Path(__file__).parents[2] / "docs" / "grafana.md").read_text(encoding="utf-8")

    names = [column.name for column in connection.execute(f"SELECT * FROM {view} LIMIT 0").description or ()]

    assert names
    assert [name for name in (view, *names) if f"`{name}`" not in page] == []


def load_shares(
    connection: psycopg.Connection, profile: str, start_s: int, end_s: int
) -> dict[tuple[str, str], list[Any]]:
    """Return the result of ``grafana_share`` for each pair: counts, ratios, lowest round trip."""
    columns = (
        "windows, good, bad, unavailable, unknown, observed, pessimistic, optimistic, coverage, bad_loss, bad_latency, "
        "bad_both, min_us, simulated, first_t, last_t, imported, expected_min"
    )
    rows = connection.execute(
        f"SELECT source, destination, {columns} FROM grafana_share(%s, %s, %s)", (profile, start_s, end_s)
    ).fetchall()
    return {(row[0], row[1]): list(row[2:]) for row in rows}


def periods(filled: Demo) -> list[TimeRange]:
    """Return periods of whole hours: whole days, partial days at both ends, within a day, over midnight, with today."""
    start_s, end_s = filled.start_s, filled.end_s // HOUR_S * HOUR_S - HOUR_S
    return [
        TimeRange(start_s=start_s + offset_s, end_s=period_end_s)
        for offset_s, period_end_s in (
            (0, start_s + 7 * DAY_S),
            (5 * HOUR_S, start_s + 6 * DAY_S + 3 * HOUR_S),
            (2 * DAY_S + HOUR_S, start_s + 2 * DAY_S + 9 * HOUR_S),
            (3 * DAY_S - 2 * HOUR_S, start_s + 3 * DAY_S + 2 * HOUR_S),
            (DAY_S, end_s),
        )
    ]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("number", range(5))
def test_shares_match_the_matrix(filled: Demo, connection: psycopg.Connection, profile: str, number: int) -> None:
    """Over whole hours, for every pair: counts, worst case, best case, coverage and the lowest round trip."""
    period = periods(filled)[number]

    shares = load_shares(connection, profile, period.start_s, period.end_s)

    pairs = [pair for pair in build_matrix(filled.store, profile, period).pairs if pair.paths]
    expected = {
        (pair.source, pair.destination): [
            period.window_count,
            pair.pessimistic.good,
            pair.pessimistic.bad,
            pair.pessimistic.unavailable,
            pair.pessimistic.unknown,
            pair.pessimistic.good_ratio,
            pair.pessimistic.good / period.window_count,
            (pair.optimistic.good + pair.optimistic.unknown) / period.window_count,
            pair.pessimistic.coverage_ratio,
            pair.causes.loss,
            pair.causes.latency,
            pair.causes.both,
            pair.rtt_us.min,
            True,
            period.start_s,
            period.end_s,
            pair.imported,
            pair.probes_per_window,
        ]
        for pair in pairs
    }
    assert len(expected) == len(CITY_PAIRS)
    assert shares == expected


def test_shares_match_the_verdict(filled: Demo, connection: psycopg.Connection) -> None:
    """Whole days, every pair, every profile; the verdict computes them differently."""
    period = TimeRange(start_s=filled.start_s, end_s=filled.start_s + 7 * DAY_S)
    verdict_request = VerdictRequest(
        period=period, pair=None, sites=CITIES, profiles=tuple(PROFILES), overrides=NO_OVERRIDES, rule=VerdictRule()
    )

    shares = {profile: load_shares(connection, profile, period.start_s, period.end_s) for profile in PROFILES}

    document = compute_verdicts(filled.store, verdict_request)
    assert {(verdict.source, verdict.destination, verdict.profile) for verdict in document.pairs} == {
        (*pair, profile) for profile, pairs in shares.items() for pair in pairs
    }
    for verdict in document.pairs:
        row = shares[verdict.profile][verdict.source, verdict.destination]
        windows, *_, observed, pessimistic, optimistic, coverage = row[:9]
        worst_case, best_case = verdict.shares.pessimistic.states, verdict.shares.optimistic.states
        assert [observed, pessimistic, optimistic, coverage] == [
            verdict.shares.observed,
            worst_case.good / windows,
            (best_case.good + best_case.unknown) / windows,
            verdict.coverage,
        ]


def test_dirty_days_are_counted_from_hours(filled: Demo, connection: psycopg.Connection) -> None:
    """Wrong counts of a dirty day have no effect; wrong counts of a clean day do."""
    start_s, end_s = filled.start_s, filled.start_s + 3 * DAY_S
    before = load_shares(connection, PROFILES[0], start_s, end_s)
    day = tables.tally_day.c
    with filled.store.read() as read:
        good_counts = read.connection.execute(select(day.good).where(day.t == start_s + DAY_S)).scalars().all()
    assert good_counts
    with filled.store.write() as writer:
        writer.connection.execute(
            tables.tally_day.update().where(day.t == start_s + DAY_S).values(good=day.bad, bad=day.good)
        )

    clean = load_shares(connection, PROFILES[0], start_s, end_s)
    with filled.store.write() as writer:
        sites = writer.connection.execute(select(tables.site.c.id)).scalars().all()
        rows = [{"source_id": site, "t": start_s + DAY_S} for site in sites]
        writer.connection.execute(tables.mark_day.insert(), rows)
    dirty = load_shares(connection, PROFILES[0], start_s, end_s)

    with filled.store.write() as writer:
        writer.connection.execute(
            tables.tally_day.update().where(day.t == start_s + DAY_S).values(good=day.bad, bad=day.good)
        )
        writer.connection.execute(tables.mark_day.delete().where(tables.mark_day.c.t == start_s + DAY_S))
    assert clean != before
    assert dirty == before


def test_states_and_episodes_match_the_windows(filled: Demo, connection: psycopg.Connection) -> None:
    """Every minute of every pair with its cause, and its runs of bad minutes, joined over gaps of at most two."""
    length_s, joined_count = 7 * DAY_S, 0
    cause_counts: Counter[str | None] = Counter()
    condition = "source = %s AND destination = %s AND profile = %s"
    for pair, profile in product(CITY_PAIRS, PROFILES):
        expected, causes = _states(filled, pair, profile, length_s)
        parameters = (pair.source, pair.destination, profile)
        end_s = filled.start_s + length_s

        runs = connection.execute(
            f"SELECT t, until_t, state, cause FROM grafana_state WHERE {condition} AND hour_t < %s",
            (*parameters, end_s),
        ).fetchall()
        episodes = connection.execute(
            "SELECT t, until_t, windows, unavailable, bad_loss, bad_latency, bad_both "
            f"FROM grafana_episode WHERE {condition} AND until_t < %s ORDER BY t",
            (*parameters, end_s - 180),
        ).fetchall()

        minutes = {t: state for start, until, state, _ in runs for t in range(start, until, 60)}
        causes_by_minute = {t: cause for start, until, _, cause in runs for t in range(start, until, 60)}
        assert [minutes.get(t, "unknown") for t in range(filled.start_s, filled.start_s + length_s, 60)] == [
            STATES_BY_CODE[code].value for code in expected
        ]
        assert [causes_by_minute.get(t) for t in range(filled.start_s, filled.start_s + length_s, 60)] == [
            CAUSES_BY_CODE[code] for code in causes
        ]
        assert [episode[:3] for episode in episodes] == [
            episode for episode in _episodes(expected, filled.start_s) if episode[1] < end_s - 180
        ]
        for start, until, windows, *counts in episodes:
            codes = causes[(start - filled.start_s) // 60 : (until - filled.start_s) // 60]
            assert counts == [codes.count(code) for code in (OUTAGE, LOSS, LATENCY, BOTH)]
            joined_count += windows * 60 < until - start
        cause_counts.update(causes_by_minute.values())
    assert joined_count > 0
    assert all(cause_counts[cause] for cause in (WindowCause.OUTAGE, WindowCause.LOSS, WindowCause.LATENCY))


def _states(filled: Demo, pair: Pair, profile: str, length_s: int) -> tuple[list[int], list[int]]:
    """Return state and cause of every minute from the windows."""
    with filled.store.read() as read:
        ids = registry.load_registry(read.connection)
        source_id, destination_id = ids.site_ids[pair.source], ids.site_ids[pair.destination]
        hours = hour_reader.load_hours(
            read.connection, ids.agents_by_site[source_id], filled.start_s, filled.start_s + length_s
        )
        evaluation = state_counts.evaluate_pair_hours(
            hours, profile_revisions.get_criteria(profile), ids.site_by_agent, ids.site_by_target
        )
    rows = {key[2]: row for row, key in enumerate(evaluation.keys) if key[1] == destination_id}
    states, causes = [UNKNOWN] * (length_s // 60), [NO_CAUSE] * (length_s // 60)
    for hour_s, row in rows.items():
        minutes = slice((hour_s - filled.start_s) // 60, (hour_s - filled.start_s) // 60 + 60)
        states[minutes], causes[minutes] = evaluation.worst_case[row].tolist(), evaluation.causes[row].tolist()
    return states, causes


def _episodes(states: list[int], start_s: int) -> list[tuple[int, int, int]]:
    """Return start, end and bad windows of maximal runs, joined over gaps of ``MERGE_GAP_WINDOWS``."""
    bad_indices = [index for index, code in enumerate(states) if code not in (GOOD, UNKNOWN)]
    episodes: list[tuple[int, int, int]] = []
    for _, group in groupby(enumerate(bad_indices), lambda entry: entry[1] - entry[0]):
        run = list(map(itemgetter(1), group))
        if episodes and run[0] - episodes[-1][1] <= MERGE_GAP_WINDOWS:
            episodes[-1] = (episodes[-1][0], run[-1] + 1, episodes[-1][2] + len(run))
        else:
            episodes.append((run[0], run[-1] + 1, len(run)))
    return [(start_s + 60 * first, start_s + 60 * end, windows) for first, end, windows in episodes]


def test_limits_have_the_reservations_of_verdicts(connection: psycopg.Connection) -> None:
    """A superseded limit says so; a current requirement has none."""
    rows = connection.execute("SELECT profile, limit_id, reservations FROM grafana_limit").fetchall()

    texts = {(profile, f"{limit_id}: {text}") for profile, limit_id, text in rows if text is not None}
    assert ("netapp-metrocluster-ip", "netapp-metrocluster-ip-isl-rtt: superseded") in texts
    assert all(text in list_weak_limits(profile) for profile, text in texts)
    assert not [profile for profile, _ in texts if profile in PROFILES[:2]]


def test_an_invalid_pair_replaces_the_measured_state(filled: Demo, connection: psycopg.Connection) -> None:
    """It has no cause, and a stale row is unknown as before."""
    columns = "state, state_now, cause_now, invalid, imported"
    query = f"SELECT {columns} FROM grafana_pair_now ORDER BY source, destination, profile LIMIT 1"
    now = tables.pair_now
    key = (now.c.source_id, now.c.rule_id, now.c.destination_id)
    with filled.store.read() as reader:
        before = reader.connection.execute(select(*key, now.c.updated_at)).all()
    with filled.store.write() as writer:
        writer.connection.execute(now.update().values(invalid=True, imported=True, updated_at=1 << 33))

    (row,) = connection.execute(query).fetchall()

    with filled.store.write() as writer:
        writer.connection.execute(now.update().values(invalid=False, imported=False))
        for source, revision, destination, updated_at in before:
            condition = and_(key[0] == source, key[1] == revision, key[2] == destination)
            writer.connection.execute(now.update().where(condition).values(updated_at=updated_at))
    assert row[0] in {state.value for state in WindowState}
    assert row[1:] == ("invalid", None, True, True)


def test_limits_and_floors_match_catalogue_and_propagation_delay(connection: psycopg.Connection) -> None:
    """Every profile has its limits, and every pair of the mesh a floor."""
    limits = connection.execute("SELECT DISTINCT profile FROM grafana_limit").fetchall()
    floors = connection.execute("SELECT source, destination, distance_km, glass_us FROM grafana_pair").fetchall()

    assert {row[0] for row in limits} <= set(load_catalogue().profiles)
    assert {row[0] for row in limits} >= set(PROFILES)
    assert {(row[0], row[1]) for row in floors} == {(pair.source, pair.destination) for pair in PAIRS}
    mesh = parse_mesh(build_mesh_toml())
    delay = propagation.compute_propagation_delay(mesh.get_site("frankfurt"), mesh.get_site("london"))
    (london,) = [row[2:] for row in floors if row[:2] == ("frankfurt", "london")]
    assert (london[0], float(london[1])) == (delay.distance_km, delay.glass_ns / 1_000)


def test_a_user_of_the_role_logs_in_and_reads(filled: Demo) -> None:
    """A second call changes the password; the user cannot write."""
    database = Database(filled.url)
    grant_access(database, "leadline_test_grafana", "first password")

    views = grant_access(database, "leadline_test_grafana", "it's-another")

    database.close()
    assert views == sorted(VIEWS)
    url = filled.url.set(username="leadline_test_grafana", password="it's-another")
    with psycopg.connect(postgres.build_conninfo(url), autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM grafana_pair").fetchone() == (len(PAIRS),)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TEMP TABLE mine (x int)")
    with filled.store.write() as writer:
        writer.connection.exec_driver_sql("DROP OWNED BY leadline_test_grafana")
        writer.connection.exec_driver_sql("DROP ROLE leadline_test_grafana")


@pytest.mark.parametrize("name", ["Grafana", "a-b", "x; DROP TABLE y", "", "a" * 64])
def test_a_user_name_that_needs_quotes_is_refused(filled: Demo, name: str) -> None:
    """Every statement would have to quote it."""
    database = Database(filled.url)
    try:
        with pytest.raises(ConfigError, match="lower-case"):
            grant_access(database, name, "password")
    finally:
        database.close()


@pytest.mark.skipif(postgres.SERVER_ENV_VAR in os.environ, reason="needs a server without the role")
def test_a_migration_without_the_right_to_create_roles_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    """It creates the views; the log and the command ``grant-reader`` name the statement to run."""
    with postgres.run_server() as server:
        url = postgres.create_database(server, "mine")
        with psycopg.connect(postgres.build_conninfo(url), autocommit=True) as admin:
            admin.execute("CREATE ROLE owner LOGIN")
            admin.execute("GRANT ALL ON SCHEMA public TO owner")
        database = Database(url.set(username="owner"))
        try:
            schema.upgrade(database)
            with database.read() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM grafana_pair").scalar_one() == 0
            assert "CREATE ROLE leadline_reader NOLOGIN" in caplog.text
            with pytest.raises(UnavailableError, match="as a user that may create roles"):
                grant_access(database)
            with psycopg.connect(postgres.build_conninfo(url), autocommit=True) as admin:
                admin.execute("CREATE ROLE leadline_reader NOLOGIN")
            assert grant_access(database) == sorted(VIEWS)
        finally:
            database.close()


def test_sqlite_has_no_role(tmp_path: Path) -> None:
    """Grafana cannot read SQLite."""
    database = Database(URL.create("sqlite", database=str(tmp_path / "leadline.sqlite")))
    try:
        with pytest.raises(ConfigError, match="cannot be read by Grafana"):
            grant_access(database)
    finally:
        database.close()
