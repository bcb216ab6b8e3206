"""Declared outages: from the mesh or from the request to the windows that a verdict is computed from."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeAlias

import pytest

from leadline.clock import Clock
from leadline.mesh.model import DeclaredOutages
from leadline_cli.__main__ import main
from leadline_collector.analysis.verdicts import load_verdict_windows
from leadline_collector.api.verdicts import parse_verdict_request
from leadline_collector.config import CollectorConfig
from leadline_collector.db.transactions import Store
from leadline_collector.server.app import create_app
from leadline_verdict import csv_exchange
from tests.integration.conftest import Client
from tests.support.documents import MESH, NOW_S
from tests.support.window_factories import build_columns, build_pair

DECLARED = '[[override]]\npairs = [["fra", "ams"]]\n' + (
    'outages = {outages_per_year = 2, longest_outage = "4h", declared = 2026-11-01}\n'
)
TODAY = datetime.fromtimestamp(NOW_S, UTC).date()

LoadOutages: TypeAlias = Callable[..., dict[str, DeclaredOutages | None]]


@pytest.fixture(name="load_outages")
def _load_outages(config: CollectorConfig, store: Store, clock: Clock, client: Client) -> LoadOutages:
    """Return a function that loads the declared outages of both directions as a request for verdicts does."""
    assert client.apply(MESH + DECLARED).status == 200
    app_state = create_app(config, store, clock).state.app_state

    def load(*declare: str) -> dict[str, DeclaredOutages | None]:
        pairs, _ = load_verdict_windows(store, parse_verdict_request(app_state, declare=list(declare)))
        return {pair.source: pair.declared_outages for pair in pairs}

    return load


def test_a_pair_has_the_declared_outages_of_the_mesh(load_outages: LoadOutages) -> None:
    """Only one direction has a declaration."""
    assert load_outages() == {
        "fra": DeclaredOutages(outages_per_year=2, longest_outage_s=14_400, declared_on=date(2026, 11, 1)),
        "ams": None,
    }


def test_declared_outages_of_a_request_precede_those_of_the_mesh(load_outages: LoadOutages) -> None:
    """They apply to all pairs, and their date is that of the request."""
    outages = DeclaredOutages(outages_per_year=0.5, longest_outage_s=43_200, declared_on=TODAY)

    assert load_outages("outages_per_year=0.5", "longest_outage=12h") == {"fra": outages, "ams": outages}


def test_the_command_sends_both_values_to_the_collector(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One option has both values; the collector refuses a duration without a unit."""
    client.apply()
    key_file = tmp_path / "admin.key"
    key_file.write_text(client.admin_key)
    command = ["verdict", "--collector", client.url, "--admin-key-file", str(key_file)]

    assert main([*command, "--declare", "outages_per_year=2", "longest_outage=12"]) == 2
    assert "declare: '12' is not a duration: write a number and a unit" in capsys.readouterr().err
    assert main([*command, "--declare", "outages_per_year=2", "longest_outage=12h"]) == 1
    assert main([*command, "--declare", "outages_per_year=2", "--declare", "longest_outage=12h"]) == 1


def test_the_command_reads_both_values_without_a_collector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file is evaluated with the same names, and refused with the same errors."""
    content = io.StringIO()
    csv_exchange.write_windows(content, [build_pair(build_columns(28))], [])
    file = tmp_path / "windows.csv"
    file.write_text(content.getvalue())
    command = ["verdict", "--input", str(file), "--limit", "p95 <= 8 ms", "--declare"]

    assert main([*command, "outages_per_year=2"]) == 2
    assert "declare: outages_per_year=2 is incomplete" in capsys.readouterr().err
    assert main([*command, "outages_per_year=2", "longest_outage=12h"]) in {0, 1}
