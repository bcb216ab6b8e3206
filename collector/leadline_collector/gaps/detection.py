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
from leadline_collector.gaps.store import Quarantined, ToldGap
from leadline_collector.journal.store import Seal
from leadline_collector.windows.intervals import Span, common, minus, union
from leadline_collector.windows.store import Island

US_PER_S = 1_000_000
#: A new plan may cost the minute it comes in and the next; a longer hole has another cause.
CHANGE_WINDOWS_MAX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a hole is there, and the numbers of the batches that are missing, both included; None without any."""

    reason: GapReason
    epoch: bytes | None = None
    first_seq: int | None = None
    last_seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What stands around a hole of all targets of an agent."""

    #: The last batch with windows before it, and the first with windows after it.
    before: Seal | None
    after: Seal | None
    #: What was told of the batches whose numbers lie between them.
    told: Sequence[ToldGap] = ()
    #: Numbers between them of batches that have no believable window: empty ones, and those in quarantine.
    empty: Set[int] = frozenset()
    quarantined: Set[int] = frozenset()


def agent_holes(islands: Iterable[Island], period: Span) -> list[Span]:
    """The minutes of a period in which an agent measured nothing at all."""
    return minus([period], union((island.start_s, island.end_s) for island in islands))


def path_holes(islands: Iterable[Island], period: Span) -> dict[tuple[Span, GapReason], list[int]]:
    """Holes of single targets, while the agent measured others: span and reason, and the targets they are of.

    A target that has no window at all under the mesh version the others were measured under had left the plan.
    """
    by_target: defaultdict[int, list[Island]] = defaultdict(list)
    for island in islands:
        by_target[island.dst_id].append(island)
    measured = _of(island for found in by_target.values() for island in found)
    spans_of_version = _spans_of_versions(by_target.values())
    result: defaultdict[tuple[Span, GapReason], list[int]] = defaultdict(list)
    for dst_id, found in sorted(by_target.items()):
        versions = {island.mesh_version for island in found}
        planned = union(span for version in versions for span in spans_of_version[version])
        for hole in minus(common([period], measured), _of(found)):
            for span in common([hole], planned):
                result[span, GapReason.UNEXPLAINED].append(dst_id)
            for span in minus([hole], planned):
                result[span, GapReason.CONFIG_CHANGE].append(dst_id)
    return dict(result)


def _of(islands: Iterable[Island]) -> list[Span]:
    return union((island.start_s, island.end_s) for island in islands)


def _spans_of_versions(groups: Iterable[Sequence[Island]]) -> dict[int, list[Span]]:
    spans: defaultdict[int, list[Span]] = defaultdict(list)
    for group in groups:
        for island in group:
            spans[island.mesh_version].append((island.start_s, island.end_s))
    return {version: union(found) for version, found in spans.items()}


def true_span(found: Quarantined, reference: Seal | None) -> Span:
    """When quarantined windows were really measured, as nearly as can be told.

    ``reference`` is a believable batch of the same boot: boottime runs on whatever the wall clock does. Without one the
    batch is taken to have been sent when it was sealed.
    """
    kept, seal = found.quarantine, found.seal
    sealed_at_s = (seal.sealed_at_us or 0) // US_PER_S
    shift_s = seal.received_at_s - sealed_at_s
    if reference is not None and _has_boottime(reference) and _has_boottime(seal):
        since_us = (reference.boottime_us or 0) - (seal.boottime_us or 0)
        shift_s = ((reference.sealed_at_us or 0) - since_us) // US_PER_S - sealed_at_s
    start_s = (kept.t_first + shift_s) // WINDOW_S * WINDOW_S
    return start_s, start_s + kept.t_last - kept.t_first + WINDOW_S


def _has_boottime(seal: Seal) -> bool:
    return seal.boottime_us is not None and seal.sealed_at_us is not None


def explained(hole: Span, around: Neighbours) -> Explanation:
    """Why an agent measured nothing in a hole that nobody told of."""
    before, after = around.before, around.after
    if after is None:
        return Explanation(reason=GapReason.UNEXPLAINED)  # it may still be on its way
    if before is None or before.key.epoch != after.key.epoch:
        return Explanation(reason=GapReason.AGENT_DOWN)
    if after.key.seq <= before.key.seq:
        return Explanation(reason=GapReason.CLOCK_UNSYNC)  # sealed later, of an earlier minute
    if after.key.seq > before.key.seq + 1:
        return _numbers_missing(before, after, around)
    return Explanation(reason=_nothing_sealed(hole, before, after))


def _numbers_missing(before: Seal, after: Seal, around: Neighbours) -> Explanation:
    if around.told:
        reason = around.told[0].reason
    elif around.quarantined:
        reason = GapReason.CLOCK_UNSYNC
    elif len(around.empty) == after.key.seq - before.key.seq - 1:
        return Explanation(reason=GapReason.CONFIG_CHANGE)  # it was there and had nothing to measure
    else:
        reason = GapReason.UNEXPLAINED
    return Explanation(reason=reason, epoch=before.key.epoch, first_seq=before.key.seq + 1, last_seq=after.key.seq - 1)


def _nothing_sealed(hole: Span, before: Seal, after: Seal) -> GapReason:
    """Between two batches that follow each other: was the agent off, or its clock, or the whole host at a stand?"""
    if before.boot_id != after.boot_id:
        return GapReason.AGENT_DOWN
    skipped_us = _skipped_us(before, after)
    if skipped_us is not None and 2 * skipped_us >= (hole[1] - hole[0]) * US_PER_S:
        return GapReason.CLOCK_UNSYNC if _clock_is_doubtful(before, after, skipped_us) else GapReason.LOCAL_STALL
    if before.mesh_version != after.mesh_version and hole[1] - hole[0] <= CHANGE_WINDOWS_MAX * WINDOW_S:
        return GapReason.CONFIG_CHANGE
    return GapReason.AGENT_DOWN


def _skipped_us(before: Seal, after: Seal) -> int | None:
    """By how much the wall clock went further than the time since boot: a step, or a machine that was paused."""
    if not (_has_boottime(before) and _has_boottime(after)):
        return None
    wall_us = (after.sealed_at_us or 0) - (before.sealed_at_us or 0)
    return wall_us - ((after.boottime_us or 0) - (before.boottime_us or 0))


def _clock_is_doubtful(before: Seal, after: Seal, skipped_us: int) -> bool:
    if before.ntp_synchronised is False or after.ntp_synchronised is False:
        return True
    if before.clock_offset_us is None or after.clock_offset_us is None:
        return False
    return 2 * abs(after.clock_offset_us - before.clock_offset_us) >= skipped_us
