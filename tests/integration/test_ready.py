"""``leadline collector ready``, the health check of containers."""

from __future__ import annotations

import socket

import pytest
from sqlalchemy import text

from leadline_cli.__main__ import main
from leadline_collector.db.transactions import Store
from tests.integration.conftest import Client


def test_a_collector_that_serves_is_ready(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0 and one line of output."""
    assert main(["collector", "ready", "--collector", client.url]) == 0

    assert capsys.readouterr().out == f"{client.url} is ready\n"


def test_a_collector_without_its_schema_is_not(
    client: Client, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1 and the collector's reason."""
    with store.write() as writer:
        writer.connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))

    assert main(["collector", "ready", "--collector", client.url]) == 1
    assert "schema version 0001" in capsys.readouterr().out


def test_an_address_without_a_collector_is_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, as health checks expect, and the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

    assert main(["collector", "ready", "--collector", url]) == 1
    assert f"no response from {url}/readyz" in capsys.readouterr().out
