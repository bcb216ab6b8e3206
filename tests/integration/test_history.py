"""Simulated history: for an empty database, completed after an interruption, never mixed with measurements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from leadline.errors import UnavailableError
from leadline_cli.__main__ import main
from leadline_collector.db import tables
from leadline_collector.db.transactions import Store
from leadline_collector.demo import history
from leadline_collector.mesh import store as mesh_store
from tests.integration.conftest import Client
from tests.support.clock import FakeClock
from tests.support.compose import ROOT
from tests.support.documents import build_batch

MESH = """
profiles = ["vsan-stretched"]
[[site]]
name = "a"
latitude = 50
longitude = 8
simulated = true
[[site]]
name = "b"
latitude = 51
longitude = 8
simulated = true
[[agent]]
name = "a1"
site = "a"
address = "192.0.2.1"
[[agent]]
name = "b1"
site = "b"
address = "192.0.2.2"
[[group]]
name = "both"
kind = "full-mesh"
sites = ["a", "b"]
"""
HOUR_S = 3_600


def fill(store: Store, clock: FakeClock, ahead_s: int = HOUR_S) -> history.HistoryResult:
    """Simulate one day and ``ahead_s``."""
    return history.fill_history(store, clock, MESH, days=1, ahead_s=ahead_s, seed=1, on_progress=lambda count: None)


def windows(store: Store) -> tuple[int, int]:
    """Return the number of windows and the start of the last one."""
    with store.read() as reader:
        row = reader.connection.execute(select(func.count(), func.max(tables.window_stat.c.t))).one()
    return row[0], row[1]


def test_history_begins_at_a_midnight_and_ends_ahead(store: Store, clock: FakeClock) -> None:
    """Both directions have a window for every minute except the agent's outage."""
    filled = fill(store, clock)

    minutes = (filled.end_s - filled.start_s) // 60
    assert filled.start_s % 86_400 == 0
    assert filled.end_s == clock.wall_ns() // 10**9 // 60 * 60 + HOUR_S
    assert 2 * minutes - 400 < filled.window_count <= 2 * minutes
    assert windows(store) == (filled.window_count, filled.end_s - 60)


def test_a_second_call_continues_the_history(store: Store, clock: FakeClock) -> None:
    """It adds nothing if nothing is missing."""
    first = fill(store, clock)
    assert fill(store, clock).window_count == 0

    second = fill(store, clock, ahead_s=2 * HOUR_S)

    assert second.start_s == first.end_s
    assert windows(store)[1] == first.end_s + HOUR_S - 60


def test_an_interrupted_history_is_completed(store: Store, clock: FakeClock) -> None:
    """A path with half of its history gets the other half; the result equals an uninterrupted run."""
    first = fill(store, clock)
    before = windows(store)
    column = tables.window_stat.c
    with store.write() as writer:
        (target_id,) = mesh_store.load_target_ids(writer.connection, {"b1"}).values()
        half_s = (first.start_s + first.end_s) // 2
        writer.connection.execute(delete(tables.window_stat).where(column.dst_id == target_id, column.t > half_s))
        writer.connection.execute(delete(tables.window_stat).where(column.dst_id != target_id))

    fill(store, clock)

    assert windows(store) == before


def test_a_database_with_measurements_is_refused(store: Store, clock: FakeClock, client: Client, fra1: str) -> None:
    """Evidence is not mixed with simulated windows."""
    assert client.post(build_batch(), fra1).status == 200
    before = windows(store)

    with pytest.raises(UnavailableError, match="measurements of agents"):
        fill(store, clock)
    assert windows(store) == before


@pytest.mark.source_tree
def test_the_mesh_of_the_containers_is_simulated(store: Store, clock: FakeClock) -> None:
    """Its cities are simulated, its two measuring sites are not."""
    text = Path(ROOT / "deploy/compose/mesh.toml").read_text(encoding="utf-8")

    history.fill_history(store, clock, text, days=1, ahead_s=0, seed=1, on_progress=lambda count: None)

    with store.read() as reader:
        sources = reader.connection.execute(select(tables.window_stat.c.src_id).distinct()).scalars().all()
        assert len(sources) == 6


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["--days", "0"], "--days"),
        (["--days", "401"], "--days"),
        (["--ahead", "soon"], "--ahead"),
        (["--mesh", "/nowhere/mesh.toml"], "--mesh"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_created(
    options: list[str], key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and no database."""
    assert main(["collector", "simulate", "--data-dir", str(tmp_path / "data"), *options]) == 2

    assert f"leadline: {key}: " in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_the_command_fills_and_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It uses the demo's mesh by default; a second run adds little or nothing."""
    command = ["collector", "simulate", "--data-dir", str(tmp_path), "--days", "1", "--ahead", "10m", "--json"]
    results = []
    for _ in range(2):
        assert main(command) == 0
        results.append(json.loads(capsys.readouterr().out))

    assert results[0]["windows"] > 16 * 1_440 * 0.9
    assert results[1]["windows"] <= 16 * 3
    assert [result["failed"] for result in results] == [0, 0]
