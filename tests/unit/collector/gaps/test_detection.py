"""Holes and their reasons from windows, batch numbers and clocks."""

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
#: Ten minutes without windows.
HOLE = (T + 60, T + 660)


def make_batch_clock(t: int, seq: int) -> BatchClock:
    """Return the clocks of a batch of minute ``t``, sealed 10 s after its end, on a host with a correct clock."""
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


BEFORE, AFTER = make_batch_clock(T, 7), make_batch_clock(T + 660, 8)


def reason(**around: object) -> GapReason:
    """Return the reason of the hole with these neighbours changed."""
    return explain_hole(HOLE, replace(Neighbours(before=BEFORE, after=AFTER), **around)).reason  # type: ignore[arg-type]


def make_reported_gap(gap_reason: GapReason) -> ReportedGap:
    return ReportedGap(reason=gap_reason, from_s=0, to_s=0, windows=None, first_seq=8, last_seq=9, epoch=EPOCH)


def test_an_agent_hole_is_a_minute_without_any_target() -> None:
    """Minutes that neither of two targets has are holes, up to the edges of the period."""
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


def test_a_hole_between_consecutive_batches_is_an_agent_that_was_down() -> None:
    """Consecutive numbers and consistent clocks: the process did not run."""
    assert reason() is GapReason.AGENT_DOWN


def test_another_boot_or_another_epoch_is_an_agent_that_was_down() -> None:
    """The host was booted, or the agent's state was recreated."""
    assert reason(after=replace(AFTER, boot_id="two", boottime_us=US)) is GapReason.AGENT_DOWN
    assert reason(after=replace(AFTER, key=BatchKey(epoch=OTHER, seq=0))) is GapReason.AGENT_DOWN
    assert reason(before=None) is GapReason.AGENT_DOWN


def test_an_open_end_is_not_explained() -> None:
    """Without a later batch the agent may be down, or disconnected with the data in its spool."""
    assert reason(after=None) is GapReason.UNEXPLAINED


def test_missing_numbers_are_named_and_not_explained() -> None:
    """Batches 8 and 9 are missing without a reported gap."""
    gap = explain_hole(HOLE, Neighbours(before=BEFORE, after=make_batch_clock(T + 660, 10)))

    assert (gap.reason, gap.epoch, gap.first_seq, gap.last_seq) == (GapReason.UNEXPLAINED, EPOCH, 8, 9)


@pytest.mark.parametrize("gap_reason", [GapReason.SPOOL_CORRUPT, GapReason.SPOOL_OVERFLOW, GapReason.REFUSED])
def test_missing_numbers_have_the_reported_reason(gap_reason: GapReason) -> None:
    """A loss record without times explains by its numbers."""
    assert reason(after=make_batch_clock(T + 660, 10), reported_gaps=[make_reported_gap(gap_reason)]) is gap_reason


def test_numbers_of_batches_without_windows() -> None:
    """All empty: nothing to measure; one in quarantine: the clock; one missing: unexplained."""
    after = make_batch_clock(T + 660, 10)

    assert reason(after=after, empty_seqs={8, 9}) is GapReason.CONFIG_CHANGE
    assert reason(after=after, quarantined_seqs={8}, empty_seqs={9}) is GapReason.CLOCK_UNSYNC
    assert reason(after=after, empty_seqs={8}) is GapReason.UNEXPLAINED


def test_a_paused_machine_is_a_stall() -> None:
    """The wall clock advanced by ten minutes, boottime by one, and the clock is right on both sides."""
    paused = replace(AFTER, boottime_us=(BEFORE.boottime_us or 0) + 60 * US)

    assert reason(after=paused) is GapReason.LOCAL_STALL


@pytest.mark.parametrize("doubt", [{"ntp_synchronised": False}, {"clock_offset_us": 600 * US}])
def test_a_stepped_wall_clock_is_not_synchronised(doubt: dict[str, object]) -> None:
    """The same ten minutes, with an unsynchronised clock or an offset of ten minutes afterwards."""
    paused = replace(AFTER, boottime_us=(BEFORE.boottime_us or 0) + 60 * US)

    assert reason(after=replace(paused, **doubt)) is GapReason.CLOCK_UNSYNC  # type: ignore[arg-type]


def test_a_later_number_of_an_earlier_minute_is_a_clock_step_back() -> None:
    """Batch numbers only increase; clocks can step back."""
    assert reason(before=make_batch_clock(T, 9)) is GapReason.CLOCK_UNSYNC


def test_a_new_mesh_explains_two_minutes_and_not_ten() -> None:
    """The minute of the change may be lost; a longer hole means that the agent is down."""
    after = replace(AFTER, mesh_version=2)

    assert explain_hole((T + 60, T + 180), Neighbours(before=BEFORE, after=after)).reason is GapReason.CONFIG_CHANGE
    assert explain_hole((T + 60, T + 240), Neighbours(before=BEFORE, after=after)).reason is GapReason.AGENT_DOWN


def test_quarantined_windows_are_placed_by_boottime() -> None:
    """Sealed at 70 s of 1970, 660 s of boottime before a plausible batch: eleven minutes before that batch."""
    quarantine = Quarantine(reason=GapReason.CLOCK_UNSYNC, path="series[0].start_s", windows=1, t_first=0, t_last=0)
    wrong_clock = replace(BEFORE, sealed_at_us=70 * US, received_at_s=T + 9_999)
    batch = QuarantinedBatch(quarantine=quarantine, batch_clock=wrong_clock)

    assert estimate_measured_interval(batch, AFTER) == (T, T + 60)
    assert estimate_measured_interval(batch, None) == ((T + 9_999 - 70) // 60 * 60, (T + 9_999 - 70) // 60 * 60 + 60)
