"""What Grafana may read, and that it says what the verdict code says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby, product
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.engine import URL

from leadline import propagation
from leadline.errors import ConfigError, UnavailableError
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.parser import parse_mesh
from leadline.model import Pair
from leadline_cli.commands.demo import build_mesh_toml
from leadline_collector.analysis.matrix import build_matrix
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
from leadline_verdict.states import GOOD, STATES_BY_CODE, UNKNOWN
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
    """Each has rows on the demo's data, but for days that wait, which are of the open day only."""
    (rows,) = connection.execute(f"SELECT count(*) FROM {view}").fetchone() or (0,)

    assert rows > 0


@pytest.mark.parametrize("table", tables.metadata.tables)
def test_the_role_reads_no_table(connection: psycopg.Connection, table: str) -> None:
    """Keys, bodies and the audit stay where they are, and nothing can be written."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"SELECT 1 FROM {table}")


@pytest.mark.source_tree
@pytest.mark.parametrize("view", VIEWS)
def test_every_column_is_documented(connection: psycopg.Connection, view: str) -> None:
    """In docs/grafana.md, which is the contract."""
    page = (Path(__file__).parents[2] / "docs" / "grafana.md").read_text(encoding="utf-8")

    names = [column.name for column in connection.execute(f"SELECT * FROM {view} LIMIT 0").description or ()]

    assert names
    assert [name for name in (view, *names) if f"`{name}`" not in page] == []


def share(connection: psycopg.Connection, profile: str, start_s: int, end_s: int) -> dict[tuple[str, str], list[Any]]:
    """What the function says of each pair: counts, ratios, least round trip."""
    names = (
        "windows, good, bad, unavailable, unknown, observed, pessimistic, optimistic, coverage, min_us, simulated, "
        "first_t, last_t"
    )
    rows = connection.execute(
        f"SELECT source, destination, {names} FROM grafana_share(%s, %s, %s)", (profile, start_s, end_s)
    ).fetchall()
    return {(row[0], row[1]): list(row[2:]) for row in rows}


def periods(filled: Demo) -> list[TimeRange]:
    """Whole hours: days only, an odd start and end, within a day, over midnight, and with the open day."""
    start_s, end_s = filled.start_s, filled.end_s // HOUR_S * HOUR_S - HOUR_S
    return [
        TimeRange(start_s=start_s + first, end_s=last)
        for first, last in (
            (0, start_s + 7 * DAY_S),
            (5 * HOUR_S, start_s + 6 * DAY_S + 3 * HOUR_S),
            (2 * DAY_S + HOUR_S, start_s + 2 * DAY_S + 9 * HOUR_S),
            (3 * DAY_S - 2 * HOUR_S, start_s + 3 * DAY_S + 2 * HOUR_S),
            (DAY_S, end_s),
        )
    ]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("number", range(5))
def test_shares_are_those_of_the_verdict_code(
    filled: Demo, connection: psycopg.Connection, profile: str, number: int
) -> None:
    """Over whole hours, for every pair: counts, both readings, coverage and the least round trip."""
    period = periods(filled)[number]

    found = share(connection, profile, period.start_s, period.end_s)

    answers = [one for one in build_matrix(filled.store, profile, period).pairs if one.paths]
    expected = {
        (one.source, one.destination): [
            period.window_count,
            one.pessimistic.good,
            one.pessimistic.bad,
            one.pessimistic.unavailable,
            one.pessimistic.unknown,
            one.pessimistic.good_ratio,
            one.pessimistic.good / period.window_count,
            (one.optimistic.good + one.optimistic.unknown) / period.window_count,
            one.pessimistic.coverage_ratio,
            one.rtt_us.min,
            True,
            period.start_s,
            period.end_s,
        ]
        for one in answers
    }
    assert len(expected) == len(CITY_PAIRS)
    assert found == expected


def test_shares_are_those_of_the_verdict(filled: Demo, connection: psycopg.Connection) -> None:
    """Whole days, every pair, every profile: what a verdict prints, though it is made another way."""
    period = TimeRange(start_s=filled.start_s, end_s=filled.start_s + 7 * DAY_S)
    asked = VerdictRequest(
        period=period, pair=None, sites=CITIES, profiles=tuple(PROFILES), overrides=NO_OVERRIDES, rule=VerdictRule()
    )

    found = {profile: share(connection, profile, period.start_s, period.end_s) for profile in PROFILES}

    document = compute_verdicts(filled.store, asked)
    assert {(one.source, one.destination, one.profile) for one in document.pairs} == {
        (*pair, profile) for profile, pairs in found.items() for pair in pairs
    }
    for one in document.pairs:
        windows, *_, observed, pessimistic, optimistic, coverage = found[one.profile][one.source, one.destination][:9]
        measured, best = one.shares.pessimistic.states, one.shares.optimistic.states
        assert [observed, pessimistic, optimistic, coverage] == [
            one.shares.observed,
            measured.good / windows,
            (best.good + best.unknown) / windows,
            one.coverage,
        ]


def test_days_that_are_behind_are_counted_by_hours(filled: Demo, connection: psycopg.Connection) -> None:
    """A day whose tally is wrong and that is marked changes nothing; unmarked, it would."""
    start_s, end_s = filled.start_s, filled.start_s + 3 * DAY_S
    before = share(connection, PROFILES[0], start_s, end_s)
    day = tables.tally_day.c
    with filled.store.read() as read:
        kept = read.connection.execute(select(day.good).where(day.t == start_s + DAY_S)).scalars().all()
    assert kept
    with filled.store.write() as writer:
        writer.connection.execute(
            tables.tally_day.update().where(day.t == start_s + DAY_S).values(good=day.bad, bad=day.good)
        )

    unmarked = share(connection, PROFILES[0], start_s, end_s)
    with filled.store.write() as writer:
        sites = writer.connection.execute(select(tables.site.c.id)).scalars().all()
        rows = [{"source_id": site, "t": start_s + DAY_S} for site in sites]
        writer.connection.execute(tables.mark_day.insert(), rows)
    marked = share(connection, PROFILES[0], start_s, end_s)

    with filled.store.write() as writer:
        writer.connection.execute(
            tables.tally_day.update().where(day.t == start_s + DAY_S).values(good=day.bad, bad=day.good)
        )
        writer.connection.execute(tables.mark_day.delete().where(tables.mark_day.c.t == start_s + DAY_S))
    assert unmarked != before
    assert marked == before


def test_states_and_episodes_are_those_of_the_windows(filled: Demo, connection: psycopg.Connection) -> None:
    """Every minute of every pair, and its runs of bad minutes joined over gaps of at most two."""
    length_s, joined = 7 * DAY_S, 0
    of_pair = "source = %s AND destination = %s AND profile = %s"
    for pair, profile in product(CITY_PAIRS, PROFILES):
        expected = _states(filled, pair, profile, length_s)
        of = (pair.source, pair.destination, profile)
        end_s = filled.start_s + length_s

        runs = connection.execute(
            f"SELECT t, until_t, state FROM grafana_state WHERE {of_pair} AND hour_t < %s", (*of, end_s)
        ).fetchall()
        episodes = connection.execute(
            f"SELECT t, until_t, windows FROM grafana_episode WHERE {of_pair} AND until_t < %s ORDER BY t",
            (*of, end_s - 180),
        ).fetchall()

        minutes = {t: state for begin, until, state in runs for t in range(begin, until, 60)}
        assert [minutes.get(t, "unknown") for t in range(filled.start_s, filled.start_s + length_s, 60)] == [
            STATES_BY_CODE[code].value for code in expected
        ]
        assert episodes == [one for one in _episodes(expected, filled.start_s) if one[1] < end_s - 180]
        joined += sum(windows * 60 < until - begin for begin, until, windows in episodes)
    assert joined > 0


def _states(filled: Demo, pair: Pair, profile: str, length_s: int) -> list[int]:
    with filled.store.read() as read:
        known = registry.load_registry(read.connection)
        source_id, destination_id = known.site_ids[pair.source], known.site_ids[pair.destination]
        found = hour_reader.load_hours(
            read.connection, known.agents_by_site[source_id], filled.start_s, filled.start_s + length_s
        )
        judged = state_counts.evaluate_pair_hours(
            found, profile_revisions.get_criteria(profile), known.site_by_agent, known.site_by_target
        )
    hours = {
        key[2]: row.tolist()
        for key, row in zip(judged.keys, judged.worst_case, strict=True)
        if key[1] == destination_id
    }
    ends = range(filled.start_s, filled.start_s + length_s, HOUR_S)
    return [code for t in ends for code in hours.get(t, [UNKNOWN] * 60)]


def _episodes(states: list[int], start_s: int) -> list[tuple[int, int, int]]:
    """(start, end, bad windows) of maximal runs, joined over gaps of ``MERGE_GAP_WINDOWS``."""
    bad = [code not in (GOOD, UNKNOWN) for code in states]
    at = [number for number, flag in enumerate(bad) if flag]
    merged: list[tuple[int, int, int]] = []
    for _, run in groupby(enumerate(at), lambda one: one[1] - one[0]):
        places = list(map(itemgetter(1), run))
        if merged and places[0] - merged[-1][1] <= MERGE_GAP_WINDOWS:
            merged[-1] = (merged[-1][0], places[-1] + 1, merged[-1][2] + len(places))
        else:
            merged.append((places[0], places[-1] + 1, len(places)))
    return [(start_s + 60 * first, start_s + 60 * last, windows) for first, last, windows in merged]


def test_limits_and_floors_are_those_of_the_catalogue_and_of_light(connection: psycopg.Connection) -> None:
    """Every profile's limits are there, and a floor for every pair of the mesh."""
    limits = connection.execute("SELECT DISTINCT profile FROM grafana_limit").fetchall()
    floors = connection.execute("SELECT source, destination, distance_km, glass_us FROM grafana_pair").fetchall()

    assert {row[0] for row in limits} <= set(load_catalogue().profiles)
    assert {row[0] for row in limits} >= set(PROFILES)
    assert {(row[0], row[1]) for row in floors} == {(pair.source, pair.destination) for pair in PAIRS}
    mesh = parse_mesh(build_mesh_toml())
    light = propagation.compute_propagation_delay(mesh.get_site("frankfurt"), mesh.get_site("london"))
    (london,) = [row[2:] for row in floors if row[:2] == ("frankfurt", "london")]
    assert (london[0], float(london[1])) == (light.distance_km, light.glass_ns / 1_000)


