"""What the collector tells of itself: alive, ready, and figures for Prometheus."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from leadline_collector.config import CollectorConfig
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.http.metrics import Metrics
from tests.integration.conftest import Client
from tests.support import postgres
from tests.support.clock import FakeClock
from tests.support.documents import NOW_S, build_batch, build_steady_window, encode_body


def samples(client: Client) -> dict[str, float]:
    """Every figure of a scrape: ``name{label=value}``."""
    answer = client.send("GET", "/metrics")
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.fixture(name="broken")
def _broken(client: Client, database: Database, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A collector whose database has gone: its file moved away, or dropped on the server."""
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
    """Both without a key."""
    assert client.get("/healthz")["status"] == "ok"
    assert client.get("/readyz")["status"] == "ok"


def test_a_collector_with_another_schema_is_alive_and_not_ready(client: Client, database: Database) -> None:
    """503 with both versions: somebody migrated the database under it, or did not."""
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'other'"))

    answer = client.send("GET", "/readyz")

    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert f"version other and this collector needs {schema.get_head_revision()}" in answer.json()["detail"]
    assert client.send("GET", "/healthz").status == 200


def test_a_collector_without_its_database_is_alive_and_not_ready(broken: Client) -> None:
    """503 and when to ask again; restarting the process would not help, so it is healthy."""
    answer = broken.send("GET", "/readyz")

    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert broken.send("GET", "/healthz").status == 200


def test_the_figures_say_what_was_stored(client: Client, fra1: str, clock: FakeClock) -> None:
    """Batches, windows, samples and bytes once; repetitions apart; refusals by reason; the age of the latest window."""
    document = build_batch(("ams1", build_steady_window(4_900)))
    client.post(document, fra1)
    client.post(document, fra1)
    client.post(build_batch(("ams1", build_steady_window(5_000))), fra1)
    client.post_bytes(b"nonsense", fra1)
    client.post(document, "ll_agent_of_nobody")
    client.enrol("ll_token_of_nobody")

    found = samples(client)

    assert found["leadline_batches_total{result=stored}"] == 1
    assert found["leadline_batches_total{result=duplicate}"] == 1
    assert found["leadline_batches_refused_total{reason=conflict}"] == 1
    assert found["leadline_batches_refused_total{reason=damaged}"] == 1
    assert found["leadline_batches_refused_total{reason=key}"] == 1
    assert found["leadline_batches_refused_total{reason=too_large}"] == 0
    assert (found["leadline_windows_total"], found["leadline_samples_total"]) == (1, 60)
    assert found["leadline_batch_bytes_total"] == len(encode_body(document))
    assert found["leadline_ingest_seconds_count"] == 5
    assert found["leadline_batches_inside"] == 0
    assert found["leadline_enrolments_total{result=enrolled}"] == 1
    assert found["leadline_enrolments_total{result=refused}"] == 1
    assert found["leadline_agent_latest_window_age_seconds{agent=fra1}"] == clock.wall_ns() // 10**9 - NOW_S - 60
    assert "leadline_agent_latest_window_age_seconds{agent=fra2}" not in found
    assert found[f"leadline_schema_info{{version={schema.get_head_revision()}}}"] == 1
    assert (found["leadline_database_up"], found["leadline_mesh_version"]) == (1, 1)
    assert found["process_resident_memory_bytes"] > 0


def test_a_window_ahead_of_the_clock_has_no_negative_age(client: Client, fra1: str, clock: FakeClock) -> None:
    """An agent whose clock is wrong is not the future."""
    client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 7_200))), fra1)

    assert samples(client)["leadline_agent_latest_window_age_seconds{agent=fra1}"] == 0


def test_a_scrape_answers_without_the_database(broken: Client) -> None:
    """leadline_database_up is 0, what the process itself knows is there."""
    found = samples(broken)

    assert found["leadline_database_up"] == 0
    assert "leadline_batches_total{result=stored}" in found


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_two_applications_count_apart(client: Client, config: CollectorConfig, store: Store, clock: FakeClock) -> None:
    """Each has a registry of its own; what another in the process did is not in it."""
    client.post_bytes(b"nonsense", "ll_agent_of_nobody")

    assert 'batches_refused_total{reason="key"} 0.0' in Metrics(store, clock, lambda: 0).render().decode()
    assert samples(client)["leadline_batches_refused_total{reason=key}"] == 1


def test_the_collector_registers_nothing_globally() -> None:
    """On import; in a process of its own, where nothing else has been imported."""
    code = (
        "import prometheus_client as p; before = set(p.REGISTRY._names_to_collectors); import leadline_collector.server.app; "
        "assert set(p.REGISTRY._names_to_collectors) == before"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
