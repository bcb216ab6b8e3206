"""Detection of holes in an agent's data, and their reasons. Pure: from windows, batch numbers and reported gaps.

Rule 1: a reason that the agent reported takes precedence over one that is inferred here.
Rule 2: an inferred reason needs evidence (a boot id, a clock, a batch number); without it the hole is ``unexplained``.
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
#: A new plan may cost the minute in which it arrives and the next one; a longer hole has another cause.
CONFIG_CHANGE_WINDOWS_MAX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GapExplanation:
    """Reason of a hole, and the first and last missing batch number, inclusive; None if no batch is missing."""

    reason: GapReason
    epoch: bytes | None = None
    first_seq: int | None = None
    last_seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """The batches around a hole of all targets of an agent."""

    #: The last batch with windows before the hole, and the first with windows after it; None if there is no such batch.
    before: BatchClock | None
    after: BatchClock | None
    #: Reported gaps of the batch numbers between the two.
    reported_gaps: Sequence[ReportedGap] = ()
    #: Batch numbers between the two without a plausible window: empty batches, and batches in quarantine.
    empty_seqs: Set[int] = frozenset()
    quarantined_seqs: Set[int] = frozenset()


def find_agent_holes(islands: Iterable[Island], period: Interval) -> list[Interval]:
    """Return the minutes of a period in which the agent measured no target."""
    return subtract_intervals([period], merge_intervals((island.start_s, island.end_s) for island in islands))


def find_path_holes(islands: Iterable[Island], period: Interval) -> dict[tuple[Interval, GapReason], list[int]]:
    """Return holes of single targets during which the agent measured others: the targets by span and reason.

    The reason is a change of configuration if the target has no window under the mesh version of the others.
    """
    by_target: defaultdict[int, list[Island]] = defaultdict(list)
    for island in islands:
        by_target[island.dst_id].append(island)
    agent_spans = _to_intervals(island for group in by_target.values() for island in group)
    spans_by_version = _group_by_version(by_target.values())
    holes: defaultdict[tuple[Interval, GapReason], list[int]] = defaultdict(list)
    for dst_id, target_islands in sorted(by_target.items()):
        versions = {island.mesh_version for island in target_islands}
        plan_spans = merge_intervals(span for version in versions for span in spans_by_version[version])
        for hole in subtract_intervals(intersect_intervals([period], agent_spans), _to_intervals(target_islands)):
            for span in intersect_intervals([hole], plan_spans):
                holes[span, GapReason.UNEXPLAINED].append(dst_id)
            for span in subtract_intervals([hole], plan_spans):
                holes[span, GapReason.CONFIG_CHANGE].append(dst_id)
    return dict(holes)


def _to_intervals(islands: Iterable[Island]) -> list[Interval]:
    return merge_intervals((island.start_s, island.end_s) for island in islands)


def _group_by_version(groups: Iterable[Sequence[Island]]) -> dict[int, list[Interval]]:
    spans_by_version: defaultdict[int, list[Interval]] = defaultdict(list)
    for group in groups:
        for island in group:
            spans_by_version[island.mesh_version].append((island.start_s, island.end_s))
    return {version: merge_intervals(spans) for version, spans in spans_by_version.items()}


def estimate_measured_interval(batch: QuarantinedBatch, reference: BatchClock | None) -> Interval:
    """Estimate when quarantined windows were measured.

    ``reference`` is a plausible batch of the same boot: boottime does not depend on the wall clock. Without a
    reference, assume that the batch was sent when it was sealed.
    """
    quarantine, clock = batch.quarantine, batch.batch_clock
    sealed_at_s = (clock.sealed_at_us or 0) // US_PER_S
    shift_s = clock.received_at_s - sealed_at_s
    if reference is not None and _has_boottime(reference) and _has_boottime(clock):
        since_us = (reference.boottime_us or 0) - (clock.boottime_us or 0)
        shift_s = ((reference.sealed_at_us or 0) - since_us) // US_PER_S - sealed_at_s
    start_s = (quarantine.t_first + shift_s) // WINDOW_S * WINDOW_S
    return start_s, start_s + quarantine.t_last - quarantine.t_first + WINDOW_S


def _has_boottime(batch_clock: BatchClock) -> bool:
    return batch_clock.boottime_us is not None and batch_clock.sealed_at_us is not None


def explain_hole(hole: Interval, neighbours: Neighbours) -> GapExplanation:
    """Infer why an agent measured nothing in a hole without a reported gap."""
    before, after = neighbours.before, neighbours.after
    if after is None:
        return GapExplanation(reason=GapReason.UNEXPLAINED)  # the data may still arrive
    if before is None or before.key.epoch != after.key.epoch:
        return GapExplanation(reason=GapReason.AGENT_DOWN)
    if after.key.seq <= before.key.seq:
        return GapExplanation(reason=GapReason.CLOCK_UNSYNC)  # a later batch has an earlier minute
    if after.key.seq > before.key.seq + 1:
        return _explain_missing_batches(before, after, neighbours)
    return GapExplanation(reason=_explain_consecutive_batches(hole, before, after))


def _explain_missing_batches(before: BatchClock, after: BatchClock, neighbours: Neighbours) -> GapExplanation:
    if neighbours.reported_gaps:
        reason = neighbours.reported_gaps[0].reason
    elif neighbours.quarantined_seqs:
        reason = GapReason.CLOCK_UNSYNC
    elif len(neighbours.empty_seqs) == after.key.seq - before.key.seq - 1:
        return GapExplanation(reason=GapReason.CONFIG_CHANGE)  # the agent ran and had nothing to measure
    else:
        reason = GapReason.UNEXPLAINED
    return GapExplanation(
        reason=reason, epoch=before.key.epoch, first_seq=before.key.seq + 1, last_seq=after.key.seq - 1
    )


def _explain_consecutive_batches(hole: Interval, before: BatchClock, after: BatchClock) -> GapReason:
    """Infer the reason between two batches with consecutive numbers: agent down, clock step, or host stall."""
    if before.boot_id != after.boot_id:
        return GapReason.AGENT_DOWN
    skipped_us = _compute_clock_step_us(before, after)
    if skipped_us is not None and 2 * skipped_us >= (hole[1] - hole[0]) * US_PER_S:
        return GapReason.CLOCK_UNSYNC if _is_clock_suspect(before, after, skipped_us) else GapReason.LOCAL_STALL
    if before.mesh_version != after.mesh_version and hole[1] - hole[0] <= CONFIG_CHANGE_WINDOWS_MAX * WINDOW_S:
        return GapReason.CONFIG_CHANGE
    return GapReason.AGENT_DOWN


def _compute_clock_step_us(before: BatchClock, after: BatchClock) -> int | None:
    """Return how much further the wall clock advanced than boottime: a clock step, or a paused machine."""
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
