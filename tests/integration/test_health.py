"""Health routes: liveness, readiness, and metrics of ingest."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.http.metrics import Metrics
from tests.integration.conftest import Client
from tests.support import postgres
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_batch, build_steady_window, encode_body


def samples(client: Client) -> dict[str, float]:
    """Scrape ``/metrics`` and return the samples by ``name{label=value}``."""
    answer = client.send("GET", "/metrics")
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    values = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return values


@pytest.fixture(name="broken")
def _broken(client: Client, database: Database, request: pytest.FixtureRequest) -> Iterator[Client]:
    """Yield a collector without its database: the file is renamed, or the database dropped."""
    if not database.is_sqlite:
        postgres.drop_database(request.getfixturevalue("postgres_server"), str(database.url.database))
        yield client
        return
    database._read_engine.dispose()
    file = Path(str(database.url.database))
    away = file.rename(file.with_suffix(".away"))
    yield client
    away.rename(file)


def test_a_collector_is_alive_and_ready(client: Client) -> None:
    """Both routes need no key."""
    assert client.get("/healthz")["status"] == "ok"
    assert client.get("/readyz")["status"] == "ok"


def test_a_collector_with_another_schema_is_alive_and_not_ready(client: Client, database: Database) -> None:
    """The 503 names both versions."""
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'other'"))

    answer = client.send("GET", "/readyz")

    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert f"version other and this collector needs {schema.get_head_revision()}" in answer.json()["detail"]
    assert client.send("GET", "/healthz").status == 200


def test_a_collector_without_its_database_is_alive_and_not_ready(broken: Client) -> None:
    """Readiness is 503 with Retry-After. A restart would not help, so liveness is ok."""
    answer = broken.send("GET", "/readyz")

    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert broken.send("GET", "/healthz").status == 200


def test_metrics_count_stored_and_refused_batches(client: Client, fra1: str, clock: FakeClock) -> None:
    """Stored batches, duplicates, refusals by reason, enrolments, and the age of the latest window."""
    document = build_batch(("ams1", build_steady_window(4_900)))
    client.post(document, fra1)
    client.post(document, fra1)
    client.post(build_batch(("ams1", build_steady_window(5_000))), fra1)
    client.post_bytes(b"nonsense", fra1)
    client.post(document, "ll_agent_unknown")
    client.enrol("ll_token_unknown")

    values = samples(client)

    assert values["leadline_batches_total{result=stored}"] == 1
    assert values["leadline_batches_total{result=duplicate}"] == 1
    assert values["leadline_batches_refused_total{reason=conflict}"] == 1
    assert values["leadline_batches_refused_total{reason=damaged}"] == 1
    assert values["leadline_batches_refused_total{reason=key}"] == 1
    assert values["leadline_batches_refused_total{reason=too_large}"] == 0
    assert (values["leadline_windows_total"], values["leadline_samples_total"]) == (1, 60)
    assert values["leadline_batch_bytes_total"] == len(encode_body(document))
    assert values["leadline_ingest_seconds_count"] == 5
    assert values["leadline_batches_inside"] == 0
    assert values["leadline_enrolments_total{result=enrolled}"] == 1
    assert values["leadline_enrolments_total{result=refused}"] == 1
    assert values["leadline_agent_latest_window_age_seconds{agent=fra1}"] == clock.wall_ns() // 10**9 - NOW_S - 60
    assert "leadline_agent_latest_window_age_seconds{agent=fra2}" not in values
    assert values[f"leadline_schema_info{{version={schema.get_head_revision()}}}"] == 1
    assert (values["leadline_database_up"], values["leadline_mesh_version"]) == (1, 1)
    assert values["process_resident_memory_bytes"] > 0


def test_a_window_ahead_of_the_clock_has_no_negative_age(client: Client, fra1: str, clock: FakeClock) -> None:
    """An agent may have a wrong clock."""
    client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 7_200))), fra1)

    assert samples(client)["leadline_agent_latest_window_age_seconds{agent=fra1}"] == 0


def test_a_scrape_succeeds_without_the_database(broken: Client) -> None:
    """leadline_database_up is 0; metrics from memory are present."""
    values = samples(broken)

    assert values["leadline_database_up"] == 0
    assert "leadline_batches_total{result=stored}" in values


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_each_application_has_its_own_registry(client: Client, store: Store, clock: FakeClock) -> None:
    """Counts of one application do not appear in another one of the same process."""
    client.post_bytes(b"nonsense", "ll_agent_unknown")

    assert 'batches_refused_total{reason="key"} 0.0' in Metrics(store, clock, lambda: 0).render().decode()
    assert samples(client)["leadline_batches_refused_total{reason=key}"] == 1


def test_the_collector_registers_nothing_globally() -> None:
    """The import runs in a new process, without other imports."""
    code = (
        "import prometheus_client as p; before = set(p.REGISTRY._names_to_collectors); "
        "import leadline_collector.server.app; assert set(p.REGISTRY._names_to_collectors) == before"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
