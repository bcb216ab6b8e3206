"""Holes and their reasons, from windows, numbers and clocks alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leadline.wire.batch import GapReason
from leadline_collector.gaps.detection import (
    Neighbours,
    estimate_measured_interval,
    explain_hole,
    find_agent_holes,
    find_path_holes,
)
from leadline_collector.gaps.store import Quarantine, QuarantinedBatch, ReportedGap
from leadline_collector.journal.store import BatchClock, BatchKey
from leadline_collector.windows.store import Island

T = 1_795_327_200
US = 1_000_000
EPOCH, OTHER = b"\x01" * 16, b"\x02" * 16
#: Ten minutes in which nothing was measured.
HOLE = (T + 60, T + 660)


def seal(t: int, seq: int) -> BatchClock:
    """A batch of the minute ``t``, sealed 10 s after its end, of a host that was booted long ago and is in time."""
    return BatchClock(
        key=BatchKey(epoch=EPOCH, seq=seq),
        received_at_s=t + 71,
        mesh_version=1,
        t_first=t,
        t_last=t,
        sealed_at_us=(t + 70) * US,
        boottime_us=(t + 70 - T + 5_000) * US,
        boot_id="one",
        ntp_synchronised=True,
        clock_offset_us=0,
    )


BEFORE, AFTER = seal(T, 7), seal(T + 660, 8)


def reason(**around: object) -> GapReason:
    """Why the hole is there, with these things around it changed."""
    return explain_hole(HOLE, replace(Neighbours(before=BEFORE, after=AFTER), **around)).reason  # type: ignore[arg-type]


def told(why: GapReason) -> ReportedGap:
    return ReportedGap(reason=why, from_s=0, to_s=0, windows=None, first_seq=8, last_seq=9, epoch=EPOCH)


def test_the_holes_of_an_agent_are_what_no_target_covers() -> None:
    """Two targets cover for each other; what neither has is a hole, to the edges of the period."""
    islands = [
        Island(start_s=T, end_s=T + 120, dst_id=1, mesh_version=1),
        Island(start_s=T + 60, end_s=T + 180, dst_id=2, mesh_version=1),
        Island(start_s=T + 240, end_s=T + 300, dst_id=2, mesh_version=1),
    ]

    assert find_agent_holes(islands, (T - 60, T + 360)) == [(T - 60, T), (T + 180, T + 240), (T + 300, T + 360)]


def test_a_target_that_left_the_plan_is_a_change_of_configuration() -> None:
    """Target 2 has no window under mesh 2; target 1 has, and misses a minute under mesh 1 for no known reason."""
    islands = [
        Island(start_s=T, end_s=T + 60, dst_id=1, mesh_version=1),
        Island(start_s=T + 120, end_s=T + 180, dst_id=1, mesh_version=1),
        Island(start_s=T, end_s=T + 180, dst_id=2, mesh_version=1),
        Island(start_s=T + 180, end_s=T + 300, dst_id=1, mesh_version=2),
    ]

    assert find_path_holes(islands, (T, T + 300)) == {
        ((T + 60, T + 120), GapReason.UNEXPLAINED): [1],
        ((T + 180, T + 300), GapReason.CONFIG_CHANGE): [2],
    }


def test_no_batch_sealed_in_between_is_an_agent_that_was_down() -> None:
    """The numbers follow each other and the clocks agree: the process was not there."""
    assert reason() is GapReason.AGENT_DOWN


def test_another_boot_or_another_epoch_is_an_agent_that_was_down() -> None:
    """The host was booted, or the agent's state made anew."""
    assert reason(after=replace(AFTER, boot_id="two", boottime_us=US)) is GapReason.AGENT_DOWN
    assert reason(after=replace(AFTER, key=BatchKey(epoch=OTHER, seq=0))) is GapReason.AGENT_DOWN
    assert reason(before=None) is GapReason.AGENT_DOWN


