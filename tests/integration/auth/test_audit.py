"""The audit log: it has every change of access, is append-only and contains no secrets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from leadline.errors import UnavailableError
from leadline_collector.auth.enrolment import AUDITED_REFUSALS_MAX
from leadline_collector.auth.failure_limit import FAILURES_PER_PERIOD_MAX
from leadline_collector.config import CollectorConfig
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from leadline_collector.server.serve import serve_in_thread
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.documents import MESH, build_batch, build_steady_window

ADMIN = "admin"


def entries(client: Client, query: str = "") -> list[dict[str, Any]]:
    """Return the entries of the audit log, oldest first."""
    answer = client.send("GET", f"/api/v1/audit{query}", key=client.admin_key)
    assert answer.status == 200, answer.body
    return list(reversed(answer.json()["entries"]))


def test_every_change_is_in_the_audit(client: Client, clock: FakeClock) -> None:
    """Actor, action, subject and time, in order."""
    client.apply()
    token = client.token("fra")
    client.enrol(token, "nobody")
    first = client.enrol(token, "fra1").json()["key"]
    client.enrol(token, "fra1")
    second = client.send("POST", "/api/v1/rotate", key=first).json()["key"]
    client.send("GET", "/api/v1/plan", key=second)
    client.post(build_batch(("ams1", build_steady_window(4_900))), second)
    client.post(build_batch(("ams1", build_steady_window(5_000))), second)
    client.send("DELETE", "/api/v1/agents/fra1/keys", key=client.admin_key)
    client.token("ams")
    tokens = client.send("GET", "/api/v1/tokens", key=client.admin_key).json()["tokens"]
    unused = next(entry["id"] for entry in tokens if entry["used_at_s"] is None)
    client.send("DELETE", f"/api/v1/tokens/{unused}", key=client.admin_key)

    audit_entries = entries(client)

    assert [(entry["who"], entry["what"], entry["subject"]) for entry in audit_entries[1:]] == [
        (ADMIN, "mesh applied", "version 1"),
        (ADMIN, "token created", "fra"),
        ("peer 127.0.0.1", "enrolment refused", "nobody"),
        ("agent fra1", "agent enrolled", "fra1"),
        ("peer 127.0.0.1", "enrolment refused", "fra1"),
        ("agent fra1", "key rotated", "fra1"),
        ("agent fra1", "key replaced", "fra1"),
        ("agent fra1", "batch conflict", "fra1"),
        (ADMIN, "keys revoked", "fra1"),
        (ADMIN, "token created", "ams"),
        (ADMIN, "token revoked", unused),
    ]
    assert (audit_entries[0]["who"], audit_entries[0]["what"]) == ("collector", "admin key changed")
    assert {entry["at_s"] for entry in audit_entries} == {clock.wall_ns() // 1_000_000_000}
    audit_text = str(audit_entries)
    assert not [secret for secret in (token, first, second, client.admin_key) if secret in audit_text]


def test_requests_without_a_change_are_not_in_the_audit(client: Client, fra1: str) -> None:
    """The same mesh again, a refused mesh, a batch and a refused key have no entry."""
    before = entries(client)
    client.apply()
    client.apply(MESH.replace('site = "ams"', 'site = "lon"'))
    client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)
    client.post(build_batch(("ams1", build_steady_window(4_900))), fra1)
    client.send("GET", "/api/v1/plan", key="ll_agent_of_nobody")

    assert entries(client) == before


def test_the_audit_is_paged(client: Client) -> None:
    """Newest first; each page except the last one refers to the next."""
    for number in range(4):
        client.apply(f"{MESH}# {number}\n")
    whole = entries(client)

    pages, before = [], ""
    while True:
        answer = client.send("GET", f"/api/v1/audit?limit=2{before}", key=client.admin_key).json()
        pages.append(answer["entries"])
        if answer["next_before"] is None:
            break
        before = f"&before={answer['next_before']}"

    assert [len(page) for page in pages] == [2, 2, 1]
    assert [entry for page in pages for entry in page] == whole[::-1]


@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET who = 'somebody else'", "DELETE FROM audit", "DELETE FROM audit WHERE id = 1"]
)
def test_the_database_refuses_to_change_the_audit(client: Client, database: Database, statement: str) -> None:
    """A trigger protects the table on both databases."""
    client.apply()

    with pytest.raises((DBAPIError, UnavailableError), match="append-only"), database.write() as connection:
        connection.execute(text(statement))

    assert len(entries(client)) == 2


def test_the_audit_cannot_be_truncated(client: Client, database: Database) -> None:
    """TRUNCATE on PostgreSQL is refused too."""
    if database.is_sqlite:
        pytest.skip("SQLite has no TRUNCATE")

    with pytest.raises((DBAPIError, UnavailableError), match="append-only"), database.write() as connection:
        connection.execute(text("TRUNCATE audit"))


def test_a_change_that_fails_leaves_no_trace(client: Client, store: Store) -> None:
    """A token for an unknown site leaves neither a token nor an entry."""
    before = entries(client)

    assert client.send("POST", "/api/v1/tokens", b'{"site": "fra"}', client.admin_key).status == 422

    assert entries(client) == before


def test_a_new_admin_key_is_in_the_audit_once(
    client: Client, config: CollectorConfig, store: Store, tmp_path: Path
) -> None:
    """Two starts with the same key file add one entry."""
    file = tmp_path / "operator.key"
    file.write_text("ll_admin_given_by_the_operator")
    for _ in range(2):
        with serve_in_thread(replace(config, admin_key_file=file), store, FakeClock()) as url:
            again = Client(url=url, admin_key=file.read_text())
            actions = [entry["what"] for entry in entries(again)]
            again.pool.clear()

    assert actions == ["admin key changed", "admin key changed"]


def test_control_characters_of_a_client_are_replaced_in_the_audit(client: Client) -> None:
    """Unprintable characters of a requested name are replaced, NUL included, which PostgreSQL cannot store."""
    client.apply()

    answer = client.enrol("ll_token_of_nobody", "\x1b[2J\x00")

    assert answer.status == 401
    assert entries(client)[-1]["subject"] == "?[2J?"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_strangers_cannot_fill_the_audit(config: CollectorConfig, store: Store, clock: FakeClock) -> None:
    """The number of recorded refusals per minute is limited over all clients."""
    with serve_in_thread(replace(config, behind_proxy=True), store, clock) as url:
        client = Client(url=url, admin_key=(config.data_dir / "admin.key").read_text().strip())
        for number in range(AUDITED_REFUSALS_MAX + 10):
            peer = f"192.0.2.{number // FAILURES_PER_PERIOD_MAX}"
            body = b'{"token": "ll_token_of_nobody"}'
            assert client.send("POST", "/api/v1/enroll", body, X_Forwarded_For=peer).status == 401
        audit_entries = entries(client, "?limit=1000")
        client.pool.clear()

    assert len([entry for entry in audit_entries if entry["what"] == "enrolment refused"]) == AUDITED_REFUSALS_MAX
