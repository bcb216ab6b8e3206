"""Database role for Grafana on PostgreSQL: a group that may read the views, and users in it."""

from __future__ import annotations

import re

import psycopg
from psycopg import sql
from sqlalchemy import Connection, text

from leadline.errors import ConfigError, UnavailableError
from leadline_collector.db.engine import Database

#: Group role that may read the views and nothing else. The migrations contain its name.
ROLE_NAME = "leadline_reader"
#: Each panel is a query; a few viewers at once must not use up the collector's connections.
CONNECTIONS_MAX = 20
#: A panel's query that takes longer is a mistake.
STATEMENT_TIMEOUT = "30s"
#: Lower case and 63 bytes at most: PostgreSQL needs no quotes for such names.
_USER_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
#: A view belongs to Grafana by its name prefix.
_VIEWS_QUERY = (
    "SELECT viewname FROM pg_views WHERE schemaname = current_schema() AND viewname LIKE 'grafana\\_%' ORDER BY 1"
)


def grant_access(database: Database, user: str | None = None, password: str | None = None) -> list[str]:
    """Grant the group SELECT on every view, create or update a user in it, and return the names of the views.

    It can be repeated. Raise ConfigError for a bad name and on SQLite, which Grafana does not read; UnavailableError if
    there are no views or the database user lacks the privilege.
    """
    if user is not None and not _USER_NAME.fullmatch(user):
        raise ConfigError("NAME", f"{user!r}: use at most 63 lower-case letters, digits and underscores")
    if database.is_sqlite:
        raise ConfigError("database", "is SQLite, which has no users and cannot be read by Grafana: use PostgreSQL")
    try:
        with database.write() as connection:
            return _grant_views(connection, user, password)
    except psycopg.errors.InsufficientPrivilege as error:
        raise UnavailableError(
            f"the database user lacks the privilege ({error.diag.message_primary}): run "
            f"CREATE ROLE {ROLE_NAME} NOLOGIN as a user that may create roles, then run this command again"
        ) from error


def _grant_views(connection: Connection, user: str | None, password: str | None) -> list[str]:
    views = list(connection.execute(text(_VIEWS_QUERY)).scalars())
    if not views:
        raise UnavailableError("there are no views: run `leadline collector migrate` first")
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    group = sql.Identifier(ROLE_NAME)
    if not _has_role(driver, ROLE_NAME):
        driver.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(group))
    driver.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(sql.SQL(", ").join(map(sql.Identifier, views)), group))
    if user is not None and password is not None:
        _create_or_alter_user(driver, user, password)
    return views


def _create_or_alter_user(driver: psycopg.Connection, user: str, password: str) -> None:
    name = sql.Identifier(user)
    # Send only the verifier, so that statement logs of the server never contain the password.
    verifier = driver.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
    verb = sql.SQL("ALTER" if _has_role(driver, user) else "CREATE")
    options = sql.SQL("NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT {}").format(CONNECTIONS_MAX)
    driver.execute(sql.SQL("{} ROLE {} LOGIN {} PASSWORD {}").format(verb, name, options, sql.Literal(verifier)))
    driver.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(ROLE_NAME), name))
    driver.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(name))
    driver.execute(sql.SQL("ALTER ROLE {} SET statement_timeout = {}").format(name, sql.Literal(STATEMENT_TIMEOUT)))


def _has_role(driver: psycopg.Connection, role: str) -> bool:
    return driver.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None
