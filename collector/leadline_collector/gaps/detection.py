"""Every hole in what an agent delivered, with its reason. Pure: from windows, numbers of batches, and what was told.

Rule 1: what somebody told explains a hole before anything that is concluded here.
Rule 2: a conclusion needs a witness (a boot id, a clock, a number); without one the hole is ``unexplained``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from leadline.model import WINDOW_S
from leadline.wire.batch import GapReason
from leadline_collector.gaps.store import QuarantinedBatch, ReportedGap
from leadline_collector.journal.store import BatchClock
from leadline_collector.windows.intervals import Interval, intersect_intervals, merge_intervals, subtract_intervals
from leadline_collector.windows.store import Island

US_PER_S = 1_000_000
#: A new plan may cost the minute it comes in and the next; a longer hole has another cause.
CONFIG_CHANGE_WINDOWS_MAX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GapExplanation:
    """Why a hole is there, and the numbers of the batches that are missing, both included; None without any."""

    reason: GapReason
    epoch: bytes | None = None
    first_seq: int | None = None
    last_seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What stands around a hole of all targets of an agent."""

    #: The last batch with windows before it, and the first with windows after it.
    before: BatchClock | None
    after: BatchClock | None
    #: What was told of the batches whose numbers lie between them.
    reported_gaps: Sequence[ReportedGap] = ()
    #: Numbers between them of batches that have no believable window: empty ones, and those in quarantine.
    empty_seqs: Set[int] = frozenset()
    quarantined_seqs: Set[int] = frozenset()


def find_agent_holes(islands: Iterable[Island], period: Interval) -> list[Interval]:
    """The minutes of a period in which an agent measured nothing at all."""
    return subtract_intervals([period], merge_intervals((island.start_s, island.end_s) for island in islands))


def find_path_holes(islands: Iterable[Island], period: Interval) -> dict[tuple[Interval, GapReason], list[int]]:
    """Holes of single targets, while the agent measured others: span and reason, and the targets they are of.

    A target that has no window at all under the mesh version the others were measured under had left the plan.
    """
    by_target: defaultdict[int, list[Island]] = defaultdict(list)
    for island in islands:
        by_target[island.dst_id].append(island)
    measured = _to_intervals(island for found in by_target.values() for island in found)
    spans_of_version = _group_by_version(by_target.values())
    result: defaultdict[tuple[Interval, GapReason], list[int]] = defaultdict(list)
    for dst_id, found in sorted(by_target.items()):
        versions = {island.mesh_version for island in found}
        planned = merge_intervals(span for version in versions for span in spans_of_version[version])
        for hole in subtract_intervals(intersect_intervals([period], measured), _to_intervals(found)):
            for span in intersect_intervals([hole], planned):
                result[span, GapReason.UNEXPLAINED].append(dst_id)
            for span in subtract_intervals([hole], planned):
                result[span, GapReason.CONFIG_CHANGE].append(dst_id)
    return dict(result)


def _to_intervals(islands: Iterable[Island]) -> list[Interval]:
    return merge_intervals((island.start_s, island.end_s) for island in islands)


def _group_by_version(groups: Iterable[Sequence[Island]]) -> dict[int, list[Interval]]:
    spans: defaultdict[int, list[Interval]] = defaultdict(list)
    for group in groups:
        for island in group:
            spans[island.mesh_version].append((island.start_s, island.end_s))
    return {version: merge_intervals(found) for version, found in spans.items()}


def estimate_measured_interval(batch: QuarantinedBatch, reference: BatchClock | None) -> Interval:
    """When quarantined windows were really measured, as nearly as can be told.

    ``reference`` is a believable batch of the same boot: boottime runs on whatever the wall clock does. Without one the
    batch is taken to have been sent when it was sealed.
    """
    kept, seal = batch.quarantine, batch.batch_clock
    sealed_at_s = (seal.sealed_at_us or 0) // US_PER_S
    shift_s = seal.received_at_s - sealed_at_s
    if reference is not None and _has_boottime(reference) and _has_boottime(seal):
        since_us = (reference.boottime_us or 0) - (seal.boottime_us or 0)
        shift_s = ((reference.sealed_at_us or 0) - since_us) // US_PER_S - sealed_at_s
    start_s = (kept.t_first + shift_s) // WINDOW_S * WINDOW_S
    return start_s, start_s + kept.t_last - kept.t_first + WINDOW_S


def _has_boottime(batch_clock: BatchClock) -> bool:
    return batch_clock.boottime_us is not None and batch_clock.sealed_at_us is not None


def explain_hole(hole: Interval, neighbours: Neighbours) -> GapExplanation:
    """Why an agent measured nothing in a hole that nobody told of."""
    before, after = neighbours.before, neighbours.after
    if after is None:
        return GapExplanation(reason=GapReason.UNEXPLAINED)  # it may still be on its way
    if before is None or before.key.epoch != after.key.epoch:
        return GapExplanation(reason=GapReason.AGENT_DOWN)
    if after.key.seq <= before.key.seq:
        return GapExplanation(reason=GapReason.CLOCK_UNSYNC)  # sealed later, of an earlier minute
    if after.key.seq > before.key.seq + 1:
        return _explain_missing_batches(before, after, neighbours)
    return GapExplanation(reason=_explain_consecutive_batches(hole, before, after))


def _explain_missing_batches(before: BatchClock, after: BatchClock, neighbours: Neighbours) -> GapExplanation:
    if neighbours.reported_gaps:
        reason = neighbours.reported_gaps[0].reason
    elif neighbours.quarantined_seqs:
        reason = GapReason.CLOCK_UNSYNC
    elif len(neighbours.empty_seqs) == after.key.seq - before.key.seq - 1:
        return GapExplanation(reason=GapReason.CONFIG_CHANGE)  # it was there and had nothing to measure
    else:
        reason = GapReason.UNEXPLAINED
    return GapExplanation(
        reason=reason, epoch=before.key.epoch, first_seq=before.key.seq + 1, last_seq=after.key.seq - 1
    )


def _explain_consecutive_batches(hole: Interval, before: BatchClock, after: BatchClock) -> GapReason:
    """Between two batches that follow each other: was the agent off, or its clock, or the whole host at a stand?"""
    if before.boot_id != after.boot_id:
        return GapReason.AGENT_DOWN
    skipped_us = _compute_clock_step_us(before, after)
    if skipped_us is not None and 2 * skipped_us >= (hole[1] - hole[0]) * US_PER_S:
        return GapReason.CLOCK_UNSYNC if _is_clock_suspect(before, after, skipped_us) else GapReason.LOCAL_STALL
    if before.mesh_version != after.mesh_version and hole[1] - hole[0] <= CONFIG_CHANGE_WINDOWS_MAX * WINDOW_S:
        return GapReason.CONFIG_CHANGE
    return GapReason.AGENT_DOWN


def _compute_clock_step_us(before: BatchClock, after: BatchClock) -> int | None:
    """By how much the wall clock went further than the time since boot: a step, or a machine that was paused."""
    if not (_has_boottime(before) and _has_boottime(after)):
        return None
    wall_us = (after.sealed_at_us or 0) - (before.sealed_at_us or 0)
    return wall_us - ((after.boottime_us or 0) - (before.boottime_us or 0))


def _is_clock_suspect(before: BatchClock, after: BatchClock, clock_step_us: int) -> bool:
    if before.ntp_synchronised is False or after.ntp_synchronised is False:
        return True
    if before.clock_offset_us is None or after.clock_offset_us is None:
        return False
    return 2 * abs(after.clock_offset_us - before.clock_offset_us) >= clock_step_us