def test_a_user_of_the_role_logs_in_and_reads(filled: Demo) -> None:
    """Made with its password, made again with another one; it writes nothing, and its password is in no statement."""
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
def test_a_name_that_needs_quotes_is_refused(filled: Demo, name: str) -> None:
    """It would have to be quoted wherever it is used."""
    database = Database(filled.url)
    try:
        with pytest.raises(ConfigError, match="lower-case"):
            grant_access(database, name, "password")
    finally:
        database.close()


@pytest.mark.skipif(postgres.SERVER_ENV_VAR in os.environ, reason="needs a server that has no such role yet")
def test_who_may_not_create_the_role_is_told_and_migrates(caplog: pytest.LogCaptureFixture) -> None:
    """The views are made; what is left to do is in the log, and the command that does it says the same."""
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
            with pytest.raises(UnavailableError, match="as one who may create roles"):
                grant_access(database)
            with psycopg.connect(postgres.build_conninfo(url), autocommit=True) as admin:
                admin.execute("CREATE ROLE leadline_reader NOLOGIN")
            assert grant_access(database) == sorted(VIEWS)
        finally:
            database.close()


def test_sqlite_has_no_role(tmp_path: Path) -> None:
    """And no Grafana; the message says so."""
    database = Database(URL.create("sqlite", database=str(tmp_path / "leadline.sqlite")))
    try:
        with pytest.raises(ConfigError, match="Grafana does not read"):
            grant_access(database)
    finally:
        database.close()
