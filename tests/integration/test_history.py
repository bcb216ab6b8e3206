"""Simulated history on request: for an empty database, made whole where it was cut off, never beside measurements."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from leadline.errors import UnavailableError
from leadline_collector import history, tables
from leadline_collector.store import Store
from tests.compose import ROOT
from tests.fakes import FakeClock
from tests.integration.conftest import Client
from tests.integration.documents import batch

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


def fill(store: Store, clock: FakeClock, ahead_s: int = HOUR_S) -> history.Filled:
    """One day and what is ahead."""
    return history.fill(store, clock, MESH, days=1, ahead_s=ahead_s, seed=1, progress=lambda count: None)


def windows(store: Store) -> tuple[int, int]:
    """How many there are, and the start of the last."""
    with store.read() as reader:
        row = reader.connection.execute(select(func.count(), func.max(tables.window_stat.c.t))).one()
    return row[0], row[1]


def test_history_begins_at_a_midnight_and_ends_ahead(store: Store, clock: FakeClock) -> None:
    """Both directions, every minute but those in which the agent was down."""
    filled = fill(store, clock)

    minutes = (filled.end_s - filled.start_s) // 60
    assert filled.start_s % 86_400 == 0
    assert filled.end_s == clock.wall_ns() // 10**9 // 60 * 60 + HOUR_S
    assert 2 * minutes - 400 < filled.windows <= 2 * minutes
    assert windows(store) == (filled.windows, filled.end_s - 60)


def test_asked_again_it_goes_on_where_it_ended(store: Store, clock: FakeClock) -> None:
    """And adds nothing where nothing is missing."""
    first = fill(store, clock)
    assert fill(store, clock).windows == 0

    second = fill(store, clock, ahead_s=2 * HOUR_S)

    assert second.start_s == first.end_s
    assert windows(store)[1] == first.end_s + HOUR_S - 60


def test_what_was_cut_off_is_made_whole(store: Store, clock: FakeClock) -> None:
    """A path that has half of its history gets the other half, and the same as if nothing had happened."""
    first = fill(store, clock)
    before = windows(store)
    column = tables.window_stat.c
    with store.write() as writer:
        (other,) = writer.target_ids({"b1"}).values()
        half_s = (first.start_s + first.end_s) // 2
        writer.connection.execute(delete(tables.window_stat).where(column.dst_id == other, column.t > half_s))
        writer.connection.execute(delete(tables.window_stat).where(column.dst_id != other))

    fill(store, clock)

    assert windows(store) == before


def test_a_database_with_measurements_is_refused(store: Store, clock: FakeClock, client: Client, fra1: str) -> None:
    """Nobody's evidence gets company."""
    assert client.post(batch(), fra1).status == 200
    before = windows(store)

    with pytest.raises(UnavailableError, match="what agents measured"):
        fill(store, clock)
    assert windows(store) == before


@pytest.mark.source_tree
def test_the_mesh_of_the_containers_is_simulated(store: Store, clock: FakeClock) -> None:
    """Its cities, and not the two sites that measure."""
    text = Path(ROOT / "deploy/compose/mesh.toml").read_text(encoding="utf-8")

    history.fill(store, clock, text, days=1, ahead_s=0, seed=1, progress=lambda count: None)

    with store.read() as reader:
        sources = reader.connection.execute(select(tables.window_stat.c.src_id).distinct()).scalars().all()
        assert len(sources) == 6
