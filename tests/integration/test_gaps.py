"""What is missing, end to end: told by the agent, in quarantine, or found; and how much the store has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from leadline.wire import batch as wire
from leadline_collector.db import tables
from leadline_collector.db.engine import Database
from leadline_collector.db.transactions import Store
from tests.integration.conftest import Client
from tests.integration.test_ingest import rows
from tests.support.documents import EPOCH, MESH, NOW_S, OTHER_EPOCH, build_batch, build_steady_window

WEEK_S = 7 * 86_400
BOOT = "6b6c1f4e-3d0f-4b52-9c52-0f6d8f0a7e11"
US = 1_000_000
OVERFLOW = wire.Gap(
    reason=wire.GapReason.SPOOL_OVERFLOW,
    from_s=NOW_S + 60,
    to_s=NOW_S + 180,
    windows=4,
    first_seq=2,
    last_seq=3,
    epoch=EPOCH,
)


def minute(n: int, *targets: str, seq: int | None = None, **anchors: Any) -> wire.Batch:
    """A batch of minute ``n``, sealed 10 s after its end, on a host that was booted an hour before minute 0."""
    start_s = NOW_S + 60 * n
    windows = [(target, build_steady_window(4_900, start_s)) for target in targets or ("ams1",)]
    document = build_batch(*windows, seq=n if seq is None else seq, sealed_at_s=start_s + 70)
    clocks = {"boot_id": BOOT, "boottime_us": (3_600 + 60 * n + 70) * US} | anchors
    return msgspec.structs.replace(document, **clocks)


def gaps(client: Client, first: int = 0, end: int = 10, query: str = "") -> list[dict[str, Any]]:
    """The gaps of fra1 from minute ``first`` to minute ``end``."""
    path = f"/api/v1/agents/fra1/gaps?from={NOW_S + 60 * first}&to={NOW_S + 60 * end}{query}"
    found: list[dict[str, Any]] = client.get(path)["gaps"]
    return found


def short(found: list[dict[str, Any]]) -> list[tuple[int, int, str, str]]:
    """Minutes, reason and source of each."""
    return [((gap["from"] - NOW_S) // 60, (gap["to"] - NOW_S) // 60, gap["reason"], gap["source"]) for gap in found]


def stored_gaps(store: Store) -> list[Any]:
    """Every row of the table."""
    with store.read() as reader:
        return list(reader.connection.execute(select(tables.gap)))


def test_a_gap_that_is_told_is_stored_once_and_shown(client: Client, store: Store, fra1: str) -> None:
    """The same batch twice tells once; the answer has numbers, windows, and when it was noted."""
    telling = msgspec.structs.replace(minute(0), gaps=[OVERFLOW])

    first, again = client.post(telling, fra1), client.post(telling, fra1)

    assert (first.status, again.json()["duplicate"]) == (200, True)
    assert len(stored_gaps(store)) == 1
    (found,) = [gap for gap in gaps(client) if gap["source"] == "agent"]
    assert short([found]) == [(1, 3, "spool_overflow", "agent")]
    assert (found["windows"], found["epoch"], found["first_seq"], found["last_seq"]) == (4, EPOCH, 2, 3)
    assert found["noted_at"] == NOW_S + 3_600


def test_a_gap_is_stored_with_its_batch_or_not_at_all(client: Client, store: Store, fra1: str) -> None:
    """A batch that is refused told nothing."""
    telling = msgspec.structs.replace(minute(0, "nobody1"), gaps=[OVERFLOW])

    assert client.post(telling, fra1).status == 422

    assert stored_gaps(store) == []


def test_holes_are_found_and_what_was_told_is_not_found_again(client: Client, fra1: str) -> None:
    """Minutes 0, 4 and 8 are there, 1 and 2 told; 3 is not explained, 5 to 7 had no batch, 9 is open."""
    client.post(msgspec.structs.replace(minute(0), gaps=[OVERFLOW]), fra1)
    client.post(minute(4), fra1)
    client.post(minute(8, seq=5), fra1)

    assert short(gaps(client)) == [
        (1, 3, "spool_overflow", "agent"),
        (3, 4, "spool_overflow", "collector"),  # by its number: batches 1 to 3 are missing, 2 and 3 were told
        (5, 8, "agent_down", "collector"),
        (9, 10, "unexplained", "collector"),
    ]


def test_no_hole_no_gap(client: Client, fra1: str) -> None:
    """Ten minutes in a row, delivered backwards and in two batches each, have no gap."""
    for n in reversed(range(10)):
        assert client.post(minute(n, "ams1", seq=2 * n), fra1).status == 200
        assert client.post(minute(n, "fra2", seq=2 * n + 1), fra1).status == 200

    assert gaps(client) == []


def test_a_missing_target_is_named(client: Client, fra1: str) -> None:
    """One of two targets misses a minute; a target that a new mesh dropped is a change of configuration."""
    client.post(minute(0, "ams1", "fra2"), fra1)
    client.post(minute(1, "ams1"), fra1)
    client.post(minute(2, "ams1", "fra2"), fra1)
    client.post(msgspec.structs.replace(minute(3, "ams1"), mesh_version=2), fra1)

    found = gaps(client, end=4)

    assert short(found) == [(1, 2, "unexplained", "collector"), (3, 4, "config_change", "collector")]
    assert [gap["targets"] for gap in found] == [["fra2"], ["fra2"]]


def test_the_answer_can_be_cut_and_gone_on_with(client: Client, fra1: str) -> None:
    """With limit 1 the answer says where to go on."""
    for n in (0, 2, 4):
        client.post(minute(n), fra1)
    answer = client.get(f"/api/v1/agents/fra1/gaps?from={NOW_S}&to={NOW_S + 300}&limit=1")

    assert (len(answer["gaps"]), answer["next_from"]) == (1, NOW_S + 180)


def test_gaps_of_nobody_are_not_there(client: Client, fra1: str) -> None:
    """404 for a name that never was an agent."""
    assert client.send("GET", "/api/v1/agents/nobody/gaps").status == 404


#: One minute past each limit: before 2020, and more than a day ahead of the collector.
ABSURD = [1_577_836_740, 0, NOW_S + 3_600 + 86_400 + 60]


@pytest.mark.parametrize("start_s", ABSURD)
def test_an_absurd_wall_clock_is_stored_in_quarantine(client: Client, store: Store, fra1: str, start_s: int) -> None:
    """It is acknowledged and journaled; no statistics, and a gap that says clock_unsync where it was received."""
    start_s -= start_s % 60
    answer = client.post(build_batch(("ams1", build_steady_window(4_900, start_s)), sealed_at_s=start_s + 70), fra1)

    assert (answer.status, answer.json()["batches"]) == (200, 1)
    assert rows(store) == []
    (found,) = [gap for gap in gaps(client, 50, 60) if gap["reason"] == "clock_unsync"]
    assert short([found]) == [(58, 59, "clock_unsync", "collector")]
    assert (found["path"], found["windows"], found["first_seq"]) == ("series[0].start_s", 1, 1)


def test_believable_windows_beside_absurd_ones_are_kept(client: Client, store: Store, fra1: str) -> None:
    """A batch in which the clock was set right: one window in the store, one in quarantine."""
    document = build_batch(("ams1", build_steady_window(4_900, 0)), ("ams1", build_steady_window(4_900, NOW_S)))

    assert client.post(document, fra1).status == 200

    assert [row["t"] for row in rows(store)] == [NOW_S]


def test_quarantine_is_placed_by_the_boot_clock(client: Client, fra1: str) -> None:
    """Minute 3 was sealed in 1970; minute 5 of the same boot is right: boottime says where minute 3 belongs."""
    wrong = build_batch(("ams1", build_steady_window(4_900, 600)), seq=3, sealed_at_s=670)
    wrong = msgspec.structs.replace(wrong, boot_id=BOOT, boottime_us=(3_600 + 180 + 70) * US)
    for document in (wrong, minute(2), minute(4), minute(5)):
        assert client.post(document, fra1).status == 200

    assert short(gaps(client, 2, 6)) == [(3, 4, "clock_unsync", "collector")]


def test_the_clocks_of_a_batch_are_kept_with_it(client: Client, store: Store, fra1: str) -> None:
    """Every anchor of the wire stands in the journal."""
    clock = wire.ClockState(synchronised=False, offset_us=-7, max_error_us=16_000_000, estimated_error_us=9)
    client.post(minute(0, clock=clock, clock_offset_us=-500, clock_offset_error_us=40), fra1)

    with store.read() as reader:
        row = reader.connection.execute(select(tables.batch)).one()
    assert (row.sealed_at_us, row.monotonic_us, row.boottime_us) == ((NOW_S + 70) * US, 1, 3_670 * US)
    assert (row.boot_id, row.ntp_synchronised, row.ntp_offset_us) == (BOOT, False, -7)
    assert (row.ntp_max_error_us, row.ntp_estimated_error_us) == (16_000_000, 9)
    assert (row.clock_offset_us, row.clock_offset_error_us) == (-500, 40)


def test_seven_days_late_is_welcome(client: Client, store: Store, fra1: str) -> None:
    """An agent that was cut off for a week delivers newest first and then the week: all of it is stored."""
    start_s = NOW_S - WEEK_S
    late = [
        build_batch(("ams1", build_steady_window(4_900, start_s + 60 * n)), seq=n, sealed_at_s=start_s + 60 * n + 70)
        for n in range(5)
    ]

    assert client.post(build_batch(("ams1", build_steady_window(4_900)), seq=10_080), fra1).status == 200
    assert [client.post(document, fra1).status for document in late] == [200] * 5

    assert [row["t"] for row in rows(store)] == [*(start_s + 60 * n for n in range(5)), NOW_S]


def test_the_ledger_counts_what_was_ever_stored(client: Client, store: Store, database: Database, fra1: str) -> None:
    """By epoch, duplicates not counted; it does not shrink with the journal."""
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
    """The count goes back with the transaction; 409 counts nothing either."""
    assert client.post(minute(0, "nobody1"), fra1).status == 422
    assert client.post(minute(0), fra1).json()["batches"] == 1
    assert client.post(minute(0, clock_offset_us=1), fra1).status == 409

    assert client.post(minute(0), fra1).json()["batches"] == 1


def test_a_merge_leaves_quarantined_windows_out(client: Client, store: Store, clock: Any, fra1: str) -> None:
    """A window that was two days ahead when it came stays in quarantine, also when its minute has come."""
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
    """The collector remembers the names between batches, and not longer than the mesh is in force."""
    assert client.post(minute(0), fra1).status == 200
    assert client.post(minute(1, "lon1"), fra1).status == 422
    more = MESH.replace("[[group]]", '[[agent]]\nname = "lon1"\nsite = "ams"\naddress = "192.0.2.9"\n\n[[group]]')
    assert client.apply(more).status == 200

    answer = client.post(minute(1, "lon1"), fra1)

    assert (answer.status, answer.json()["mesh_version"]) == (200, 2)
    assert len(rows(store, target="lon1")) == 1
