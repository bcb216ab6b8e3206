"""Gaps end to end: reported by the agent, in quarantine, or detected; and the count of stored batches."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from leadline.wire.batch import Batch, ClockState, Gap, GapReason
from leadline_collector.db import tables
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from tests.integration.conftest import Client
from tests.integration.test_ingest import rows
from tests.support.documents import EPOCH, MESH, NOW_S, OTHER_EPOCH, build_batch, build_steady_window

WEEK_S = 7 * 86_400
BOOT = "6b6c1f4e-3d0f-4b52-9c52-0f6d8f0a7e11"
US = 1_000_000
OVERFLOW = Gap(
    reason=GapReason.SPOOL_OVERFLOW,
    from_s=NOW_S + 60,
    to_s=NOW_S + 180,
    windows=4,
    first_seq=2,
    last_seq=3,
    epoch=EPOCH,
)


def minute(n: int, *targets: str, seq: int | None = None, **anchors: Any) -> Batch:
    """Build a batch of minute ``n``, sealed 10 s after its end, on a host booted an hour before minute 0."""
    start_s = NOW_S + 60 * n
    windows = [(target, build_steady_window(4_900, start_s)) for target in targets or ("ams1",)]
    document = build_batch(*windows, seq=n if seq is None else seq, sealed_at_s=start_s + 70)
    clocks = {"boot_id": BOOT, "boottime_us": (3_600 + 60 * n + 70) * US} | anchors
    return msgspec.structs.replace(document, **clocks)


def gaps(client: Client, first: int = 0, end: int = 10, query: str = "") -> list[dict[str, Any]]:
    """Return the gaps of fra1 from minute ``first`` to minute ``end``."""
    path = f"/api/v1/agents/fra1/gaps?from={NOW_S + 60 * first}&to={NOW_S + 60 * end}{query}"
    entries: list[dict[str, Any]] = client.get(path)["gaps"]
    return entries


def short(entries: list[dict[str, Any]]) -> list[tuple[int, int, str, str]]:
    """Return start and end minute, reason and source of each gap."""
    return [((gap["from"] - NOW_S) // 60, (gap["to"] - NOW_S) // 60, gap["reason"], gap["source"]) for gap in entries]


def stored_gaps(store: Store) -> list[Any]:
    """Return all rows of the table."""
    with store.read() as reader:
        return list(reader.connection.execute(select(tables.gap)))


def test_a_reported_gap_is_stored_once_and_listed(client: Client, store: Store, fra1: str) -> None:
    """The same batch twice stores it once; the response has batch numbers, windows and the time of recording."""
    batch = msgspec.structs.replace(minute(0), gaps=[OVERFLOW])

    first, again = client.post(batch, fra1), client.post(batch, fra1)

    assert (first.status, again.json()["duplicate"]) == (200, True)
    assert len(stored_gaps(store)) == 1
    (gap_entry,) = [gap for gap in gaps(client) if gap["source"] == "agent"]
    assert short([gap_entry]) == [(1, 3, "spool_overflow", "agent")]
    assert (gap_entry["windows"], gap_entry["epoch"], gap_entry["first_seq"], gap_entry["last_seq"]) == (4, EPOCH, 2, 3)
    assert gap_entry["noted_at"] == NOW_S + 3_600


def test_a_gap_is_stored_with_its_batch_or_not_at_all(client: Client, store: Store, fra1: str) -> None:
    """A refused batch stores no gap."""
    batch = msgspec.structs.replace(minute(0, "unknown1"), gaps=[OVERFLOW])

    assert client.post(batch, fra1).status == 422

    assert stored_gaps(store) == []


def test_detected_gaps_exclude_reported_ones(client: Client, fra1: str) -> None:
    """Minutes 0, 4 and 8 have windows, 1 and 2 are reported, 3 misses a batch, 5 to 7 had no batch, 9 is open."""
    client.post(msgspec.structs.replace(minute(0), gaps=[OVERFLOW]), fra1)
    client.post(minute(4), fra1)
    client.post(minute(8, seq=5), fra1)

    assert short(gaps(client)) == [
        (1, 3, "spool_overflow", "agent"),
        (3, 4, "spool_overflow", "collector"),  # by batch number: 1 to 3 are missing, 2 and 3 are reported
        (5, 8, "agent_down", "collector"),
        (9, 10, "unexplained", "collector"),
    ]


def test_no_hole_no_gap(client: Client, fra1: str) -> None:
    """Ten consecutive minutes, delivered backwards and in two batches each, have no gap."""
    for n in reversed(range(10)):
        assert client.post(minute(n, "ams1", seq=2 * n), fra1).status == 200
        assert client.post(minute(n, "fra2", seq=2 * n + 1), fra1).status == 200

    assert gaps(client) == []


def test_a_missing_target_is_named(client: Client, fra1: str) -> None:
    """One of two targets misses a minute; a target that a new mesh removed is a change of configuration."""
    client.post(minute(0, "ams1", "fra2"), fra1)
    client.post(minute(1, "ams1"), fra1)
    client.post(minute(2, "ams1", "fra2"), fra1)
    client.post(msgspec.structs.replace(minute(3, "ams1"), mesh_version=2), fra1)

    entries = gaps(client, end=4)

    assert short(entries) == [(1, 2, "unexplained", "collector"), (3, 4, "config_change", "collector")]
    assert [gap["targets"] for gap in entries] == [["fra2"], ["fra2"]]


def test_gaps_come_in_pages(client: Client, fra1: str) -> None:
    """With limit 1 the response has the start of the next page."""
    for n in (0, 2, 4):
        client.post(minute(n), fra1)
    answer = client.get(f"/api/v1/agents/fra1/gaps?from={NOW_S}&to={NOW_S + 300}&limit=1")

    assert (len(answer["gaps"]), answer["next_from"]) == (1, NOW_S + 180)


def test_gaps_of_an_unknown_agent_are_not_found(client: Client, fra1: str) -> None:
    """404 for a name that no mesh ever had."""
    assert client.send("GET", "/api/v1/agents/unknown/gaps").status == 404


#: One minute past each limit: before 2020, and more than a day ahead of the collector.
ABSURD = [1_577_836_740, 0, NOW_S + 3_600 + 86_400 + 60]


@pytest.mark.parametrize("start_s", ABSURD)
def test_an_absurd_wall_clock_is_stored_in_quarantine(client: Client, store: Store, fra1: str, start_s: int) -> None:
    """It is acknowledged and journaled without statistics; a clock_unsync gap is at the time of receipt."""
    start_s -= start_s % 60
    answer = client.post(build_batch(("ams1", build_steady_window(4_900, start_s)), sealed_at_s=start_s + 70), fra1)

    assert (answer.status, answer.json()["batches"]) == (200, 1)
    assert rows(store) == []
    (gap_entry,) = [gap for gap in gaps(client, 50, 60) if gap["reason"] == "clock_unsync"]
    assert short([gap_entry]) == [(58, 59, "clock_unsync", "collector")]
    assert (gap_entry["path"], gap_entry["windows"], gap_entry["first_seq"]) == ("series[0].start_s", 1, 1)


def test_plausible_windows_beside_absurd_ones_are_stored(client: Client, store: Store, fra1: str) -> None:
    """The clock was corrected within a batch: one window is stored, one is in quarantine."""
    document = build_batch(("ams1", build_steady_window(4_900, 0)), ("ams1", build_steady_window(4_900, NOW_S)))

    assert client.post(document, fra1).status == 200

    assert [row["t"] for row in rows(store)] == [NOW_S]


def test_quarantine_is_placed_by_the_boot_clock(client: Client, fra1: str) -> None:
    """Minute 3 was sealed in 1970; minute 5 of the same boot is right, and boottime gives the place of minute 3."""
    wrong = build_batch(("ams1", build_steady_window(4_900, 600)), seq=3, sealed_at_s=670)
    wrong = msgspec.structs.replace(wrong, boot_id=BOOT, boottime_us=(3_600 + 180 + 70) * US)
    for document in (wrong, minute(2), minute(4), minute(5)):
        assert client.post(document, fra1).status == 200

    assert short(gaps(client, 2, 6)) == [(3, 4, "clock_unsync", "collector")]


def test_the_clocks_of_a_batch_are_stored_with_it(client: Client, store: Store, fra1: str) -> None:
    """The journal has every clock of the wire."""
    clock = ClockState(synchronised=False, offset_us=-7, max_error_us=16_000_000, estimated_error_us=9)
    client.post(minute(0, clock=clock, clock_offset_us=-500, clock_offset_error_us=40), fra1)

    with store.read() as reader:
        row = reader.connection.execute(select(tables.batch)).one()
    assert (row.sealed_at_us, row.monotonic_us, row.boottime_us) == ((NOW_S + 70) * US, 1, 3_670 * US)
    assert (row.boot_id, row.ntp_synchronised, row.ntp_offset_us) == (BOOT, False, -7)
    assert (row.ntp_max_error_us, row.ntp_estimated_error_us) == (16_000_000, 9)
    assert (row.clock_offset_us, row.clock_offset_error_us) == (-500, 40)


def test_a_batch_may_be_seven_days_late(client: Client, store: Store, fra1: str) -> None:
    """An agent that was disconnected for a week delivers the newest batch and then the week: all is stored."""
    start_s = NOW_S - WEEK_S
    late = [
        build_batch(("ams1", build_steady_window(4_900, start_s + 60 * n)), seq=n, sealed_at_s=start_s + 60 * n + 70)
        for n in range(5)
    ]

    assert client.post(build_batch(("ams1", build_steady_window(4_900)), seq=10_080), fra1).status == 200
    assert [client.post(document, fra1).status for document in late] == [200] * 5

    assert [row["t"] for row in rows(store)] == [*(start_s + 60 * n for n in range(5)), NOW_S]


def test_the_ledger_counts_every_stored_batch(client: Client, store: Store, database: Database, fra1: str) -> None:
    """By epoch, without duplicates; the count does not shrink with the journal."""
    first = [client.post(minute(n), fra1).json()["batches"] for n in (0, 1, 1, 2)]
    other = client.post(build_batch(("ams1", build_steady_window(4_900, NOW_S + 900)), epoch=OTHER_EPOCH, seq=9), fra1)
    with database.write() as connection:
        connection.execute(tables.batch.delete().where(tables.batch.c.seq <= 1))
    last = client.post(minute(3), fra1)

    assert first == [1, 2, 2, 3]
    assert (other.json()["batches"], last.json()["batches"]) == (1, 4)
    with store.read() as reader:
        ledger = {
            row.epoch.hex(): (row.batches, row.seq_max) for row in reader.connection.execute(select(tables.ledger))
        }
    assert ledger == {EPOCH: (4, 3), OTHER_EPOCH: (1, 9)}


def test_a_refused_batch_is_not_counted(client: Client, fra1: str) -> None:
    """The count is rolled back with the transaction; a 409 is not counted either."""
    assert client.post(minute(0, "unknown1"), fra1).status == 422
    assert client.post(minute(0), fra1).json()["batches"] == 1
    assert client.post(minute(0, clock_offset_us=1), fra1).status == 409

    assert client.post(minute(0), fra1).json()["batches"] == 1


def test_a_merge_leaves_quarantined_windows_out(client: Client, store: Store, clock: Any, fra1: str) -> None:
    """A window that was two days ahead on arrival stays in quarantine, also after its minute."""
    ahead_s = NOW_S + 2 * 86_400
    client.post(
        build_batch(("ams1", build_steady_window(1_000, ahead_s)), ("ams1", build_steady_window(1_000, NOW_S)), seq=1),
        fra1,
    )
    clock.advance(3 * 86_400 * 1_000_000_000)
    for seq in (2, 3):
        windows = (("ams1", build_steady_window(5_000, ahead_s)), ("ams1", build_steady_window(5_000, NOW_S)))
        assert client.post(build_batch(*windows, seq=seq, sealed_at_s=ahead_s + 70), fra1).status == 200

    assert [row["min_us"] for row in rows(store) if row["t"] == ahead_s] == [5_000]


def test_a_mesh_that_comes_later_makes_its_targets_known(client: Client, store: Store, fra1: str) -> None:
    """The collector caches target names between batches until the mesh changes."""
    assert client.post(minute(0), fra1).status == 200
    assert client.post(minute(1, "lon1"), fra1).status == 422
    more = MESH.replace("[[group]]", '[[agent]]\nname = "lon1"\nsite = "ams"\naddress = "192.0.2.9"\n\n[[group]]')
    assert client.apply(more).status == 200

    answer = client.post(minute(1, "lon1"), fra1)

    assert (answer.status, answer.json()["mesh_version"]) == (200, 2)
    assert len(rows(store, target="lon1")) == 1
