"""The collector's settings: read once at start from options and environment into one frozen value."""

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
#: A shorter key could be guessed; ours have 43 characters of random text.
KEY_LENGTH_MIN = 16
#: Agents change keys by a timer, which may miss a turn.
KEY_TTL_S_MIN = 3_600

#: The largest body at 35 kB/s.
BODY_TIMEOUT_S = 30.0
#: A head is a few hundred bytes: whoever needs longer does not want to ask.
HEADER_TIMEOUT_S = 10.0

DATABASE_VARIABLE = "LEADLINE_DATABASE_URL"
PASSWORD_VARIABLE = "LEADLINE_DATABASE_PASSWORD_FILE"
ADMIN_KEY_VARIABLE = "LEADLINE_ADMIN_KEY_FILE"


DAY_S = 86_400
#: Agents keep for 48 hours what was acknowledged, for a database that is restored; a day more for a long night.
RETENTION_S_MIN = 3 * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long each tier is kept, in seconds; None for ever."""

    #: Bodies of batches. Their rows, with digest and clocks, stay as long as rollups: gaps are explained by them.
    journal_s: int | None = 14 * DAY_S
    #: A row a window; packed hours have what is judged for as long as rollups.
    windows_s: int | None = 90 * DAY_S
    #: Every round trip. Thirteen months: a year, and the month it is compared with.
    raw_s: int | None = 400 * DAY_S
    #: Rollups, packed hours, tallies, rows of the journal. Five years.
    rollups_s: int | None = 1_826 * DAY_S

    def __post_init__(self) -> None:
        for tier in ("journal", "windows", "raw", "rollups"):
            kept_s: int | None = getattr(self, f"{tier}_s")
            if kept_s is not None and kept_s < RETENTION_S_MIN:
                raise ConfigError(f"--keep-{tier}", f"must be at least {RETENTION_S_MIN // DAY_S} days")
            if self.rollups_s is not None and (kept_s is None or kept_s > self.rollups_s):
                raise ConfigError("--keep-rollups", f"rollups go last: keep them at least as long as --keep-{tier}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorConfig:
    """What a collector is told. Reading a key file happens in ``key_digest``, not here."""

    data_dir: Path
    #: SQLAlchemy URL: sqlite:///file or postgresql+psycopg://…
    database: URL
    host: str = HOST_DEFAULT
    #: 0 takes any free port.
    port: int = PORT_DEFAULT
    tls_cert: Path | None = None
    tls_key: Path | None = None
    #: A proxy in front does TLS: X-Forwarded-For and -Proto of the peer are believed.
    behind_proxy: bool = False
    #: Whoever reads needs the key in this file; None lets everybody read who can connect.
    viewer_key_file: Path | None = None
    #: Everybody who can connect may read, also from outside: said, never assumed.
    open_reading: bool = False
    #: ``/metrics`` needs the key in this file; None lets whoever reads scrape.
    metrics_key_file: Path | None = None
    #: The administrator's key; None has one made in the data directory.
    admin_key_file: Path | None = None
    #: How long a key of an agent is good; None for ever.
    key_ttl_s: int | None = None

    #: What is kept for how long.
    retention: Retention = field(default_factory=Retention)

    #: Seconds a body may take to arrive; no option: an agent on a line that slow could not keep up.
    body_timeout_s: float = BODY_TIMEOUT_S
    #: Seconds the head of a request may take (``connections``); no option either.
    header_timeout_s: float = HEADER_TIMEOUT_S

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ConfigError("--port", f"{self.port} is outside 0..65535")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError("--tls-cert", "certificate and key come together: give --tls-cert and --tls-key")
        if self.open_reading and self.viewer_key_file:
            raise ConfigError(
                "--open-reading", "and --viewer-key-file exclude each other: reading is open or needs a key"
            )
        if self.key_ttl_s is not None and self.key_ttl_s < KEY_TTL_S_MIN:
            raise ConfigError("--key-ttl", f"{self.key_ttl_s} s is less than an hour: no agent could keep up")
        if not is_loopback(self.host):
            self._check_public_access()

    def _check_public_access(self) -> None:
        if not (self.tls_cert or self.behind_proxy):
            raise ConfigError(
                "--host",
                f"{self.host} is reachable from outside and keys would travel readable: "
                "give --tls-cert and --tls-key, or --behind-proxy if a proxy in front does TLS",
            )
        if not (self.viewer_key_file or self.open_reading):
            raise ConfigError(
                "--viewer-key-file",
                f"{self.host} is reachable from outside and everybody could read: name a file with a key "
                f"({KEY_LENGTH_MIN} characters or more), or say --open-reading if everybody shall",
            )


def read_config(options: Mapping[str, Any], environ: Mapping[str, str]) -> CollectorConfig:
    """The settings: an option wins over its variable, and that over the default; an option of None is absent."""
    given = {name: value for name, value in options.items() if name in _OPTIONS and value is not None}
    data_dir = options.get("data_dir") or resolve_data_dir(environ)
    url = options.get("database_url") or environ.get(DATABASE_VARIABLE)
    if named := environ.get(ADMIN_KEY_VARIABLE):
        given["admin_key_file"] = Path(named)
    database = add_password(parse_database_url(url, data_dir), environ.get(PASSWORD_VARIABLE))
    return CollectorConfig(data_dir=data_dir, database=database, **given)


_OPTIONS = (
    "host", "port", "tls_cert", "tls_key", "behind_proxy", "viewer_key_file", "open_reading", "metrics_key_file",
    "key_ttl_s", "retention",
)  # fmt: skip


def is_loopback(host: str) -> bool:
    """True if only this machine can connect to ``host``. A name other than localhost may resolve to anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_database_url(text: str | None, data_dir: Path) -> URL:
    """The database ``text`` names, or the SQLite file in the data directory; ConfigError for any other kind."""
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
    """The address with the password that a file holds, so that it stands in no variable and no process list.

    An address that has a password keeps it, and one of SQLite needs none; None for no file changes nothing.
    """
    if not file or url.password is not None or url.get_backend_name() == "sqlite":
        return url
    return url.set(password=read_secret_file(PASSWORD_VARIABLE, Path(file)))


def read_secret_file(option: str, path: Path) -> str:
    """What a file with one secret holds, without the white space around it; ConfigError if that is nothing."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(option, f"cannot read {path}: {error}") from error
    if not secret:
        raise ConfigError(option, f"{path} is empty")
    return secret


def read_key_digest(option: str, path: Path) -> bytes:
    """SHA-256 of the key a file holds; ConfigError if it cannot be read or is too short."""
    key = read_secret_file(option, path)
    if len(key) < KEY_LENGTH_MIN:
        raise ConfigError(option, f"the key in {path} is shorter than {KEY_LENGTH_MIN} characters")
    return hashlib.sha256(key.encode()).digest()
