"""Settings of the collector: read once at start from options and environment into one frozen value."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from leadline.errors import ConfigError
from leadline.user_dirs import resolve_data_dir

HOST_DEFAULT = "127.0.0.1"
#: Below the ephemeral range of every system, and free of well-known services.
PORT_DEFAULT = 8427
#: A shorter key could be guessed; generated keys have 43 random characters.
KEY_LENGTH_MIN = 16
#: Agents rotate keys by a timer, which may miss one run.
KEY_TTL_S_MIN = 3_600

#: The largest body at 35 kB/s.
BODY_TIMEOUT_S = 30.0
#: The head of a request is a few hundred bytes; a slower client is misbehaving.
HEADER_TIMEOUT_S = 10.0

DATABASE_VARIABLE = "LEADLINE_DATABASE_URL"
PASSWORD_VARIABLE = "LEADLINE_DATABASE_PASSWORD_FILE"  # noqa: S105  # the name of a variable
ADMIN_KEY_VARIABLE = "LEADLINE_ADMIN_KEY_FILE"


DAY_S = 86_400
#: Agents keep acknowledged batches for 48 hours, to refill a restored database; one day more as reserve.
RETENTION_S_MIN = 3 * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Retention time of each tier in seconds; None keeps it for ever."""

    #: Bodies of batches. Their rows, with digest and clocks, stay as long as rollups: they explain gaps.
    journal_s: int | None = 14 * DAY_S
    #: One row per window. Packed hours keep the evaluated statistics as long as rollups.
    windows_s: int | None = 90 * DAY_S
    #: Every RTT. Thirteen months: a year and the month it is compared with.
    raw_s: int | None = 400 * DAY_S
    #: Rollups, packed hours, state counts, rows of the journal. Five years.
    rollups_s: int | None = 1_826 * DAY_S

    def __post_init__(self) -> None:
        for tier in ("journal", "windows", "raw", "rollups"):
            tier_s: int | None = getattr(self, f"{tier}_s")
            if tier_s is not None and tier_s < RETENTION_S_MIN:
                raise ConfigError(f"--keep-{tier}", f"must be at least {RETENTION_S_MIN // DAY_S} days")
            if self.rollups_s is not None and (tier_s is None or tier_s > self.rollups_s):
                raise ConfigError("--keep-rollups", f"must be at least as long as --keep-{tier}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorConfig:
    """Settings of a collector. Key files are read later, by ``read_key_digest``."""

    data_dir: Path
    #: SQLAlchemy URL: sqlite:///file or postgresql+psycopg://…
    database: URL
    host: str = HOST_DEFAULT
    #: 0 selects any free port.
    port: int = PORT_DEFAULT
    tls_cert: Path | None = None
    tls_key: Path | None = None
    #: A proxy in front terminates TLS: the X-Forwarded-For and -Proto headers of the peer are trusted.
    behind_proxy: bool = False
    #: File with the key that readers need; None allows every client to read.
    viewer_key_file: Path | None = None
    #: Every client may read, also from outside. It has to be set explicitly.
    open_reading: bool = False
    #: File with the key for ``/metrics``; None allows every reader to scrape.
    metrics_key_file: Path | None = None
    #: File with the administrator's key; None creates one in the data directory.
    admin_key_file: Path | None = None
    #: Lifetime of an agent's key; None for unlimited.
    key_ttl_s: int | None = None

    retention: Retention = field(default_factory=Retention)

    #: Time limit for a body. Not an option: an agent on a slower line could not keep up.
    body_timeout_s: float = BODY_TIMEOUT_S
    #: Time limit for the head of a request (``server.connection_limits``). Not an option either.
    header_timeout_s: float = HEADER_TIMEOUT_S

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError("--port", f"{self.port} is outside 0..65535")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("--tls-cert", "certificate and key are required together: give --tls-cert and --tls-key")
        if self.open_reading and self.viewer_key_file:
            raise ConfigError("--open-reading", "cannot be combined with --viewer-key-file")
        if self.key_ttl_s is not None and self.key_ttl_s < KEY_TTL_S_MIN:
            raise ConfigError(
                "--key-ttl", f"{self.key_ttl_s} s is less than an hour: agents could not rotate keys in time"
            )
        if not is_loopback(self.host):
            self._check_public_access()

    def _check_public_access(self) -> None:
        if not (self.tls_cert or self.behind_proxy):
            raise ConfigError(
                "--host",
                f"{self.host} is reachable from outside and keys would be sent unencrypted: "
                "give --tls-cert and --tls-key, or --behind-proxy if a proxy in front terminates TLS",
            )
        if not (self.viewer_key_file or self.open_reading):
            raise ConfigError(
                "--viewer-key-file",
                f"{self.host} is reachable from outside and every client could read: name a file with a key "
                f"({KEY_LENGTH_MIN} characters or more), or give --open-reading to allow it",
            )


def read_config(options: Mapping[str, Any], environ: Mapping[str, str]) -> CollectorConfig:
    """Return the settings. An option overrides its variable, a variable the default; an option of None is absent."""
    settings = {name: value for name, value in options.items() if name in _OPTIONS and value is not None}
    data_dir = options.get("data_dir") or resolve_data_dir(environ)
    url = options.get("database_url") or environ.get(DATABASE_VARIABLE)
    if admin_key_file := environ.get(ADMIN_KEY_VARIABLE):
        settings["admin_key_file"] = Path(admin_key_file)
    database = add_password(parse_database_url(url, data_dir), environ.get(PASSWORD_VARIABLE))
    return CollectorConfig(data_dir=data_dir, database=database, **settings)


_OPTIONS = (
    "host", "port", "tls_cert", "tls_key", "behind_proxy", "viewer_key_file", "open_reading", "metrics_key_file",
    "key_ttl_s", "retention",
)  # fmt: skip


def is_loopback(host: str) -> bool:
    """Return True if only this machine can connect to ``host``. Names other than localhost may resolve to anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_database_url(text: str | None, data_dir: Path) -> URL:
    """Return the URL in ``text``, by default the SQLite file in the data directory.

    Raise ConfigError for a database that is neither SQLite nor PostgreSQL.
    """
    if not text:
        return URL.create("sqlite", database=str(data_dir / "leadline.sqlite"))
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise ConfigError(DATABASE_VARIABLE, "is not a database URL, such as postgresql://user@host/name") from error
    if url.drivername in {"postgres", "postgresql"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername == "sqlite" and url.database and url.database != ":memory:":
        return url
    if url.drivername == "postgresql+psycopg":
        return url
    raise ConfigError(DATABASE_VARIABLE, f"{url.drivername} is not one of sqlite:///FILE and postgresql://…")


def add_password(url: URL, file: str | None) -> URL:
    """Return the URL with the password from a file, which keeps it out of variables and process lists.

    A URL that has a password keeps it. SQLite URLs and calls without a file return the URL unchanged.
    """
    if not file or url.password is not None or url.get_backend_name() == "sqlite":
        return url
    return url.set(password=read_secret_file(PASSWORD_VARIABLE, Path(file)))


def read_secret_file(option: str, path: Path) -> str:
    """Return the secret in a file without surrounding white space; raise ConfigError if there is none."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(option, f"cannot read {path}: {error}") from error
    if not secret:
        raise ConfigError(option, f"{path} is empty")
    return secret


def read_key_digest(option: str, path: Path) -> bytes:
    """Return the SHA-256 of the key in a file; raise ConfigError if it is unreadable or too short."""
    key = read_secret_file(option, path)
    if len(key) < KEY_LENGTH_MIN:
        raise ConfigError(option, f"the key in {path} is shorter than {KEY_LENGTH_MIN} characters")
    return hashlib.sha256(key.encode()).digest()
