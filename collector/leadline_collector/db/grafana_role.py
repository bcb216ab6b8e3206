"""Who may read the views on PostgreSQL: the group role that the migrations make, and users in it."""

from __future__ import annotations

import re

import psycopg
from psycopg import sql
from sqlalchemy import Connection, text

from leadline.errors import ConfigError, UnavailableError
from leadline_collector.db.engine import Database

#: The group: it may read the views and nothing else. Its name is in the migrations.
ROLE_NAME = "leadline_reader"
#: Each panel is a query; a few people looking at once must not take the collector's connections.
CONNECTIONS_MAX = 20
#: A panel that takes longer is a mistake; nobody waits for it.
STATEMENT_TIMEOUT = "30s"
#: Folded to lower case by PostgreSQL and 63 bytes at most: such names need no quotes anywhere.
_USER_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
#: Views are known by their names.
_VIEWS_QUERY = (
    "SELECT viewname FROM pg_views WHERE schemaname = current_schema() AND viewname LIKE 'grafana\\_%' ORDER BY 1"
)


def grant_access(database: Database, user: str | None = None, password: str | None = None) -> list[str]:
    """Let the group read every view, and a user with this password be in it; the views. What is so already stays.

    ConfigError on SQLite, which Grafana does not read; UnavailableError if the database's user may not do it.
    """
    if user is not None and not _USER_NAME.fullmatch(user):
        raise ConfigError("NAME", f"{user!r}: use lower-case letters, digits and underscores, 63 at most")
    if database.is_sqlite:
        raise ConfigError("database", "is SQLite, which has no users and which Grafana does not read: use PostgreSQL")
    try:
        with database.write() as connection:
            return _grant_views(connection, user, password)
    except psycopg.errors.InsufficientPrivilege as error:
        raise UnavailableError(
            f"the database's user may not do that ({error.diag.message_primary}): as one who may create "
            f"roles, run CREATE ROLE {ROLE_NAME} NOLOGIN; then this again"
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
    # Only the verifier goes to the server, so that no log of statements has the password.
    verifier = driver.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
    verb = sql.SQL("ALTER" if _has_role(driver, user) else "CREATE")
    may = sql.SQL("NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT {}").format(CONNECTIONS_MAX)
    driver.execute(sql.SQL("{} ROLE {} LOGIN {} PASSWORD {}").format(verb, name, may, sql.Literal(verifier)))
    driver.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(ROLE_NAME), name))
    driver.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(name))
    driver.execute(sql.SQL("ALTER ROLE {} SET statement_timeout = {}").format(name, sql.Literal(STATEMENT_TIMEOUT)))


def _has_role(driver: psycopg.Connection, role: str) -> bool:
    return driver.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is not None
