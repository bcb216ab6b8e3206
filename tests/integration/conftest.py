"""Every integration test runs on SQLite and on PostgreSQL, against a collector that is reached over HTTP."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3
from sqlalchemy.engine import URL

from leadline.wire import batch as wire
from leadline.wire import codec, control
from leadline_collector.config import CollectorConfig
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.server.serve import serve_in_thread
from tests.support import postgres
from tests.support.clock import FakeClock
from tests.support.documents import MESH, NOW_S, encode_body

_numbers = itertools.count(1)


@pytest.fixture(scope="session", name="postgres_server")
def _postgres_server() -> Iterator[URL]:
    with postgres.run_server() as url:
        yield url


@pytest.fixture(scope="session", name="postgres_template")
def _postgres_template(postgres_server: URL) -> Iterator[str]:
    """A migrated database that others are copied from."""
    name = "leadline_test_template"
    postgres.drop_database(postgres_server, name)
    migrated(postgres.create_database(postgres_server, name))
    yield name
    postgres.drop_database(postgres_server, name)


@pytest.fixture(scope="session", name="sqlite_template")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file that others are copied from."""
    path = tmp_path_factory.mktemp("template") / "leadline.sqlite"
    migrated(URL.create("sqlite", database=str(path)))
    return path


def migrated(url: URL) -> None:
    """Bring a database to the schema of this version."""
    database = Database(url)
    try:
        schema.upgrade(database)
    finally:
        database.close()


@pytest.fixture(params=["sqlite", "postgresql"], name="empty_url")
def _empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """A database without a schema."""
    if request.param == "sqlite":
        yield URL.create("sqlite", database=str(tmp_path / "empty.sqlite"))
        return
    server, name = request.getfixturevalue("postgres_server"), f"leadline_test_empty{next(_numbers)}"
    yield postgres.create_database(server, name)
    postgres.drop_database(server, name)


@pytest.fixture(params=["sqlite", "postgresql"], name="url")
def _url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    """A database with the schema and no data."""
    if request.param == "sqlite":
        path = tmp_path / "leadline.sqlite"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield URL.create("sqlite", database=str(path))
        return
    server, template = (request.getfixturevalue(name) for name in ("postgres_server", "postgres_template"))
    name = f"leadline_test_{next(_numbers)}"
    yield postgres.create_database(server, name, template)
    postgres.drop_database(server, name)


@pytest.fixture(name="config")
def _config(url: URL, tmp_path: Path) -> CollectorConfig:
    return CollectorConfig(data_dir=tmp_path / "data", database=url, port=0)


@pytest.fixture(name="clock")
def _clock() -> FakeClock:
    return FakeClock(wall_ns=(NOW_S + 3_600) * 1_000_000_000)


@pytest.fixture(name="database")
def _database(config: CollectorConfig) -> Iterator[Database]:
    database = Database(config.database)
    yield database
    database.close()


@pytest.fixture(name="store")
def _store(database: Database) -> Store:
    return Store(database)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    def json(self) -> Any:
        """The document in it."""
        return msgspec.json.decode(self.body)


@dataclass(slots=True, kw_only=True)
class Client:
    """Speaks HTTP with a collector."""

    url: str
    admin_key: str
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=20, maxsize=8))

    def send(self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str) -> Answer:
        """One request; ``key`` travels as a bearer key, header names are written with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        response = self.pool.request(method, self.url + path, body=body, headers=sent)
        return Answer(status=response.status, headers=response.headers, body=response.data)

    def get(self, path: str, **headers: str) -> Any:
        """The document at a path that must be there."""
        answer = self.send("GET", path, **headers)
        assert answer.status == 200, answer.body
        return answer.json()

    def apply(self, mesh: str = MESH) -> Answer:
        """Put a mesh in force."""
        return self.send("PUT", "/api/v1/mesh", mesh.encode(), self.admin_key)

    def token(self, site: str, ttl_s: int = 3_600) -> str:
        """A fresh enrolment token."""
        request = codec.encode(control.TokenRequest(site=site, ttl_s=ttl_s))
        answer = self.send("POST", "/api/v1/tokens", request, self.admin_key)
        assert answer.status == 200, answer.body
        return str(answer.json()["token"])

    def enrol(self, token: str, agent: str | None = None) -> Answer:
        """Exchange a token for a key."""
        return self.send("POST", "/api/v1/enroll", codec.encode(control.EnrolRequest(token=token, agent=agent)))

    def key(self, agent: str, site: str) -> str:
        """The key of a freshly enrolled agent."""
        answer = self.enrol(self.token(site), agent)
        assert answer.status == 200, answer.body
        return str(answer.json()["key"])

    def post(self, document: wire.Batch, key: str) -> Answer:
        """Send a batch as an agent does."""
        return self.post_bytes(encode_body(document), key)

    def post_bytes(self, data: bytes, key: str, encoding: str = "gzip") -> Answer:
        """Send any bytes as a batch."""
        return self.send("POST", "/api/v1/batches", data, key, Content_Encoding=encoding)


@pytest.fixture(name="client")
def _client(config: CollectorConfig, store: Store, clock: FakeClock) -> Iterator[Client]:
    """A client of a running collector without a mesh."""
    with serve_in_thread(config, store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        yield client
        client.pool.clear()


@pytest.fixture(name="fra1")
def _fra1(client: Client) -> str:
    """The key of agent fra1, in a collector with the mesh of two sites."""
    assert client.apply().status == 200
    return client.key("fra1", "fra")
