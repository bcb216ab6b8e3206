"""The login Grafana reads with: a member of the role that may read the views (PostgreSQL).

The role and the views are made by the migrations; this module makes who may log in.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from leadline.errors import ConfigError, UnavailableError
from leadline_collector.db import Database, sqlstate

#: The role that owns the rights; it cannot log in itself.
ROLE = "leadline_reader"
LOGIN = "leadline_grafana"
#: Each dashboard panel is a query; a few people looking at once must not take the collector's connections.
CONNECTIONS_MAX = 20
#: A panel that takes longer is a mistake; nobody waits for it.
STATEMENT_TIMEOUT = "30s"
#: Folded to lower case by PostgreSQL and 63 bytes at most: such names need no quotes anywhere.
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
#: insufficient_privilege (PostgreSQL, appendix A).
_MAY_NOT = "42501"


def make(database: Database, name: str, password: str) -> bool:
    """Make the login, or give it this password; True if it is new. The password travels as its SCRAM verifier only.

    ConfigError for a name that would need quotes; UnavailableError where the role is missing or the owner of the
    database may not make roles.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError("--login", f"{name!r}: use lower-case letters, digits and underscores, 63 at most")
    if database.is_sqlite:
        raise UnavailableError("SQLite has no logins: Grafana reads PostgreSQL; name one in LEADLINE_DATABASE_URL")
    try:
        with database.write() as connection:
            return _make(connection, name, password)
    except ProgrammingError as error:
        if sqlstate(error) != _MAY_NOT:
            raise
        raise UnavailableError(
            f"this user of the database may not make roles; as one who may, run: CREATE ROLE {name} LOGIN "
            f"CONNECTION LIMIT {CONNECTIONS_MAX} IN ROLE {ROLE}; and set its password with \\password {name}"
        ) from error


def _make(connection: Connection, name: str, password: str) -> bool:
    if not _exists(connection, ROLE):
        raise UnavailableError(f"the database has no role {ROLE}: run `leadline collector migrate`")
    driver = connection.connection.driver_connection
    assert driver is not None
    # Made here, so that the password itself is in no statement and no log of the server (libpq, PQencryptPasswordConn).
    verifier = driver.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    is_new = not _exists(connection, name)
    do = "CREATE" if is_new else "ALTER"
    for statement in (
        f"{do} ROLE {name} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT {CONNECTIONS_MAX} "
        f"PASSWORD '{verifier}'",
        f"GRANT {ROLE} TO {name}",
        f"ALTER ROLE {name} SET default_transaction_read_only = on",
        f"ALTER ROLE {name} SET statement_timeout = '{STATEMENT_TIMEOUT}'",
    ):
        connection.exec_driver_sql(statement)
    return is_new


def _exists(connection: Connection, role: str) -> bool:
    return connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).first() is not None