def test_an_open_end_is_not_explained() -> None:
    """Nothing came after it yet: the agent may be down, or cut off with all of it in its spool."""
    assert reason(after=None) is GapReason.UNEXPLAINED


def test_numbers_that_are_missing_are_named_and_not_explained() -> None:
    """Batches 8 and 9 were sealed and are not here; nobody told why."""
    found = explain_hole(HOLE, Neighbours(before=BEFORE, after=seal(T + 660, 10)))

    assert (found.reason, found.epoch, found.first_seq, found.last_seq) == (GapReason.UNEXPLAINED, EPOCH, 8, 9)


@pytest.mark.parametrize("why", [GapReason.SPOOL_CORRUPT, GapReason.SPOOL_OVERFLOW, GapReason.REFUSED])
def test_numbers_that_somebody_told_of_have_that_reason(why: GapReason) -> None:
    """A tombstone without times explains by its numbers."""
    assert reason(after=seal(T + 660, 10), reported_gaps=[told(why)]) is why


def test_numbers_of_batches_without_windows() -> None:
    """All of them empty: there was nothing to measure; one in quarantine: the clock; one missing: not explained."""
    after = seal(T + 660, 10)

    assert reason(after=after, empty_seqs={8, 9}) is GapReason.CONFIG_CHANGE
    assert reason(after=after, quarantined_seqs={8}, empty_seqs={9}) is GapReason.CLOCK_UNSYNC
    assert reason(after=after, empty_seqs={8}) is GapReason.UNEXPLAINED


def test_a_machine_that_stood_still_is_a_stall() -> None:
    """Ten minutes passed on the wall and none since boot, with the clock right on both sides: it was paused."""
    paused = replace(AFTER, boottime_us=(BEFORE.boottime_us or 0) + 60 * US)

    assert reason(after=paused) is GapReason.LOCAL_STALL


@pytest.mark.parametrize("doubt", [{"ntp_synchronised": False}, {"clock_offset_us": 600 * US}])
def test_a_wall_clock_that_was_stepped_is_not_in_time(doubt: dict[str, object]) -> None:
    """The same ten minutes, with a clock nobody keeps, or one that is ten minutes off afterwards."""
    paused = replace(AFTER, boottime_us=(BEFORE.boottime_us or 0) + 60 * US)

    assert reason(after=replace(paused, **doubt)) is GapReason.CLOCK_UNSYNC  # type: ignore[arg-type]


def test_a_later_number_of_an_earlier_minute_is_a_clock_that_went_back() -> None:
    """Numbers never go back, clocks do."""
    assert reason(before=seal(T, 9)) is GapReason.CLOCK_UNSYNC


def test_a_new_mesh_explains_two_minutes_and_not_ten() -> None:
    """The minute of the change may be lost; an agent that is away for longer is down."""
    after = replace(AFTER, mesh_version=2)

    assert explain_hole((T + 60, T + 180), Neighbours(before=BEFORE, after=after)).reason is GapReason.CONFIG_CHANGE
    assert explain_hole((T + 60, T + 240), Neighbours(before=BEFORE, after=after)).reason is GapReason.AGENT_DOWN


def test_quarantined_windows_are_put_where_boottime_says() -> None:
    """Sealed at 70 s of 1970, 660 s of boottime before a batch that is believed: eleven minutes before that one."""
    kept = Quarantine(reason=GapReason.CLOCK_UNSYNC, path="series[0].start_s", windows=1, t_first=0, t_last=0)
    absurd = replace(BEFORE, sealed_at_us=70 * US, received_at_s=T + 9_999)
    found = QuarantinedBatch(quarantine=kept, batch_clock=absurd)

    assert estimate_measured_interval(found, AFTER) == (T, T + 60)
    assert estimate_measured_interval(found, None) == ((T + 9_999 - 70) // 60 * 60, (T + 9_999 - 70) // 60 * 60 + 60)
