"""The login Grafana reads with: what it may do, whose password it has, and what the message says where it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import URL

from leadline.errors import ConfigError, UnavailableError
from leadline_collector import reader_login
from leadline_collector.db import Database
from tests import postgres


@pytest.fixture(name="place")
def _place(postgres_server: URL) -> Iterator[tuple[Database, URL]]:
    """An empty database, the role, and nothing of it afterwards."""
    name, login = "leadline_test_login", "leadline_test_grafana"
    url = postgres.create_database(postgres_server, name)
    administer(postgres_server, "DO $$ BEGIN CREATE ROLE leadline_reader; EXCEPTION WHEN duplicate_object THEN END $$")
    database = Database(url)
    yield database, url
    database.close()
    postgres.drop_database(postgres_server, name)
    administer(postgres_server, f"DROP ROLE IF EXISTS {login}")


def administer(url: URL, statement: str) -> list[Any]:
    """One statement as the owner of the server."""
    with psycopg.connect(postgres.conninfo(url), autocommit=True) as connection:
        done = connection.execute(statement)
        return done.fetchall() if done.description else []


def test_the_login_is_made_once_and_keeps_to_reading(place: tuple[Database, URL]) -> None:
    """A member of the role without any right of its own; the second time only the password is set."""
    database, url = place

    assert reader_login.make(database, "leadline_test_grafana", "first-password")
    assert not reader_login.make(database, "leadline_test_grafana", "second-password")

    (row,) = administer(
        url,
        "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolconnlimit, rolpassword, rolconfig "
        "FROM pg_authid LEFT JOIN (SELECT rolname AS name, rolconfig FROM pg_roles) c ON name = rolname "
        "WHERE rolname = 'leadline_test_grafana' AND pg_has_role(oid, 'leadline_reader', 'member')",
    )
    assert row[:5] == (True, False, False, False, reader_login.CONNECTIONS_MAX)
    assert row[5].startswith("SCRAM-SHA-256$")
    assert sorted(row[6]) == ["default_transaction_read_only=on", "statement_timeout=30s"]


@pytest.mark.parametrize("name", ["Grafana", "a-b", "x; DROP TABLE y", "", "a" * 64])
def test_a_name_that_needs_quotes_is_refused(place: tuple[Database, URL], name: str) -> None:
    """It would have to be quoted wherever it is used."""
    with pytest.raises(ConfigError, match="lower-case"):
        reader_login.make(place[0], name, "password")


def test_an_owner_who_may_not_make_roles_is_told_who_may(place: tuple[Database, URL]) -> None:
    """With the statement for whoever may."""
    url = place[1]
    administer(url, "CREATE ROLE leadline_test_owner LOGIN")
    weak = Database(url.set(username="leadline_test_owner"))
    try:
        with pytest.raises(
            UnavailableError, match=r"CREATE ROLE leadline_test_grafana LOGIN .* IN ROLE leadline_reader"
        ):
            reader_login.make(weak, "leadline_test_grafana", "password")
    finally:
        weak.close()
        administer(url, "DROP ROLE leadline_test_owner")


def test_sqlite_has_no_logins(tmp_path: Any) -> None:
    """And the message says what Grafana reads."""
    database = Database(URL.create("sqlite", database=str(tmp_path / "x.sqlite")))
    try:
        with pytest.raises(UnavailableError, match="PostgreSQL"):
            reader_login.make(database, "leadline_grafana", "password")
    finally:
        database.close()
